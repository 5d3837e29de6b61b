"""Files that are whole even after a kill, and tables that grow."""

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
"""What a line of a table may hold."""


def append_scores(path: Path, rows: Sequence[Mapping[str, Cell]]) -> Path:
    """Add rows to a CSV table, which is replaced as a whole.

    Args:
        path: The table. If it is missing, the keys become its first line. If it has other columns,
            it is kept under another name (of ``scores.csv`` the first free one of
            ``scores.1.csv``, ``scores.2.csv`` and so on), with a warning, and a new table begins.
        rows: Rows with equal keys in equal order. None becomes an empty cell.

    Returns:
        ``path``.

    Raises:
        InputError: If the keys of rows differ from each other.
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
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    before_columns = next(csv.reader(StringIO(before)), columns)
    if before_columns != columns:
        _set_aside(path, before_columns, columns)
        before = ""
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    if not before:
        writer.writerow(columns)
    writer.writerows(row.values() for row in rows)
    return write_whole(path, before + lines.getvalue())


def write_whole(path: Path, text: str) -> Path:
    """Write a file through a draft, so that it is never seen half written."""
    with drafted(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace", newline="")
    return path


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """Where the body may write what takes the place of a file, unless the body raises."""
    draft = begin_draft(path)
    try:
        yield draft
        put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def drafted_folder(path: Path) -> Iterator[Path]:
    """A folder that takes the place of another one as a whole, unless the body raises."""
    draft = begin_draft(path)
    before = draft.with_name(f"{draft.name}.before")
    try:
        draft.mkdir()
        yield draft
        if path.exists():
            path.rename(before)  # no folder can be moved over one that has something in it
        draft.rename(path)
    finally:
        for remains in (draft, before):
            shutil.rmtree(remains, ignore_errors=True)


def begin_draft(path: Path) -> Path:
    """Where to write what shall stand under a path: beside the file that a link leads to.

    The folder of the file is made if it is missing.
    """
    if is_stream(path):
        handle, name = tempfile.mkstemp(prefix="bertx-")
        os.close(handle)
        return Path(name)
    target = _behind_links(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}")


def put_in_place(draft: Path, path: Path) -> None:
    """Put a draft in the place of a file, links kept, or send it to a pipe or device."""
    if is_stream(path):
        # Appended: /dev/stdout may be a file that has more in it.
        with draft.open("rb") as written, path.open("ab") as stream:
            shutil.copyfileobj(written, stream)
    else:
        os.replace(draft, _behind_links(path))


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a device or an open file (/dev/stdout): no file may replace it."""
    opened = str(path.absolute().parent) in ("/dev", "/dev/fd", "/proc/self/fd")
    return path.exists() and not path.is_dir() and (opened or not path.is_file())


def _behind_links(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


def _set_aside(path: Path, before: Sequence[str], columns: Sequence[str]) -> None:
    """Rename a table, never over another file."""
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in count(1))
    kept = next(name for name in names if not name.exists())
    path.rename(kept)
    log.warning(
        f"{path} had the columns {', '.join(before)}, but now they are {', '.join(columns)}: the "
        f"old table is kept as {kept}, and a new one begins"
    )
