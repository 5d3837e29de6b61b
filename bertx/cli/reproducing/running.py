"""Running a bertx command in a child process, whose main module this is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

Say = Callable[[str], object]
"""A function called with every line that a command prints."""

_PROGRAM = (sys.executable, "-m", "bertx.cli.reproducing.running")


def run_command(
    arguments: Sequence[str], log: Path, say: Say, program: Sequence[str] = _PROGRAM
) -> tuple[int, str]:
    """Run a bertx command in a child process, which ends when this process ends, however it ends.

    The child has separate memory and random streams. Ctrl-C is passed on to it, and this function
    waits for it to end: a training run then writes a checkpoint.

    Args:
        arguments: The arguments of ``bertx``.
        log: A file to which all output of the command is appended.
        say: Called with each line of the output.
        program: The program that is given the arguments.

    Returns:
        The exit status and the output of the command.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        process_group=0,  # otherwise the terminal would send Ctrl-C to the child as well
    )
    try:
        with log.open("ab") as file:
            output = _follow(process, file.write, say)
        return process.wait(), output
    finally:
        process.kill()
        process.wait()


def _follow(process: "subprocess.Popen[bytes]", write: Callable[[bytes], object], say: Say) -> str:
    """Pass on the output of a process until it ends, and return it."""
    assert process.stdout is not None
    lines, interrupted = list[str](), False
    while True:
        try:
            for line in process.stdout:
                write(line)
                lines.append(line.decode("utf-8", "replace"))
                say(lines[-1].rstrip().rpartition("\r")[2])  # the last state of a progress bar
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            interrupted = True
    process.wait()
    if interrupted:
        raise KeyboardInterrupt
    return "".join(lines)


def main() -> None:
    """Run the command given by the arguments, and end when the parent process ends.

    Standard input is a pipe that only the parent holds open. It is closed when the parent ends,
    even by kill -9, so that no orphan writes to the folders that the next attempt writes to.
    """
    Thread(target=_end_with_parent, daemon=True).start()
    from bertx.cli import main as run

    run(sys.argv[1:])


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
