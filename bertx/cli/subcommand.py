"""What subcommands share: their parser, one-line errors, and places that can be written."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from bertx.errors import InputError

PROG = "bertx"


_FIELD = re.compile(r"`([A-Za-z_][\w.]*)`")


def as_options(message: str, option: Callable[[str], str] = "--{}".format) -> str:
    """A message of the library with options in place of its fields, which stand in backquotes.

    Args:
        message: The message.
        option: What the command line calls a field.
    """
    return _FIELD.sub(lambda field: option(field[1]), message)


def fail(message: str) -> NoReturn:
    """Print an error as one line and leave with code 2."""
    print(f"{PROG}: error: {message}", file=sys.stderr)
    sys.exit(2)


def debugging() -> bool:
    """Whether errors shall be raised with their traceback."""
    return bool(os.environ.get("BERTX_DEBUG"))


class _Formatter(DefaultHelpFormatter):
    """Help without types, and without defaults that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} Required."
        empty = any(action.default is one for one in (None, False, argparse.SUPPRESS))
        return text if empty or action.default == [] else f"{text} Default: %(default)s."


class Parser(ArgumentParser):
    """Prints an error as one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and leave with code 2."""
        fail(f"{message.strip()}\nFor all settings: {self.prog} --help")


def parser_of(name: str, description: str) -> Parser:
    """The parser of a subcommand, without its options."""
    return Parser(
        prog=f"{PROG} {name}",
        description=description,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def run_subcommand(parser: Parser, work: Callable[[Namespace], None], args: list[str]) -> None:
    """Do the work of a subcommand with its arguments."""
    options = parser.parse_args(args)
    with ending():
        work(options)


@contextmanager
def ending() -> Iterator[None]:
    """Print an error of the user's as one line; end quietly if nobody reads on, or on Ctrl-C."""
    try:
        yield
    except InputError as error:
        if debugging():
            raise
        fail(as_options(str(error)))
    except BrokenPipeError:  # such as | head: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


def check_writable(option: str, place: Path, folder: bool = False) -> None:
    """Refuse a place that cannot be written; folders that are missing are made.

    Args:
        option: The option that names it, for messages.
        place: A file or a folder.
        folder: Whether it is a folder.

    Raises:
        InputError: If it is the other of both, or cannot be made or written.
    """
    from bertx.rendering.files import is_stream

    kind, other = ("folder", "file") if folder else ("file", "folder")
    within = place if folder else place.resolve().parent  # links are followed when it is written
    with writing(option, place):
        if not folder and is_stream(place):
            return
        if place.exists() and place.is_dir() is not folder:
            raise InputError(
                f"{option} {place}: expected a {kind}, but it is a {other}. Name another place."
            )
        if not within.exists():
            within.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=within):
            pass


@contextmanager
def writing(option: str, place: str | Path) -> Iterator[None]:
    """Say of an `OSError` which option names the place that cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{option} {place} cannot be written: {reason}. Name another place."
        ) from error
