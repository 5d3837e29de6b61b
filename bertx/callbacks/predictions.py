"""PredictionWriter: the predictions of a model as a CSV table."""

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

from bertx.callbacks.explaining import naming
from bertx.callbacks.shards import ShardWriter, shards, writable
from bertx.callbacks.trainer import check_within, gather, run_folder
from bertx.errors import InputError
from bertx.models.classifier import ModelChoice, class_names, classifier_in
from bertx.rendering.files import drafted

ROWS_PER_SHARD = 50_000
"""Rows that are sorted in memory and stored together."""

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

    Columns: index, text, predicted (the name of the most probable class), one probability per
    class, and error. If the text is missing (the batch has an ``error`` for it) or its
    probabilities are NaN, ``error`` gives the reason and the prediction is empty. The number of
    such rows is printed. There is one row per text, also for a text without words, ordered by
    index over all processes. Until prediction ends, the rows are stored in the folder of the run.
    The module's ``predict_step`` must return ``index`` (B,), -1 for rows that only pad a process,
    and ``probabilities`` (B, C).

    Args:
        filename: Name of the file within the run's folder.
        model: Which classifier names the classes, if the module holds several: the path of an
            attribute, such as ``student``, or a function from the module to it.

    Raises:
        InputError: If the file is not within the run's folder, or ``predict_step`` returns
            something else; before the first batch, if the module holds several classifiers without
            a choice; at the end, if the processes do not share the folder.
    """

    def __init__(self, filename: str = "predictions.csv", model: ModelChoice | None = None) -> None:
        check_within("PredictionWriter: filename", filename)
        self.filename = filename
        self.model = model
        self.path: Path | None = None
        self._folder: Path | None = None

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new table."""
        with naming(self):
            model = classifier_in(pl_module, self.model)
        self._names = [] if model is None else class_names(model)
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        self._folder = run_folder(trainer) / ".predictions"
        if trainer.is_global_zero:  # left by a killed run
            shutil.rmtree(self._folder, ignore_errors=True)
        trainer.strategy.barrier()
        rank = self._folder / f"rank-{trainer.global_rank:05d}"
        self._shards = ShardWriter(rank, SCHEMA, ROWS_PER_SHARD)

    # Not a BasePredictionWriter, for which Lightning collects the row numbers of every batch.
    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect the rows of a batch, without rows that only pad it."""
        if not isinstance(outputs, Mapping) or not {"index", "probabilities"} <= set(outputs):
            raise InputError(
                "PredictionWriter: expected predict_step to return a dictionary with 'index' and "
                f"'probabilities', but {type(pl_module).__name__} returns "
                f"{type(outputs).__name__}."
            )
        indices, probabilities = outputs["index"].tolist(), outputs["probabilities"]
        fields = batch if isinstance(batch, Mapping) else {}
        texts, errors = (fields.get(key) or [""] * len(indices) for key in ("text", "error"))
        rows = zip(indices, map(writable, texts), probabilities.tolist(), errors, strict=True)
        self._names = self._names or [str(number) for number in range(probabilities.shape[1])]
        self._rows += [dict(zip(SCHEMA.names, row, strict=True)) for row in rows if row[0] >= 0]
        if len(self._rows) >= ROWS_PER_SHARD:
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
        paths = shards(folder)
        stored = sum(parquet.read_metadata(shard).num_rows for shard in paths)
        if stored < count:
            raise InputError(
                f"PredictionWriter: expected {count:,} predictions in {folder}, but found "
                f"{stored:,}. Use a folder that all processes share."
            )
        rows = heapq.merge(*map(_read_rows, paths), key=itemgetter("index"))
        failed = write_predictions(path, rows, self._names)
        shutil.rmtree(folder, ignore_errors=True)
        self.path = path
        failures = f" ({failed:,} texts failed: see the column error)" if failed else ""
        print(f"Predictions: {path}{failures}")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Delete the rows of an incomplete table."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _store(self) -> None:
        """Write the collected rows as one sorted file."""
        self._shards.write(sorted(self._rows, key=itemgetter("index")))
        self._shards.close()
        self._count += len(self._rows)
        self._rows = []


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Write a table of predictions atomically.

    Args:
        path: The file.
        rows: Rows of `SCHEMA`; an empty ``error`` means that there is a prediction.
        names: Names of the C classes.

    Returns:
        The number of rows without a prediction.
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


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(16):  # rows of each file in memory
            yield from batch.to_pylist()
