"""Class weights of the training loss."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from torch import Tensor, tensor

from bertx.errors import InputError

ClassWeights = Literal["balanced"] | list[float] | dict[str, float]
"""``balanced``, or a weight for each class, by number or by name."""

_OPTION = "`class_weights`"


def check_class_weights(weights: ClassWeights | None, labels: Sequence[str]) -> None:
    """Check that there is one positive weight for each class.

    Args:
        weights: The weights; None for equal ones.
        labels: Names of the C classes.

    Raises:
        InputError: If a weight is missing, superfluous or not positive.
    """
    if weights is None or weights == "balanced":
        return
    classes = f"{len(labels)} classes ({', '.join(labels)})"
    if isinstance(weights, Mapping) and set(weights) != set(labels):
        raise InputError(
            f"{_OPTION}: expected a weight for each of the {classes}, but got weights for "
            f"{', '.join(map(str, weights)) or 'none'}."
        )
    if isinstance(weights, str) or len(weights) != len(labels):
        raise InputError(
            f"{_OPTION}: expected balanced, or a weight for each of the {classes}, but got "
            f"{weights!r}."
        )
    for label, weight in zip(labels, _in_order(weights, labels), strict=True):
        if not (isfinite(weight) and weight > 0):
            raise InputError(
                f"{_OPTION}: expected weights above 0, but the weight of {label!r} is {weight}."
            )


def loss_weights(
    weights: ClassWeights | None, labels: Sequence[str], counts: Sequence[int] | None
) -> Tensor | None:
    """Return the weight of each class in the loss (C,).

    Args:
        weights: The setting; ``balanced`` is N / (C × number of texts of the class), whose mean
            over the N training texts is 1.
        labels: Names of the C classes.
        counts: Number of training texts of each class, for ``balanced``.

    Raises:
        InputError: If the weights are to be balanced and a class has no training text.

    Examples:
        >>> loss_weights("balanced", ["bad", "good"], [30, 10])
        tensor([0.6667, 2.0000])
    """
    if weights is None:
        return None
    if weights != "balanced":
        assert not isinstance(weights, str)
        return tensor(_in_order(weights, labels))
    counts = counts or [0] * len(labels)
    if 0 in counts:
        raise InputError(
            f"{_OPTION} balanced: expected training texts of every class, but there is none of "
            f"{labels[list(counts).index(0)]!r}. Give a weight for each class."
        )
    return tensor([sum(counts) / (len(counts) * count) for count in counts])


def _in_order(weights: list[float] | dict[str, float], labels: Sequence[str]) -> list[float]:
    if isinstance(weights, Mapping):
        return [float(weights[label]) for label in labels]
    return [float(weight) for weight in weights]
