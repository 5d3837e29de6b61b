"""The history of a training: reading and writing the table of its logged values."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from math import isfinite
from pathlib import Path

from bertx.errors import InputError
from bertx.rendering.files import write_whole

RATE = "learning_rate"
"""The key of the learning rate."""

_COLUMNS = ["epoch", "step", "key", "value"]
_STAGES = ("train", "val", "test")


@dataclass(frozen=True)
class Logged:
    """A logged value.

    Attributes:
        epoch: The epoch; -1 if unknown.
        step: The optimizer step.
        key: Its key, such as ``val/accuracy``.
        value: The value.
    """

    epoch: int
    step: int
    key: str
    value: float


def history_path(run: Path) -> Path:
    """Return the path of the history in the folder of a run."""
    return run / "bertx" / "history.csv"


def is_history(key: str) -> bool:
    """Whether a key belongs to the training (loss, accuracy, F1) and not to the explanations.

    Examples:
        >>> is_history("val/accuracy"), is_history("val/deletion_auc/attnlrp")
        (True, False)
    """
    stage, _, name = key.partition("/")
    return key == RATE or (stage in _STAGES and bool(name) and "/" not in name)


def write_history(path: Path, rows: Iterable[Logged]) -> Path:
    """Write all rows, atomically."""
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((row.epoch, row.step, row.key, f"{row.value:.7g}") for row in rows)
    return write_whole(path, lines.getvalue())


def find_history(run: Path) -> Path | None:
    """Find the history of a run, or the table of Lightning's `CSVLogger`; None without either."""
    return next(filter(Path.is_file, (history_path(run), run / "metrics.csv")), None)


def read_history(path: Path) -> list[Logged]:
    """Read a history, or the ``metrics.csv`` of a `CSVLogger`, without values that are not finite.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or []
            read = _long if list(columns) == _COLUMNS else _wide
            if "step" not in columns:
                raise ValueError(f"the columns are {', '.join(columns) or 'none'}")
            rows = [logged for row in reader for logged in read(row)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{path}: expected a table of epoch, step, key and value, or the table of a CSVLogger "
            f"with a column for each key, but it cannot be read ({error})."
        ) from error
    return [row for row in rows if isfinite(row.value)]


def values_of(rows: Sequence[Logged], key: str) -> list[Logged]:
    """Return the rows of a key, sorted by step, with the last row of each step."""
    by_step = {row.step: row for row in rows if row.key == key}
    return [by_step[step] for step in sorted(by_step)]


def _long(row: dict[str, str]) -> Iterator[Logged]:
    yield Logged(int(row["epoch"]), int(row["step"]), row["key"], float(row["value"]))


def _wide(row: dict[str, str]) -> Iterator[Logged]:
    epoch, step = row.get("epoch") or "-1", int(row["step"])
    for name, value in row.items():
        key = RATE if name and name.startswith("lr-") else name
        if value and key and is_history(key):
            yield Logged(int(epoch), step, key, float(value))
