"""A command that ends when the program does that started it: ``python -m bertx.cli.child``.

Its standard input is a pipe that only the other program holds open. However that ends, also by
kill -9, the pipe is closed then; nothing goes on writing where the next attempt will write.
"""

import os
import signal
import sys
from threading import Thread


def main() -> None:
    """Run the command that the arguments are."""
    Thread(target=_end_with_parent, daemon=True).start()
    from bertx.cli import main as run

    run(sys.argv[1:])


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
