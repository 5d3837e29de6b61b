"""The class and the methods that a user chooses, checked against a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from bertx.anatomy import UnsupportedArchitecture
from bertx.attribution import Attribution
from bertx.errors import InputError

PREDICTED, GOLD, ALL = "predicted", "gold", "all"


def class_names(model: PreTrainedModel) -> list[str]:
    """The names of the C classes, from the model's config."""
    names: Mapping[Any, Any] = model.config.id2label or {}
    return [str(names.get(i, i)) for i in range(int(model.config.num_labels or 0))]


def class_number(
    target: str | int, model: PreTrainedModel, others: Sequence[str] = (PREDICTED, GOLD)
) -> int:
    """The number of a class given by its name or number.

    Args:
        target: The name or number.
        model: The classifier.
        others: What could have been said instead of a class, for the error.

    Raises:
        InputError: If the model has no such class.
    """
    names = class_names(model)
    if isinstance(target, str) and target in names:
        return names.index(target)
    if str(target).isdecimal() and int(target) < len(names):
        return int(target)
    raise InputError(
        f"target {target!r}: expected {', '.join(map(repr, others))}, or a class out of "
        f"{', '.join(f'{i} ({name})' for i, name in enumerate(names))}"
    )


def check_each(methods: Mapping[str, Attribution], model: PreTrainedModel) -> None:
    """Refuse what cannot explain a model.

    Raises:
        InputError: If a value is not an `Attribution`.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    for name, method in methods.items():
        if not isinstance(method, Attribution):
            raise InputError(
                f"method {name!r}: expected an instance of bertx.attribution.Attribution, "
                f"got {method!r}"
            )
        method.check(model)


def supported(methods: Mapping[str, Attribution], model: PreTrainedModel) -> dict[str, Attribution]:
    """Those of the methods that are defined for a model."""
    return {name: method for name, method in methods.items() if _supports(method, model)}


def _supports(method: Attribution, model: PreTrainedModel) -> bool:
    try:
        method.check(model)
    except UnsupportedArchitecture:
        return False
    return True
