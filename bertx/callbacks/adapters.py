"""Merging adapters, such as LoRA's, into the weights of a classifier."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from bertx.errors import InputError, first_line
from bertx.models.classifier import one_classifier, uncompiled_name

_NAMED = 3
"""Number of weights that an error names."""


def is_adapter(module: nn.Module) -> bool:
    """Return whether a module wraps a model in adapters that peft can merge."""
    return hasattr(module, "merge_and_unload")


def has_adapters(module: nn.Module) -> bool:
    """Return whether a module is or contains an adapter."""
    return any(map(is_adapter, module.modules()))


def merge_adapters(module: nn.Module, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """Return a copy of a classifier with the given weights and its adapters merged into them.

    Args:
        module: The classifier, or the outermost adapter around it; left as it is.
        weights: Its state, under the names it has without ``torch.compile``.

    Raises:
        InputError: If an adapter cannot be merged.
    """
    holder = nn.ModuleDict({"classifier": copy.deepcopy(module)})
    state = holder["classifier"].state_dict()
    holder["classifier"].load_state_dict({name: weights[uncompiled_name(name)] for name in state})
    _merge(holder)
    return one_classifier(holder)


def check_loadable(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Check that `transformers` would load these weights into the model of the same config.

    It would draw missing weights at random and ignore unexpected ones.

    Args:
        model: The classifier, whose config is exported.
        weights: The exported weights.

    Raises:
        InputError: If names or shapes differ.
    """
    config = copy.deepcopy(model.config)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        return  # only a custom class can load it
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    expected = {name: value.shape for name, value in plain.state_dict().items()}
    actual = {name: value.shape for name, value in weights.items()}
    wrong = sorted({name for name, _ in expected.items() ^ actual.items()})
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InputError(
            f"{type(model).__name__} has been changed: transformers would load the export as "
            f"{type(plain).__name__}, which has different weights: {', '.join(wrong[:_NAMED])}"
            f"{more}. Add adapters with peft.get_peft_model, so that they can be merged; save "
            "other changes with custom code and leave HuggingFaceExport out."
        )


def _merge(holder: nn.Module) -> None:
    """Replace each adapter in a module by the model it wraps, with merged weights."""
    children: list[tuple[str, Any]] = list(holder.named_children())
    for name, child in children:
        if not is_adapter(child):
            _merge(child)
            continue
        try:
            setattr(holder, name, child.merge_and_unload())
        except Exception as error:  # each kind of adapter raises its own errors
            raise InputError(
                f"the adapter {type(child).__name__} cannot be merged into the weights: "
                f"{first_line(error)}. Export it with its own save_pretrained, or use one that "
                "can be merged, such as LoRA."
            ) from error
