"""How the command line ends where it cannot go on."""

import os
import sys
from typing import NoReturn

PROG = "bertx"


def fail(message: str) -> NoReturn:
    """Print an error as one line and leave with code 2."""
    print(f"{PROG}: error: {message}", file=sys.stderr)
    sys.exit(2)


def debugging() -> bool:
    """Whether errors shall be raised with their traceback."""
    return bool(os.environ.get("BERTX_DEBUG"))
