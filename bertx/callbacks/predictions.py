"""PredictionWriter: what a model makes of texts, as a table."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from transformers import PreTrainedModel

from bertx.callbacks.methods import blamed
from bertx.callbacks.run import check_within, run_folder
from bertx.callbacks.spill import Sorter, sorted_on_zero
from bertx.errors import InputError
from bertx.models.classifier import ModelChoice, class_names, classifier_in
from bertx.rendering.files import drafted


@dataclass(frozen=True, order=True)
class Prediction:
    """What came out for one text.

    Attributes:
        index: Number of the text in its split.
        text: The text; empty if the batches hold none.
        probabilities: Of the C classes.
        error: Why nothing is predicted, where the batch knows that.
    """

    index: int
    text: str
    probabilities: tuple[float, ...]
    error: str = ""


class PredictionWriter(Callback):
    """Writes ``<run>/predictions.csv`` after ``trainer.predict``.

    Columns: index, text, predicted (the name of the likeliest class), one probability for each
    class, and error. Nothing is predicted for a row whose text is missing (the batch says so in
    ``error``) or whose probabilities are NaN: then error says why and the others are empty. The
    number of such rows is printed. One row a text, also for one without a word, ordered by index,
    those of all processes together; until all are there they wait on the disk. The module's
    ``predict_step`` returns ``index`` (B,), -1 for rows that only fill a process up, and
    ``probabilities`` (B, C).

    Args:
        filename: Name of the file within the run's folder.
        model: Which classifier names the classes, where the module holds several: the path of an
            attribute, such as ``student``, or a function from the module to it.

    Raises:
        InputError: If the file is not within the run's folder, or ``predict_step`` returns
            something else; before the first batch, if the module holds several classifiers and
            none was chosen.
    """

    def __init__(self, filename: str = "predictions.csv", model: ModelChoice | None = None) -> None:
        check_within("PredictionWriter: filename", filename)
        self.filename = filename
        self.model = model
        self.path: Path | None = None
        self._rows: Sorter[Prediction] | None = None

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new table."""
        with blamed(self):
            self._classifier = classifier_in(pl_module, self.model)
        self._rows = Sorter(run_folder(trainer))

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
        rows = zip(numbers.tolist(), texts, probabilities.tolist(), errors, strict=True)
        if self._rows is not None:
            self._rows.add([Prediction(i, t, tuple(p), e or "") for i, t, p, e in rows if i >= 0])

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the rows of all processes together and write them on rank zero."""
        if self._rows is None:
            return
        path = run_folder(trainer) / self.filename
        rows = sorted_on_zero(self._rows, path.parent)
        first = next(rows, None)
        self._rows = None
        if not trainer.is_global_zero:
            return
        begun = [] if first is None else [first]
        failed = write_predictions(path, chain(begun, rows), _names(self._classifier, begun))
        self.path = path
        unknown = f" ({failed:,} texts without one: see the column error)" if failed else ""
        print(f"Predictions: {path}{unknown}")


def write_predictions(path: Path, rows: Iterable[Prediction], names: Sequence[str]) -> int:
    """Write a table of predictions, whole or not at all.

    Args:
        path: The file.
        rows: The predictions.
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
            best = max(range(len(names)), key=row.probabilities.__getitem__)
            cells = [names[best], *(f"{probability:.6f}" for probability in row.probabilities)]
            finite = all(map(isfinite, row.probabilities))
            error = row.error or ("" if finite else "no finite probability")
            writer.writerow([row.index, row.text, *([""] * len(cells) if error else cells), error])
            failed += bool(error)
    return failed


def _names(model: PreTrainedModel | None, rows: Sequence[Prediction]) -> list[str]:
    """Names of the classes, or their numbers where the module holds no model that names them."""
    classes = len(rows[0].probabilities) if rows else 0
    names = class_names(model) if model is not None else []
    return names or [str(number) for number in range(classes)]
