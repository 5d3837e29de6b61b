"""Provenance of attributions: model, tokenizer, methods and settings as JSON."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx import __version__
from bertx.attribution import Attribution
from bertx.models.classifier import class_names

_SAMPLED = 64  # numbers of each weight in the fingerprint of a model
_PLAIN = (str, int, float, bool, type(None))


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    methods: Mapping[str, Attribution],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe how attributions are computed, in a form that JSON can hold.

    Attributions may only be mixed in one table if their descriptions are equal.

    Args:
        model: The explained model.
        tokenizer: Its tokenizer.
        methods: The methods by name.
        run: All other settings that the attributions depend on, by name.
    """
    return {
        "version": __version__,
        "model": str(model.name_or_path),
        "weights": fingerprint(model),
        "classes": class_names(model),
        "tokenizer": f"{type(tokenizer).__name__} {tokenizer_fingerprint(tokenizer)}",
        **run,
        "methods": {
            name: {**settings(method), "signed": method.signed} for name, method in methods.items()
        },
    }


def settings(value: object) -> Any:
    """Return the class of an object and its public attributes, recursively, as JSON values."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return [settings(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): settings(part) for key, part in value.items()}
    kind = type(value)
    names = [f.name for f in fields(value)] if is_dataclass(value) else _public_attributes(value)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "settings": {name: settings(getattr(value, name)) for name in names},
    }


def _public_attributes(value: object) -> list[str]:
    """Names of an object's public attributes; empty for tensors and functions."""
    if isinstance(value, Tensor) or (callable(value) and not isinstance(value, Attribution)):
        return []
    return sorted(name for name in getattr(value, "__dict__", {}) if not name.startswith("_"))


def fingerprint(model: PreTrainedModel) -> str:
    """Return eight hexadecimal digits that change when training changes the weights."""
    checksum = 0
    for weight in model.parameters():
        flat = weight.detach().flatten()
        sample = flat[:: max(1, len(flat) // _SAMPLED)][:_SAMPLED]
        checksum = zlib.crc32(sample.float().cpu().numpy().tobytes(), checksum)
    return f"{checksum:08x}"


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return eight hexadecimal digits that change with how a tokenizer splits a whole text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    contents = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    if backend is not None:  # truncation and padding are left over from the last call
        contents |= {"truncation": None, "padding": None}
    return f"{zlib.crc32(json.dumps(contents, sort_keys=True).encode()):08x}"
