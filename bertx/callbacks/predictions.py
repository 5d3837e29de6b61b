"""PredictionWriter: what a model makes of texts, as a table."""

import csv
import heapq
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
from lightning.pytorch import Callback, LightningModule, Trainer
from pyarrow import parquet

from bertx.callbacks.methods import blamed
from bertx.callbacks.run import check_within, gather, run_folder
from bertx.callbacks.shards import ShardWriter, shards, writable
from bertx.errors import InputError
from bertx.models.classifier import ModelChoice, class_names, classifier_in
from bertx.rendering.files import drafted

AT_ONCE = 50_000
"""Rows that are sorted in memory and wait in one file."""

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("text", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
        ("error", pa.string()),
    ]
)


class PredictionWriter(Callback):
    """Writes ``<run>/predictions.csv`` after ``trainer.predict``.

    Columns: index, text, predicted (the name of the likeliest class), one probability for each
    class, and error. Nothing is predicted for a row whose text is missing (the batch says so in
    ``error``) or whose probabilities are NaN: then error says why and the others are empty. The
    number of such rows is printed. One row a text, also for one without a word, ordered by index,
    those of all processes together; until all are there they wait in the folder of the run. The
    module's ``predict_step`` returns ``index`` (B,), -1 for rows that only fill a process up, and
    ``probabilities`` (B, C).

    Args:
        filename: Name of the file within the run's folder.
        model: Which classifier names the classes, where the module holds several: the path of an
            attribute, such as ``student``, or a function from the module to it.

    Raises:
        InputError: If the file is not within the run's folder, or ``predict_step`` returns
            something else; before the first batch, if the module holds several classifiers and
            none was chosen; at the end, if the processes do not share the folder.
    """

    def __init__(self, filename: str = "predictions.csv", model: ModelChoice | None = None) -> None:
        check_within("PredictionWriter: filename", filename)
        self.filename = filename
        self.model = model
        self.path: Path | None = None
        self._folder: Path | None = None

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new table."""
        with blamed(self):
            model = classifier_in(pl_module, self.model)
        self._names = [] if model is None else class_names(model)
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        self._folder = run_folder(trainer) / ".predictions"
        if trainer.is_global_zero:  # what a killed run has left
            shutil.rmtree(self._folder, ignore_errors=True)
        trainer.strategy.barrier()
        rank = self._folder / f"rank-{trainer.global_rank:05d}"
        self._shards = ShardWriter(rank, SCHEMA, AT_ONCE)

    # Not a BasePredictionWriter: for those Lightning looks up the rows of every batch.
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows of a batch, without those that only fill it up."""
        if not isinstance(outputs, Mapping) or not {"index", "probabilities"} <= set(outputs):
            raise InputError(
                "PredictionWriter: expected predict_step to return a dictionary with 'index' and "
                f"'probabilities', but {type(pl_module).__name__} returns "
                f"{type(outputs).__name__}."
            )
        numbers, probabilities = outputs["index"], outputs["probabilities"]
        fields = batch if isinstance(batch, Mapping) else {}
        texts, errors = (fields.get(key) or [""] * len(numbers) for key in ("text", "error"))
        rows = zip(
            numbers.tolist(), map(writable, texts), probabilities.tolist(), errors, strict=True
        )
        self._names = self._names or [str(number) for number in range(probabilities.shape[1])]
        self._rows += [dict(zip(SCHEMA.names, row, strict=True)) for row in rows if row[0] >= 0]
        if len(self._rows) >= AT_ONCE:
            self._store()

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows of all processes on rank zero."""
        if self._folder is None:
            return
        self._store()
        path, folder, self._folder = run_folder(trainer) / self.filename, self._folder, None
        count = sum(gather([self._count]))
        if not trainer.is_global_zero:
            return
        stored = shards(folder)
        there = sum(parquet.read_metadata(shard).num_rows for shard in stored)
        if there < count:
            raise InputError(
                f"PredictionWriter: expected {count:,} predictions in {folder}, but {there:,} are "
                "there. Give all processes a folder that they share."
            )
        failed = write_predictions(path, merged(stored), self._names)
        shutil.rmtree(folder, ignore_errors=True)
        self.path = path
        unknown = f" ({failed:,} texts without one: see the column error)" if failed else ""
        print(f"Predictions: {path}{unknown}")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing of a table that will not be whole."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _store(self) -> None:
        """Write the rows that are here as one sorted file."""
        self._shards.write(sorted(self._rows, key=itemgetter("index")))
        self._shards.close()
        self._count += len(self._rows)
        self._rows = []


def merged(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The rows of sorted files, sorted; few of them are in memory at a time."""
    return heapq.merge(*map(_rows, paths), key=itemgetter("index"))


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Write a table of predictions, whole or not at all.

    Args:
        path: The file.
        rows: Rows of `SCHEMA`; an empty error is none.
        names: Names of the C classes.

    Returns:
        The number of rows in which nothing is predicted.
    """
    failed = 0
    with drafted(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["index", "text", "predicted", *(f"probability({n})" for n in names), "error"]
        )
        for row in rows:
            probabilities = row["probabilities"]
            best = max(range(len(names)), key=probabilities.__getitem__)
            cells = [names[best], *(f"{probability:.6f}" for probability in probabilities)]
            finite = all(map(isfinite, probabilities))
            error = row["error"] or ("" if finite else "no finite probability")
            cells = [""] * len(cells) if error else cells
            writer.writerow([row["index"], row["text"], *cells, error])
            failed += bool(error)
    return failed


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(16):  # as many of each file are in memory
            yield from batch.to_pylist()
