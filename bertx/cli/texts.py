"""The texts of a command: given in the arguments, in a file, or line by line on standard input."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from bertx.errors import InputError

PORTION = 64
"""Most texts that are worked through at once."""

_END = object()


def portions(texts: Sequence[str], file: str | None, column: str | None) -> Iterator[list[Any]]:
    """Texts in lists of at most `PORTION`, as they come.

    Args:
        texts: The texts themselves.
        file: A table instead, with a column of texts.
        column: The name of that column; None to guess it.

    Returns:
        The texts; without any of both, the lines of standard input. What is no text in a file
        stays what it is.

    Raises:
        InputError: If both are given, or the file has no such column.
    """
    if texts and file:
        raise InputError("--text and --file: expected one of them, but got both")
    if column and not file:
        raise InputError("--column names a column of a file. Give --file too.")
    if not texts and not file:
        return _lines()
    if file:
        return _rows(Path(file), column)
    return (list(texts[i : i + PORTION]) for i in range(0, len(texts), PORTION))


def _rows(file: Path, column: str | None) -> Iterator[list[Any]]:
    from bertx.data.readers import ENDINGS, stream_tables  # these bring Lightning with them
    from bertx.data.table import find_text_column

    if not file.is_file() or not file.name.endswith(tuple(f".{ending}" for ending in ENDINGS)):
        raise InputError(
            f"--file {file}: expected a file that ends with .{', .'.join(ENDINGS)}"
            f"{'' if file.is_file() else ', but there is none'}. For plain lines: < {file}"
        )
    found = ""
    for table in stream_tables(file, PORTION):
        try:
            found = found or find_text_column(table, column)
        except InputError as error:
            raise InputError(str(error).replace("--data.text_column", "--column")) from error
        yield list(table.columns.get(found, [None] * len(table)))


def _lines() -> Iterator[list[str]]:
    """Lines as they arrive: no text waits for the next one, and few are held in memory."""
    if sys.stdin.isatty():
        print("Reading texts, one a line; Ctrl-D ends.", file=sys.stderr)
    if hasattr(sys.stdin, "reconfigure"):
        # What is not UTF-8 becomes an error of its own text.
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    arrived: Queue[Any] = Queue(maxsize=PORTION)
    Thread(target=_listen, args=(arrived,), daemon=True).start()
    while True:
        lines = [arrived.get()]
        while len(lines) < PORTION and not arrived.empty():
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
            arrived.put(line.removesuffix("\n").removesuffix("\r"))
    finally:
        arrived.put(_END)
