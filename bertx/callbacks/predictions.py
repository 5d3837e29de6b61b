"""PredictionWriter: what a model makes of texts, as a table."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from bertx.anatomy import classifier_in
from bertx.callbacks.folder import run_folder
from bertx.callbacks.ranks import gather
from bertx.callbacks.targets import class_names
from bertx.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """What came out for one text.

    Attributes:
        index: Number of the text in its split.
        text: The text; empty if the batches hold none.
        probabilities: Of the C classes.
    """

    index: int
    text: str
    probabilities: tuple[float, ...]


class PredictionWriter(BasePredictionWriter):
    """Writes ``<run>/predictions.csv`` after ``trainer.predict``.

    Columns: index, text, predicted (the name of the likeliest class), and one probability for each
    class. One row a text, ordered by index, those of all processes together. The module's
    ``predict_step`` returns ``index`` (B,), -1 for rows that only fill a process up, and
    ``probabilities`` (B, C).

    Args:
        filename: Name of the file within the run's folder.

    Raises:
        InputError: If ``predict_step`` returns something else.
    """

    def __init__(self, filename: str = "predictions.csv") -> None:
        super().__init__("batch")
        self.filename = filename
        self.path: Path | None = None
        self._rows: list[Prediction] = []

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new table."""
        self._rows = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep the rows of a batch, without those that only fill it up."""
        if not isinstance(prediction, Mapping) or not {"index", "probabilities"} <= set(prediction):
            raise InputError(
                "PredictionWriter: expected predict_step to return a dictionary with 'index' and "
                f"'probabilities', but {type(pl_module).__name__} returns "
                f"{type(prediction).__name__}."
            )
        numbers, probabilities = prediction["index"], prediction["probabilities"]
        texts = (batch.get("text") if isinstance(batch, Mapping) else None) or [""] * len(numbers)
        rows = zip(numbers.tolist(), texts, probabilities.tolist(), strict=True)
        self._rows += [Prediction(i, text, tuple(row)) for i, text, row in rows if i >= 0]

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the rows of all processes together and write them on rank zero."""
        rows = sorted(gather(self._rows), key=lambda row: row.index)
        path = run_folder(trainer) / self.filename
        self._rows = []
        if not trainer.is_global_zero:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(path, rows, _names(pl_module, rows))
        self.path = path
        print(f"Predictions: {path}")


def write_predictions(path: Path, rows: Sequence[Prediction], names: Sequence[str]) -> None:
    """Write a table of predictions.

    Args:
        path: The file.
        rows: The predictions.
        names: Names of the C classes.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "text", "predicted", *(f"probability({n})" for n in names)])
        for row in rows:
            best = max(range(len(names)), key=row.probabilities.__getitem__)
            shown = [f"{probability:.6f}" for probability in row.probabilities]
            writer.writerow([row.index, row.text, names[best], *shown])


def _names(module: LightningModule, rows: Sequence[Prediction]) -> list[str]:
    """Names of the classes, or their numbers where the module holds no model that names them."""
    model = classifier_in(module)
    classes = len(rows[0].probabilities) if rows else 0
    names = class_names(model) if model is not None else []
    return names or [str(number) for number in range(classes)]
