"""Texts for ``bertx explain``: from options, a table or standard input."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from bertx.cli.subcommand import as_options
from bertx.errors import InputError

BATCH_SIZE = 64
"""Maximum number of texts that are explained at once."""

_END = object()


@dataclass(frozen=True)
class Unreadable:
    """A placeholder for a row or line that could not be read as text.

    Attributes:
        reason: What is wrong with it.
        text: The line, as far as it could be decoded; empty for a row of a table.
    """

    reason: str
    text: str = ""


def read_texts(texts: Sequence[str], file: str | None, column: str | None) -> Iterator[list[Any]]:
    """Read texts in batches of at most `BATCH_SIZE`, as they arrive.

    Args:
        texts: The texts themselves, or
        file: A table with a column of texts. Without both, standard input is read line by line.
        column: The column of ``file``; None to guess it.

    Returns:
        Batches of texts. Cells of a table that are not strings are returned as they are; rows and
        lines that cannot be read are `Unreadable`.

    Raises:
        InputError: If both ``texts`` and ``file`` are given, or there is no such file; during
            iteration, if ``file`` has no such column or is malformed, or there are no lines.
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
    return (list(texts[i : i + BATCH_SIZE]) for i in range(0, len(texts), BATCH_SIZE))


def _check_file(file: Path) -> None:
    if not file.is_file():
        problem = "is not an ordinary file" if file.exists() else "does not exist"
        raise InputError(
            f"--path {file}: expected a table of texts, but it "
            f"{'is a folder' if file.is_dir() else problem}."
        )
    from bertx.data.files import ENDINGS, SPREADSHEETS, spreadsheet  # imports Lightning

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
    for table in stream_tables(file, BATCH_SIZE, strict=False):
        name = name or find_text_column(table, column)
        values = list(table.columns.get(name, [None] * len(table)))
        for row, value in enumerate(values):
            error = text_error(table, row, name, value) if isinstance(value, str) else None
            if error := table.malformed.get(row, error):
                values[row] = Unreadable(as_options(str(error)))
        yield values


def _lines() -> Iterator[list[Any]]:
    """Yield lines as soon as they arrive, and hold few of them in memory."""
    if sys.stdin.isatty():
        print("Reading texts, one per line; Ctrl-D ends.", file=sys.stderr)
    if hasattr(sys.stdin, "reconfigure"):
        # Invalid bytes become surrogates, so that only their line is `Unreadable`.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    queue: Queue[Any] = Queue(maxsize=BATCH_SIZE)
    Thread(target=_enqueue_lines, args=(queue,), daemon=True).start()
    ended, empty = False, True
    while not ended:
        lines = [queue.get()]
        while len(lines) < BATCH_SIZE and not queue.empty():
            lines.append(queue.get())
        if ended := lines[-1] is _END:
            lines.pop()
        if lines:
            empty = False
            yield lines
    if empty:
        raise InputError(
            "standard input: expected texts, one per line, but it is empty. Give texts with --text "
            "or --path."
        )


def _enqueue_lines(queue: "Queue[Any]") -> None:
    try:
        for line in sys.stdin:
            queue.put(_checked(line.removesuffix("\n").removesuffix("\r")))
    finally:
        queue.put(_END)


def _checked(line: str) -> str | Unreadable:
    invalid = next((ord(c) - 0xDC00 for c in line if "\udc80" <= c <= "\udcff"), None)
    if invalid is None:
        return line
    return Unreadable(
        f"expected UTF-8, but the line has the byte {invalid:#04x}. Save it as UTF-8.", line
    )
