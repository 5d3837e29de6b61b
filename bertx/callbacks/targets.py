"""Which class is explained."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.callbacks.sample import Example
from bertx.errors import InputError
from bertx.inputs import UNKNOWN

PREDICTED, GOLD = "predicted", "gold"


def targets(target: str | int, examples: list[Example], model: PreTrainedModel) -> Tensor | None:
    """The class to explain for each of B examples.

    Args:
        target: ``predicted`` on the clean input, ``gold``, or the name or number of a class.
        examples: The examples.
        model: The classifier.

    Returns:
        Class numbers (B,) on the model's device, or None for the predicted ones.

    Raises:
        InputError: If the class does not exist, or ``gold`` is asked of an unlabelled example.
    """
    if target == PREDICTED:
        return None
    if target == GOLD:
        classes = [_gold(example, len(class_names(model))) for example in examples]
    else:
        classes = [class_number(target, model)] * len(examples)
    return torch.tensor(classes, device=model.device)


def check_target(target: str | int, model: PreTrainedModel) -> None:
    """Raise `InputError` if ``target`` names no class of the model."""
    if target not in (PREDICTED, GOLD):
        class_number(target, model)


def class_names(model: PreTrainedModel) -> list[str]:
    """The names of the C classes, from the model's config."""
    names: Mapping[Any, Any] = model.config.id2label or {}
    return [str(names.get(i, i)) for i in range(int(model.config.num_labels or 0))]


def class_number(target: str | int, model: PreTrainedModel) -> int:
    """The number of a class given by its name or number.

    Raises:
        InputError: If the model has no such class.
    """
    names = class_names(model)
    if isinstance(target, str) and target in names:
        return names.index(target)
    if str(target).isdecimal() and int(target) < len(names):
        return int(target)
    raise InputError(
        f"target {target!r}: expected {PREDICTED!r}, {GOLD!r}, or a class out of "
        f"{', '.join(f'{i} ({name})' for i, name in enumerate(names))}"
    )


def _gold(example: Example, classes: int) -> int:
    if 0 <= example.label < classes:
        return example.label
    what = "no label" if example.label == UNKNOWN else f"label {example.label}"
    raise InputError(
        f"target 'gold': example {example.index} has {what}, the model's classes are "
        f"0..{classes - 1}. Use target 'predicted', or label the data."
    )
