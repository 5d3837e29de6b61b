"""Parser, one-line errors and checks of output paths, for all subcommands."""

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
    """Replace the fields in backquotes in an error message by command-line options.

    Args:
        message: The message.
        option: Returns the option of a field.
    """
    return _FIELD.sub(lambda field: option(field[1]), message)


def fail(message: str) -> NoReturn:
    """Print an error as one line and exit with code 2."""
    print(f"{PROG}: error: {message}", file=sys.stderr)
    sys.exit(2)


def debugging() -> bool:
    """Return whether to raise errors with their traceback."""
    return bool(os.environ.get("BERTX_DEBUG"))


class _Formatter(DefaultHelpFormatter):
    """Help without types, and without empty defaults."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required and action.option_strings:
            return f"{text} Required."
        # `in` would take 0 for False.
        empty = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        return text if empty or action.default == [] else f"{text} Default: %(default)s."


class Parser(ArgumentParser):
    """A parser that prints an error as one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2."""
        fail(f"{message.strip()}\nFor all settings: {self.prog} --help")


def parser_of(name: str, description: str) -> Parser:
    """Return the parser of a subcommand, without its options."""
    return Parser(
        prog=f"{PROG} {name}",
        description=description,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )


def run_subcommand(parser: Parser, work: Callable[[Namespace], None], args: list[str]) -> None:
    """Parse the arguments of a subcommand and run it."""
    options = parser.parse_args(args)
    with handled_errors():
        work(options)


@contextmanager
def handled_errors() -> Iterator[None]:
    """Print an `InputError` as one line; exit quietly on a broken pipe or Ctrl-C."""
    try:
        yield
    except InputError as error:
        if debugging():
            raise
        fail(as_options(str(error)))
    except BrokenPipeError:
        _discard_output()
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def ended_with_reader() -> Iterator[None]:
    """Exit with code 1 and no traceback when the reader of the output is gone: ``... | head``."""
    try:
        try:
            yield
        finally:
            print(end="", flush=True)  # unlike a flush of stdout, also if there is no stdout
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:
            _discard_output()
            sys.exit(1)
        raise  # of another pipe


def _discard_output() -> None:
    """Send the output to nowhere, as flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_writable(option: str, path: Path, folder: bool = False) -> None:
    """Create missing folders of an output path, and check that it can be written.

    Args:
        option: The option that names the path, for messages.
        path: A file or a folder.
        folder: Whether ``path`` is to be a folder.

    Raises:
        InputError: If ``path`` is a file instead of a folder or the other way round, or cannot be
            created or written.
    """
    from bertx.rendering.files import is_stream

    kind, other = ("folder", "file") if folder else ("file", "folder")
    parent = path if folder else path.resolve().parent  # writing follows links
    with writing(option, path):
        if not folder and is_stream(path):
            return
        if path.exists() and path.is_dir() is not folder:
            raise InputError(
                f"{option} {path}: expected a {kind}, but it is a {other}. Choose another path."
            )
        if not parent.exists():
            parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=parent):
            pass


@contextmanager
def writing(option: str, path: str | Path) -> Iterator[None]:
    """Turn an `OSError` into an `InputError` that names the option of the output path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{option} {path} cannot be written: {reason}. Choose another path."
        ) from error
