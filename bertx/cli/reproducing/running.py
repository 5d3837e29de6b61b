"""Running a command of bertx in a process of its own, which this module then is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

Say = Callable[[str], object]
"""Called with every line that a command prints."""

_PROGRAM = (sys.executable, "-m", "bertx.cli.reproducing.running")


def run_command(
    arguments: Sequence[str], log: Path, say: Say, program: Sequence[str] = _PROGRAM
) -> tuple[int, str]:
    """Run a command of bertx; it ends with this process, however that ends.

    Memory and random streams are its own. Ctrl-C here is passed on to it, and waited for: a
    training then writes a checkpoint.

    Args:
        arguments: What follows ``bertx``.
        log: A file to which everything that it prints is added.
        say: Called with each line of it.
        program: What the arguments are given to.

    Returns:
        Its exit status, and all that it printed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        process_group=0,  # a terminal sends Ctrl-C to all of a group, and it would come twice
    )
    try:
        with log.open("ab") as file:
            printed = _follow(process, file.write, say)
        return process.wait(), printed
    finally:
        process.kill()
        process.wait()


def _follow(process: "subprocess.Popen[bytes]", write: Callable[[bytes], object], say: Say) -> str:
    """Pass on what a process prints until it ends."""
    assert process.stdout is not None
    printed, interrupted = list[str](), False
    while True:
        try:
            for line in process.stdout:
                write(line)
                printed.append(line.decode("utf-8", "replace"))
                say(printed[-1].rstrip().rpartition("\r")[2])  # of a bar, what it says last
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            interrupted = True
    process.wait()
    if interrupted:
        raise KeyboardInterrupt
    return "".join(printed)


def main() -> None:
    """Run the command that the arguments are, and end when the program does that started it.

    Standard input is a pipe that only the other program holds open. However that ends, also by
    kill -9, the pipe is closed then; nothing goes on writing where the next attempt will write.
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
