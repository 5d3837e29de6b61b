"""The Parquet table of attributions: its columns, and the row of a text."""

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


class AttributionTable:
    """The columns and rows of a table of attributions.

    Args:
        model: The explained model.
        methods: The methods by name.
        every_class: Whether each method has a list of scores for each class.
        settings: How the rows are computed (see `bertx.explanation.provenance.describe`).

    Attributes:
        schema: The columns, with the settings as metadata.
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
        numbers, integers = pa.list_(pa.float32()), pa.list_(pa.int32())
        scores = pa.list_(numbers) if every_class else numbers
        columns = [
            ("index", pa.int64()), ("text", pa.string()), ("input_ids", integers),
            ("words", pa.list_(pa.string())), ("starts", integers), ("ends", integers),
            ("left_out", pa.int32()),
            ("prediction", pa.string()), ("probabilities", numbers), ("target", pa.string()),
            *((f"scores_{name}", scores) for name in methods), ("error", pa.string()),
        ]  # fmt: skip
        self._settings = json.loads(json.dumps(settings))
        self._settings["columns"] = [name for name, _ in columns]
        self.schema = pa.schema(columns, {METADATA_KEY: json.dumps(self._settings)})

    def check(self, folder: Path, stored: Mapping[str, Any] | None) -> None:
        """Check that the rows stored in a folder were computed with the same settings.

        Raises:
            InputError: If a setting other than the version of bertx differs.
        """
        if stored is None:
            return
        differing = [key for key, value in self._settings.items() if stored.get(key) != value]
        keys = [key for key in differing if key != "version"]
        if keys:
            raise InputError(
                f"{folder} holds attributions of another run: {_listed(stored, keys)} there, "
                f"{_listed(self._settings, keys)} here. Choose another `AttributionWriter.folder`, "
                "or the settings of that run."
            )

    def row(self, reading: Reading, explanations: Sequence[Explanation]) -> dict[str, Any]:
        """Return the row of a text.

        Args:
            reading: The text.
            explanations: Its explanations: one, or one for each class.
        """
        row: dict[str, Any] = dict.fromkeys(self.schema.names)
        row |= {
            "index": reading.index,
            "text": writable(reading.text),
            "input_ids": reading.input_ids,
            "words": [reading.text[start:end] for start, end in reading.spans],
            "starts": [start for start, _ in reading.spans],
            "ends": [end for _, end in reading.spans],
            "left_out": reading.left_out,
        }
        first = explanations[0]
        if first.predicted is None:
            return row | {"error": first.error}
        row["prediction"] = self._names[first.predicted]
        row["probabilities"] = first.probabilities
        if not self._every_class and first.target is not None:
            row["target"] = self._names[first.target]
        overflowed = []
        for name in self._methods:
            row[f"scores_{name}"] = scores = self._scores(name, explanations)
            if scores is None:
                overflowed.append(name)
        if overflowed:
            row["error"] = f"no finite scores from {', '.join(overflowed)}"
        return row

    def _scores(self, name: str, explanations: Sequence[Explanation]) -> Any:
        """Return scores (U,), or (C, U) for all classes; None if one is not finite in float32."""
        with np.errstate(over="ignore"):
            scores = np.asarray([each.scores[name] for each in explanations], dtype=np.float32)
        if not np.isfinite(scores).all():
            return None
        return scores.tolist() if self._every_class else scores[0].tolist()


def _listed(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {json.dumps(settings.get(key))}" for key in keys)
