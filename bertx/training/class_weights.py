"""What each class counts in the training loss."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from torch import Tensor, tensor

from bertx.errors import InputError

ClassWeights = Literal["balanced"] | list[float] | dict[str, float]
"""``balanced``, or a weight for each class, in their order or by name."""

_OPTION = "`class_weights`"


def check_class_weights(weights: ClassWeights | None, labels: Sequence[str]) -> None:
    """Refuse weights that are not one positive number for each class.

    Args:
        weights: The weights; None for none.
        labels: Names of the C classes.

    Raises:
        InputError: If they cannot be used.
    """
    if weights is None or weights == "balanced":
        return
    named = f"{len(labels)} classes ({', '.join(labels)})"
    if isinstance(weights, Mapping) and set(weights) != set(labels):
        raise InputError(
            f"{_OPTION}: expected a weight for each of the {named}, but got weights for "
            f"{', '.join(map(str, weights)) or 'none'}."
        )
    if isinstance(weights, str) or len(weights) != len(labels):
        raise InputError(
            f"{_OPTION}: expected balanced, or a weight for each of the {named}, but got "
            f"{weights!r}."
        )
    for name, weight in _by_name(weights, labels).items():
        if not (isfinite(weight) and weight > 0):
            raise InputError(
                f"{_OPTION}: expected weights above 0, but that of {name!r} is {weight}."
            )


def weights_of(
    weights: ClassWeights | None, labels: Sequence[str], counts: Sequence[int] | None
) -> Tensor | None:
    """The weight of each class (C,).

    Args:
        weights: What was asked for; ``balanced`` is N / (C × number of texts of the class), which
            has the mean 1 over the N training texts.
        labels: Names of the C classes.
        counts: The number of training texts of each class, for ``balanced``.

    Raises:
        InputError: If a class has no text to be balanced by.

    Examples:
        >>> weights_of("balanced", ["bad", "good"], [30, 10])
        tensor([0.6667, 2.0000])
    """
    if weights is None:
        return None
    if weights != "balanced":
        assert not isinstance(weights, str)
        return tensor(list(_by_name(weights, labels).values()))
    counts = counts or [0] * len(labels)
    if 0 in counts:
        raise InputError(
            f"{_OPTION} balanced: expected training texts of every class, but there is none of "
            f"{labels[list(counts).index(0)]!r}. Give a weight for each class."
        )
    return tensor([sum(counts) / (len(counts) * count) for count in counts])


def _by_name(weights: list[float] | dict[str, float], labels: Sequence[str]) -> dict[str, float]:
    if isinstance(weights, Mapping):
        return {label: float(weights[label]) for label in labels}
    return {label: float(weight) for label, weight in zip(labels, weights, strict=True)}
