"""What is written for each text that is explained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from bertx.attribution import Attribution
from bertx.callbacks.shards import METADATA_KEY, writable
from bertx.errors import InputError
from bertx.explanation import Explanation
from bertx.models.classifier import class_names
from bertx.models.encode import Reading

_TEXT = ("index", "text", "input_ids", "words", "starts", "ends", "left_out")


class Records:
    """The rows of a table of attributions.

    Args:
        model: The explained model.
        methods: The methods by name.
        every_class: Whether each method has a list of scores for each class.
        settings: How the rows are made (see `bertx.explanation.provenance.describe`).

    Attributes:
        schema: The columns.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        methods: Mapping[str, Attribution],
        every_class: bool,
        settings: Mapping[str, Any],
    ) -> None:
        self._names = class_names(model)
        self._methods, self._every_class = tuple(methods), every_class
        self._settings = json.loads(json.dumps(settings))
        numbers, integers = pa.list_(pa.float32()), pa.list_(pa.int32())
        scores = pa.list_(numbers) if every_class else numbers
        columns = [
            ("index", pa.int64()), ("text", pa.string()), ("input_ids", integers),
            ("words", pa.list_(pa.string())), ("starts", integers), ("ends", integers),
            ("left_out", pa.int32()),
            ("prediction", pa.string()), ("probabilities", numbers), ("target", pa.string()),
            *((f"scores_{name}", scores) for name in methods), ("error", pa.string()),
        ]  # fmt: skip
        self._settings["columns"] = [name for name, _ in columns]
        self.schema = pa.schema(columns, {METADATA_KEY: json.dumps(self._settings)})

    def check(self, folder: Path, stored: Mapping[str, Any] | None) -> None:
        """Raise `InputError` if what is in a folder was not made as these rows are."""
        if stored is None:
            return
        others = [key for key, value in self._settings.items() if stored.get(key) != value]
        keys = [key for key in others if key != "version"]
        if keys:
            there, here = ({key: of.get(key) for key in keys} for of in (stored, self._settings))
            raise InputError(
                f"{folder} holds attributions of another run: {_listed(there)} there, "
                f"{_listed(here)} here. Give another `AttributionWriter.folder`, or the settings "
                "of that run."
            )

    def row(self, reading: Reading, explanations: Sequence[Explanation]) -> dict[str, Any]:
        """The row of a text.

        Args:
            reading: The text.
            explanations: Its explanations: one, or one for each class.
        """
        row = {**_text(reading), **dict.fromkeys(self.schema.names[len(_TEXT) :])}
        first = explanations[0]
        if first.predicted is None:
            return {**row, "error": first.error}
        row["prediction"] = self._names[first.predicted]
        row["probabilities"] = first.probabilities
        if not self._every_class and first.target is not None:
            row["target"] = self._names[first.target]
        scores = {name: self._scores(name, explanations) for name in self._methods}
        bad = [name for name, values in scores.items() if values is None]
        row |= {f"scores_{name}": values for name, values in scores.items()}
        return {**row, "error": f"no finite scores from {', '.join(bad)}" if bad else None}

    def _scores(self, name: str, explanations: Sequence[Explanation]) -> Any:
        """(U,) or, of all classes, (C, U); None where one of them is no number in float32."""
        with np.errstate(over="ignore"):
            scores = np.asarray([one.scores[name] for one in explanations], dtype=np.float32)
        if not np.isfinite(scores).all():
            return None
        return scores.tolist() if self._every_class else scores[0].tolist()


def _text(reading: Reading) -> dict[str, Any]:
    values = (
        reading.index,
        writable(reading.text),
        reading.input_ids,
        [reading.text[start:end] for start, end in reading.spans],
        [start for start, _ in reading.spans],
        [end for _, end in reading.spans],
        reading.left_out,
    )
    return dict(zip(_TEXT, values, strict=True))


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
