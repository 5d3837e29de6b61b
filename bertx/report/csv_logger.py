"""A `CSVLogger` that keeps the logged values of a run when it is resumed in its folder."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only


class ContinuedCSVLogger(CSVLogger):
    """A `CSVLogger` that keeps the rows of ``metrics.csv`` when its run is resumed.

    Lightning's `CSVLogger` removes the file if its folder exists. Rows after the checkpoint from
    which the run is resumed are dropped, because they are logged again.
    """

    _first: int | None = None
    _beyond = False

    @classmethod
    def of(cls, logger: CSVLogger) -> Self:
        """Create a logger with the settings of a `CSVLogger` that has not begun."""
        continued = cls.__new__(cls)
        vars(continued).update(vars(logger))
        return continued

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the file, with the rows that it has already."""
        if self._experiment is None:
            rows = _rows(Path(self.log_dir) / ExperimentWriter.NAME_METRICS_FILE)
            _put(super().experiment, rows)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers; the run is resumed at the step of the first."""
        if step is not None and not self._beyond:
            self._first = step if self._first is None else self._first
            self._beyond = step > self._first  # then no old row is left to drop
            _drop(self.experiment, {*metrics}, step)
        super().log_metrics(dict(metrics), step)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def _drop(writer: ExperimentWriter, keys: set[str], step: int) -> None:
    """Drop the rows after a step, and the row of this step with the same keys."""
    path, common = Path(writer.metrics_file_path), {"step", "epoch"}
    rows = _rows(path)
    kept = [
        row
        for row in rows
        if int(row["step"]) < step
        or (int(row["step"]) == step and {*row} - common != keys - common)
    ]
    if len(kept) < len(rows):
        path.unlink()
        _put(writer, kept)


def _put(writer: ExperimentWriter, rows: list[dict[str, Any]]) -> None:
    """Write rows ahead of the rows that are still to be written."""
    waiting, writer.metrics = writer.metrics, list(rows)
    writer.save()
    writer.metrics = waiting
