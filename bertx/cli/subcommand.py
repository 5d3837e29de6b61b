"""What subcommands without a trainer share: one-line errors and quiet ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from jsonargparse import ArgumentParser

from bertx.cli.failing import debugging, fail
from bertx.errors import InputError


class Parser(ArgumentParser):
    """Prints an error as one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and leave with code 2."""
        fail(f"{message.strip()}\nFor all settings: {self.prog} --help")


@contextmanager
def ending() -> Iterator[None]:
    """Print an error of the user's as one line; end quietly if nobody reads on, or on Ctrl-C."""
    try:
        yield
    except InputError as error:
        if debugging():
            raise
        fail(str(error))
    except BrokenPipeError:  # such as | head: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
