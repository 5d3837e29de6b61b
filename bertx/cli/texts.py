"""The texts that explain is given: as options, in a file, or on standard input."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from bertx.cli.subcommand import as_options
from bertx.errors import InputError

PER_BATCH = 64
"""Most texts that are worked through at once."""

_END = object()


@dataclass(frozen=True)
class Unreadable:
    """In place of a text: a row or line that could not be read.

    Attributes:
        reason: What is wrong with it.
        text: What there is of it.
    """

    reason: str
    text: str = ""


def read_texts(texts: Sequence[str], file: str | None, column: str | None) -> Iterator[list[Any]]:
    """Texts in lists of at most `PER_BATCH`, as they come.

    Args:
        texts: The texts themselves.
        file: A table instead, with a column of texts.
        column: The name of that column; None to guess it.

    Returns:
        The texts; without any of both, the lines of standard input. What is no text in a file
        stays what it is, and what cannot be read is `Unreadable`.

    Raises:
        InputError: If both are given, or there is no such file; while reading, if it has no such
            column, or cannot be read on.
    """
    if texts and file:
        raise InputError("--text and --path: expected one of them, but got both")
    if column and not file:
        raise InputError("--text_column names a column of a file. Give --path too.")
    if not texts and not file:
        return _lines()
    if file:
        _check_file(Path(file))
        return _rows(Path(file), column)
    return (list(texts[i : i + PER_BATCH]) for i in range(0, len(texts), PER_BATCH))


def _check_file(file: Path) -> None:
    if not file.is_file():
        what = "is not an ordinary file" if file.exists() else "does not exist"
        raise InputError(
            f"--path {file}: expected a table of texts, but it "
            f"{'is a folder' if file.is_dir() else what}."
        )
    from bertx.data.files import ENDINGS, SPREADSHEETS, spreadsheet  # these bring Lightning

    if file.name.endswith(SPREADSHEETS):
        raise spreadsheet(file)
    if not file.name.endswith(tuple(f".{ending}" for ending in ENDINGS)):
        raise InputError(
            f"--path {file}: expected a file that ends with .{', .'.join(ENDINGS)}. For plain "
            f"lines: < {file}"
        )


def _rows(file: Path, column: str | None) -> Iterator[list[Any]]:
    from bertx.data.columns import find_text_column, text_error
    from bertx.data.files import stream_tables

    name = ""
    for table in stream_tables(file, PER_BATCH, strict=False):
        name = name or find_text_column(table, column)
        values = list(table.columns.get(name, [None] * len(table)))
        for row, value in enumerate(values):
            error = text_error(table, row, name, value) if isinstance(value, str) else None
            if error := table.malformed.get(row, error):
                values[row] = Unreadable(as_options(str(error)))
        yield values


def _lines() -> Iterator[list[Any]]:
    """Lines as they arrive: no text waits for the next one, and few are held in memory."""
    if sys.stdin.isatty():
        print("Reading texts, one per line; Ctrl-D ends.", file=sys.stderr)
    if hasattr(sys.stdin, "reconfigure"):
        # A line that is not UTF-8 costs no other one its place.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    arrived: Queue[Any] = Queue(maxsize=PER_BATCH)
    Thread(target=_listen, args=(arrived,), daemon=True).start()
    while True:
        lines = [arrived.get()]
        while len(lines) < PER_BATCH and not arrived.empty():
            lines.append(arrived.get())
        if ended := lines[-1] is _END:
            lines.pop()
        if lines:
            yield lines
        if ended:
            return


def _listen(arrived: "Queue[Any]") -> None:
    try:
        for line in sys.stdin:
            arrived.put(_line(line.removesuffix("\n").removesuffix("\r")))
    finally:
        arrived.put(_END)


def _line(text: str) -> Any:
    byte = next((ord(c) - 0xDC00 for c in text if "\udc80" <= c <= "\udcff"), None)
    if byte is None:
        return text
    return Unreadable(
        f"expected UTF-8, but the line has the byte {byte:#04x}. Save it as UTF-8.", text
    )
