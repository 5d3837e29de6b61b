"""Which class is explained."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.choices import GOLD, PREDICTED
from bertx.callbacks.sample import Example
from bertx.errors import InputError
from bertx.models.classifier import class_names, class_number
from bertx.models.inputs import UNKNOWN


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
        classes = [class_number(target, model, (PREDICTED, GOLD))] * len(examples)
    return torch.tensor(classes, device=model.device)


def check_target(
    target: str | int, model: PreTrainedModel, others: Sequence[str] = (PREDICTED, GOLD)
) -> None:
    """Raise `InputError` if ``target`` is none of ``others`` and names no class of the model."""
    if target not in others:
        class_number(target, model, others)


def _gold(example: Example, classes: int) -> int:
    if 0 <= example.label < classes:
        return example.label
    what = "no label" if example.label == UNKNOWN else f"label {example.label}"
    raise InputError(
        f"target 'gold': example {example.index} has {what}, the model's classes are "
        f"0..{classes - 1}. Use target 'predicted', or label the data."
    )
