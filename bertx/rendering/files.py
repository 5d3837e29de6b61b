"""The report in files: pages, pictures and tables that are whole even after a kill."""

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
from typing import TYPE_CHECKING

from bertx.errors import InputError
from bertx.rendering.curves import Curve, curves_svg
from bertx.rendering.faithfulness_table import Cell
from bertx.rendering.heatmap_page import HeatmapRow, heatmap_page

if TYPE_CHECKING:
    from bertx.metrics.curve_metrics import Kind
    from bertx.models.inputs import Unit

log = logging.getLogger("bertx")


def write_heatmaps(folder: Path, rows: Sequence[HeatmapRow], title: str, step: int) -> Path:
    """Write ``heatmaps/step=00063.html`` and its copy ``heatmaps.html``, always the latest.

    Args:
        folder: Where to; made if it is missing.
        rows: The examples.
        title: The heading of the page.
        step: The optimiser step that names the page.

    Returns:
        The path of ``heatmaps.html``.
    """
    page = heatmap_page(rows, title)
    write_whole(folder / "heatmaps" / f"step={step:05d}.html", page)
    return write_whole(folder / "heatmaps.html", page)


def write_curves(
    folder: Path,
    curves: "Mapping[Kind, Sequence[Curve]]",
    epoch: int,
    step: int,
    unit: "Unit" = "word",
    note: str = "",
) -> Path:
    """Write a picture per kind, and every point of every curve to a table.

    The files are ``curves/deletion_step=00063.svg``, its copy ``deletion.svg``, always the latest,
    and ``curves.csv``, which grows: epoch, step, kind, method, fraction, mean, low, high.

    Args:
        folder: Where to; made if it is missing.
        curves: The curves of each kind.
        epoch: The epoch.
        step: The optimiser step.
        unit: What was deleted or inserted.
        note: Printed beside the curves.

    Returns:
        The path of ``curves.csv``.
    """
    for kind, lines in curves.items():
        picture = curves_svg(lines, kind, f"epoch {epoch}, step {step}", unit, note)
        write_whole(folder / "curves" / f"{kind}_step={step:05d}.svg", picture)
        write_whole(folder / f"{kind}.svg", picture)
    points = [
        {"epoch": epoch, "step": step, "kind": kind, **point}
        for kind, lines in curves.items()
        for curve in lines
        for point in _points(curve)
    ]
    return append_scores(folder / "curves.csv", points)


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
    known = next(csv.reader(StringIO(before)), columns)
    if known != columns:
        _set_aside(path, known, columns)
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


def _set_aside(path: Path, known: Sequence[str], columns: Sequence[str]) -> None:
    """Rename a table, never over another file."""
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in count(1))
    kept = next(name for name in names if not name.exists())
    path.rename(kept)
    log.warning(
        f"{path} had the columns {', '.join(known)}, but now they are {', '.join(columns)}: the "
        f"old table is kept as {kept}, and a new one begins"
    )


def _points(curve: Curve) -> list[dict[str, Cell]]:
    columns = zip(curve.fractions, curve.mean, curve.low, curve.high, strict=True)
    names = ("method", "fraction", "mean", "low", "high")
    return [dict(zip(names, (curve.name, *point), strict=True)) for point in columns]
