"""Atomic writing of files and folders, and tables that rows are appended to."""

import csv
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from itertools import count
from pathlib import Path

from bertx.errors import InputError

log = logging.getLogger("bertx")

Cell = str | int | float | bool | None
"""The value of a cell of a table."""


def append_scores(path: Path, rows: Sequence[Mapping[str, Cell]]) -> Path:
    """Append rows to a CSV table, atomically.

    Args:
        path: The table. If it is missing, it is created with the keys as its header. If it has
            other columns, it is renamed, with a warning, and a new table begins: ``scores.csv``
            becomes ``scores.1.csv``, or ``scores.2.csv`` if that exists, and so on.
        rows: Rows with equal keys in equal order. None becomes an empty cell.

    Returns:
        ``path``.

    Raises:
        InputError: If the rows have different keys.
    """
    if not rows:
        return path
    columns = list(rows[0])
    for row in rows:
        if list(row) != columns:
            raise InputError(
                f"{path}: expected rows of the columns {', '.join(columns)}, got {', '.join(row)}. "
                "Give every row the same keys in the same order."
            )
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    old_columns = next(csv.reader(StringIO(old)), columns)
    if old_columns != columns:
        _set_aside(path, old_columns, columns)
        old = ""
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    if not old:
        writer.writerow(columns)
    writer.writerows(row.values() for row in rows)
    return write_whole(path, old + lines.getvalue())


def write_whole(path: Path, text: str) -> Path:
    """Write a file atomically: no reader ever sees half of it."""
    with drafted(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace", newline="")
    return path


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Provide a path for the body to write; it replaces a file unless the body raises."""
    draft = begin_draft(path)
    try:
        yield draft
        put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def drafted_folder(path: Path) -> Iterator[Path]:
    """Provide a folder for the body to fill; it replaces another unless the body raises."""
    draft = begin_draft(path)
    before = draft.with_name(f"{draft.name}.before")
    try:
        draft.mkdir()
        yield draft
        if path.exists():
            path.rename(before)  # a folder cannot be moved over one that is not empty
        draft.rename(path)
    finally:
        for remains in (draft, before):
            shutil.rmtree(remains, ignore_errors=True)


def begin_draft(path: Path) -> Path:
    """Return a path to write a draft of a file to, in the folder of the file or of a link's target.

    The folder is created if it is missing.
    """
    if is_stream(path):
        handle, name = tempfile.mkstemp(prefix="bertx-")
        os.close(handle)
        return Path(name)
    target = _behind_links(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}")


def put_in_place(draft: Path, path: Path) -> None:
    """Replace a file by a draft and keep links; a pipe or device receives the draft."""
    if is_stream(path):
        # Append: /dev/stdout may be a file with earlier output.
        with draft.open("rb") as written, path.open("ab") as stream:
            shutil.copyfileobj(written, stream)
    else:
        os.replace(draft, _behind_links(path))


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a device or an open file (/dev/stdout), not to be replaced."""
    opened = str(path.absolute().parent) in ("/dev", "/dev/fd", "/proc/self/fd")
    return path.exists() and not path.is_dir() and (opened or not path.is_file())


def _behind_links(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


def _set_aside(path: Path, old: Sequence[str], columns: Sequence[str]) -> None:
    """Rename a table, but never over another file."""
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in count(1))
    kept = next(name for name in names if not name.exists())
    path.rename(kept)
    log.warning(
        f"{path} has the columns {', '.join(old)}, but the new rows have {', '.join(columns)}: the "
        f"old table is kept as {kept}, and a new one begins"
    )
