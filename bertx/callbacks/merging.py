"""A classifier's weights as everybody loads them: without adapters, under their usual names."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from bertx.errors import InputError, first_line
from bertx.models.classifier import one_classifier, uncompiled_name

_NAMED = 3
"""How many weights an error names."""


def has_adapters(part: nn.Module) -> bool:
    """Whether a part is, holds or is the inside of something that can be merged into weights."""
    return any(map(_merges, part.modules()))


def merged(part: nn.Module, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A copy of a classifier with these weights, and its adapters merged into them.

    Args:
        part: The classifier, or the outermost adapter around it; left as it is.
        weights: Its state, under the names without compiled shells.

    Raises:
        InputError: If an adapter cannot be merged.
    """
    holder = nn.ModuleDict({"part": copy.deepcopy(part)})
    state = holder["part"].state_dict()
    holder["part"].load_state_dict({name: weights[uncompiled_name(name)] for name in state})
    _merge(holder)
    return one_classifier(holder)


def check_loadable(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that `transformers` would not load into the model of the same config.

    It would draw those that it lacks at random, and leave those that it does not know.

    Args:
        model: The classifier, whose config is written.
        weights: Its state as it is written.

    Raises:
        InputError: If names or shapes differ.
    """
    config = copy.deepcopy(model.config)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        return  # a class of one's own loads it, if any does
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    expected = {name: value.shape for name, value in plain.state_dict().items()}
    given = {name: value.shape for name, value in weights.items()}
    wrong = sorted({name for name, _ in expected.items() ^ given.items()})
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InputError(
            f"{type(model).__name__} has been changed: transformers would load the export as "
            f"{type(plain).__name__}, whose weights are others: {', '.join(wrong[:_NAMED])}{more}. "
            "Put adapters on with peft.get_peft_model, so that they can be merged; save other "
            "changes by code of your own and leave HuggingFaceExport out."
        )


def _merges(part: nn.Module) -> bool:
    return hasattr(part, "merge_and_unload")


def _merge(holder: nn.Module) -> None:
    """Put in the place of each adapter what it is around, with the weights that it makes."""
    parts: list[tuple[str, Any]] = list(holder.named_children())
    for name, part in parts:
        if not _merges(part):
            _merge(part)
            continue
        try:
            setattr(holder, name, part.merge_and_unload())
        except Exception as error:  # each kind of adapter has its own reasons
            raise InputError(
                f"the adapter {type(part).__name__} cannot be merged into the weights: "
                f"{first_line(error)}. Export it with its own save_pretrained, or use one that "
                "can be merged, such as LoRA."
            ) from error
