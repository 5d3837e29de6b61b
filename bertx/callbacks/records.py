"""What is written for each text that is explained, and how it was made."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx import __version__
from bertx.attribution import Attribution
from bertx.callbacks.sample import Example
from bertx.callbacks.shards import KEY
from bertx.callbacks.targets import class_names
from bertx.errors import InputError
from bertx.inputs import Unit, merge_by_unit
from bertx.trace import Trace
from bertx.words import Span, disjoint, number_words, special_ids

_PROBED = 64  # numbers of each weight that its fingerprint is taken of
_PLAIN = (str, int, float, bool, type(None))


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    methods: Mapping[str, Attribution],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """How attributions are made, as it is written with them (all of it as JSON can say it).

    Args:
        model: The explained model.
        tokenizer: What makes its inputs.
        methods: The methods by name.
        run: What else decides the rows, by name.
    """
    return {
        "version": __version__,
        "model": str(model.name_or_path),
        "weights": fingerprint(model),
        "classes": class_names(model),
        "tokenizer": f"{type(tokenizer).__name__} {rules(tokenizer)}",
        **run,
        "methods": {
            name: {**settings(method), "signed": method.signed} for name, method in methods.items()
        },
    }


def settings(thing: object) -> Any:
    """The class of a thing and what it was set to, as far as it is plain."""
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, (list, tuple)):
        return [settings(part) for part in thing]
    if isinstance(thing, Mapping):
        return {str(key): settings(value) for key, value in thing.items()}
    kind = type(thing)
    names = [f.name for f in fields(thing)] if is_dataclass(thing) else vars_of(thing)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "settings": {name: settings(getattr(thing, name)) for name in names},
    }


def vars_of(thing: object) -> list[str]:
    """Names of a thing's public attributes; none for what has no dictionary, such as a tensor."""
    if isinstance(thing, Tensor) or (callable(thing) and not isinstance(thing, Attribution)):
        return []
    return sorted(name for name in getattr(thing, "__dict__", {}) if not name.startswith("_"))


def fingerprint(model: PreTrainedModel) -> str:
    """Eight hexadecimal digits that change when training changes the weights."""
    found = 0
    for weight in model.parameters():
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _PROBED)][:_PROBED]
        found = zlib.crc32(some.float().cpu().numpy().tobytes(), found)
    return f"{found:08x}"


def rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """Eight hexadecimal digits that change with what a tokenizer makes of a whole text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    known = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    if backend is not None:  # what the last call has set
        known |= {"truncation": None, "padding": None}
    return f"{zlib.crc32(json.dumps(known, sort_keys=True).encode()):08x}"


class Records:
    """The rows of a table of attributions.

    Args:
        model: The explained model.
        tokenizer: What makes its inputs.
        methods: The methods by name.
        unit: What has a score.
        made: How the rows are made (see `describe`).

    Attributes:
        schema: The columns.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        methods: Mapping[str, Attribution],
        unit: Unit,
        made: Mapping[str, Any],
    ) -> None:
        self._tokenizer, self._unit = tokenizer, unit
        self._names = class_names(model)
        self._made = json.loads(json.dumps(made))
        numbers, integers = pa.list_(pa.float32()), pa.list_(pa.int32())
        columns = [
            ("index", pa.int64()), ("text", pa.string()), ("input_ids", integers),
            ("words", pa.list_(pa.string())), ("starts", integers), ("ends", integers),
            ("left_out", pa.int32()),
            ("prediction", pa.string()), ("probabilities", numbers), ("target", pa.string()),
            *((f"scores_{name}", numbers) for name in methods), ("error", pa.string()),
        ]  # fmt: skip
        self.schema = pa.schema(columns, {KEY: json.dumps(self._made)})

    def check(self, folder: Path, made: Mapping[str, Any] | None) -> None:
        """Raise `InputError` if what is in a folder was not made as these rows are."""
        if made is None:
            return
        keys = [key for key in self._made if key != "version" and self._made[key] != made.get(key)]
        if keys:
            theirs, ours = ({key: found.get(key) for key in keys} for found in (made, self._made))
            raise InputError(
                f"{folder} holds attributions of another run: {_said(theirs)} there, "
                f"{_said(ours)} here. Give another --attributions.folder, or the settings of "
                "that run."
            )

    def rows(
        self, examples: list[Example], trace: Trace, offsets: Tensor, scores: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """One row for each of B texts.

        Args:
            examples: The texts.
            trace: Their forward.
            offsets: Characters of each token (B, T, 2), on the CPU.
            scores: Scores of each method (B, T).
        """
        units = trace.inputs.units.cpu()
        merged = {
            name: merge_by_unit(found, trace.inputs.units).float().cpu()
            for name, found in scores.items()
        }
        texts = self._texts(examples, units, offsets)
        probabilities, target = trace.probabilities.float().cpu(), trace.target.tolist()
        return [
            {
                **text,
                **self._classes(probabilities[i], target[i]),
                **_scores({name: found[i, : len(text["words"])] for name, found in merged.items()}),
                **self._failure(probabilities[i]),
            }
            for i, text in enumerate(texts)
        ]

    def failed(
        self, example: Example, units: Tensor, offsets: Tensor, error: str
    ) -> dict[str, Any]:
        """The row of a text that cannot be explained.

        Args:
            example: The text.
            units: Its units (1, T), on the CPU.
            offsets: Characters of each token (1, T, 2), on the CPU.
            error: Why.
        """
        return {**self._texts([example], units, offsets)[0], **self._nothing(error)}

    def _texts(
        self, examples: list[Example], units: Tensor, offsets: Tensor
    ) -> list[dict[str, Any]]:
        """The columns of each text that need no model."""
        spans, counts = unit_spans(units, offsets).tolist(), (units.amax(1) + 1).tolist()
        rows = []
        for example, own, count in zip(examples, spans, counts, strict=True):
            row = _text(example, disjoint(example.text, [(a, b) for a, b in own[:count]]))
            rows.append({**row, "left_out": self._left_out(example, count)})
        return rows

    def _left_out(self, example: Example, count: int) -> int | None:
        """How many units of a text have no place in its tokens; None if it cannot be known."""
        text, offsets = example.text, example.tokens["offsets"]
        seen = offsets[offsets[:, 0] < offsets[:, 1]]
        if len(seen) and not (text[: int(seen.min())] + text[int(seen.max()) :]).strip():
            return 0
        if not self._tokenizer.is_fast:
            return None
        encoding = self._tokenizer([text], verbose=False).encodings[0]
        special = special_ids(self._tokenizer)
        ranked = [token not in special for token in encoding.ids]
        words = number_words(text, encoding.offsets, encoding.word_ids, ranked)[1]
        return max(0, (len(words) if self._unit == "word" else sum(ranked)) - count)

    def _classes(self, probabilities: Tensor, target: int) -> dict[str, Any]:
        return {
            "prediction": self._names[int(probabilities.argmax())],
            "probabilities": probabilities.tolist(),
            "target": self._names[target],
        }

    def _failure(self, probabilities: Tensor) -> dict[str, Any]:
        """What replaces the values of a text that the model itself makes nothing of."""
        if probabilities.isfinite().all():
            return {}
        return self._nothing("no finite probabilities")

    def _nothing(self, error: str) -> dict[str, Any]:
        columns = [name for name in self.schema.names if name.startswith("scores_")]
        known = dict.fromkeys([*columns, "prediction", "probabilities", "target"])
        return {**known, "error": error}


def unit_spans(units: Tensor, offsets: Tensor) -> Tensor:
    """The characters of every unit.

    Args:
        units: Unit numbers (B, T), -1 for none.
        offsets: Start and end of every token (B, T, 2).

    Returns:
        Start of a unit's first token and end of its last (B, U, 2), U the largest number of units
        in the batch; 0 beyond a text's own.

    Examples:
        >>> offsets = torch.tensor([[[0, 0], [0, 2], [2, 6], [7, 9]]])
        >>> unit_spans(torch.tensor([[-1, 0, 0, 1]]), offsets).tolist()
        [[[0, 6], [7, 9]]]
    """
    width = max(int(units.max()) + 1, 0)
    places = units.masked_fill(units < 0, width)
    empty = offsets.new_zeros(len(units), width + 1)
    starts, ends = (
        empty.scatter_reduce(1, places, offsets[..., side], how, include_self=False)
        for side, how in enumerate(("amin", "amax"))
    )
    return torch.stack([starts, ends], -1)[:, :width]


def _text(example: Example, spans: list[Span]) -> dict[str, Any]:
    return {
        "index": example.index,
        "text": example.text,
        "input_ids": example.tokens["input_ids"].tolist(),
        "words": [example.text[start:end] for start, end in spans],
        "starts": [start for start, _ in spans],
        "ends": [end for _, end in spans],
    }


def _scores(scores: Mapping[str, Tensor]) -> dict[str, Any]:
    """The scores of a text's units (U,), and which of them are none."""
    bad = [name for name, found in scores.items() if not found.isfinite().all()]
    row = {f"scores_{name}": None if name in bad else s.tolist() for name, s in scores.items()}
    error = f"no finite scores from {', '.join(bad)}" if bad else None
    return {**row, "error": error}


def _said(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in made.items())
