"""How attributions are made, in words that tell one way from another."""

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
    checksum = 0
    for weight in model.parameters():
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _PROBED)][:_PROBED]
        checksum = zlib.crc32(some.float().cpu().numpy().tobytes(), checksum)
    return f"{checksum:08x}"


def rules(tokenizer: PreTrainedTokenizerBase) -> str:
    """Eight hexadecimal digits that change with what a tokenizer makes of a whole text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    contents = tokenizer.get_vocab() if backend is None else json.loads(backend.to_str())
    if backend is not None:  # what the last call has set
        contents |= {"truncation": None, "padding": None}
    return f"{zlib.crc32(json.dumps(contents, sort_keys=True).encode()):08x}"
