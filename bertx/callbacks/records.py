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
        made: How the rows are made (see `bertx.explanation.provenance.describe`).

    Attributes:
        schema: The columns.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        methods: Mapping[str, Attribution],
        every_class: bool,
        made: Mapping[str, Any],
    ) -> None:
        self._names = class_names(model)
        self._methods, self._every_class = tuple(methods), every_class
        self._made = json.loads(json.dumps(made))
        numbers, integers = pa.list_(pa.float32()), pa.list_(pa.int32())
        scores = pa.list_(numbers) if every_class else numbers
        columns = [
            ("index", pa.int64()), ("text", pa.string()), ("input_ids", integers),
            ("words", pa.list_(pa.string())), ("starts", integers), ("ends", integers),
            ("left_out", pa.int32()),
            ("prediction", pa.string()), ("probabilities", numbers), ("target", pa.string()),
            *((f"scores_{name}", scores) for name in methods), ("error", pa.string()),
        ]  # fmt: skip
        self.schema = pa.schema(columns, {METADATA_KEY: json.dumps(self._made)})

    def check(self, folder: Path, made: Mapping[str, Any] | None) -> None:
        """Raise `InputError` if what is in a folder was not made as these rows are."""
        if made is None:
            return
        keys = [key for key in self._made if key != "version" and self._made[key] != made.get(key)]
        if keys:
            theirs, ours = ({key: found.get(key) for key in keys} for found in (made, self._made))
            raise InputError(
                f"{folder} holds attributions of another run: {_said(theirs)} there, "
                f"{_said(ours)} here. Give another `AttributionWriter.folder`, or the settings of "
                "that run."
            )

    def row(self, reading: Reading, found: Sequence[Explanation]) -> dict[str, Any]:
        """The row of a text.

        Args:
            reading: The text.
            found: Its explanations: one, or one for each class.
        """
        known = {**_text(reading), **dict.fromkeys(self.schema.names[len(_TEXT) :])}
        first = found[0]
        if first.predicted is None:
            return {**known, "error": first.error}
        known["prediction"] = self._names[first.predicted]
        known["probabilities"] = first.probabilities
        if not self._every_class and first.target is not None:
            known["target"] = self._names[first.target]
        scores = {name: self._scores(name, found) for name in self._methods}
        bad = [name for name, own in scores.items() if own is None]
        known |= {f"scores_{name}": own for name, own in scores.items()}
        return {**known, "error": f"no finite scores from {', '.join(bad)}" if bad else None}

    def _scores(self, name: str, found: Sequence[Explanation]) -> Any:
        """(U,) or, of all classes, (C, U); None where one of them is no number in float32."""
        with np.errstate(over="ignore"):
            scores = np.asarray([one.scores[name] for one in found], dtype=np.float32)
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


def _said(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in made.items())
