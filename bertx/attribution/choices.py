"""Choices of methods and classes, and checks of the methods against a model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from bertx.attribution import (
    LRP,
    AttnLRP,
    Attribution,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
)
from bertx.attribution import __all__ as METHOD_NAMES
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture

PREDICTED, GOLD, ALL = "predicted", "gold", "all"
"""Names of choices of the class to explain."""

Methods = Attribution | Sequence[Attribution] | Mapping[str, Attribution]
"""One method, several, or several by name."""

DEFAULT_METHODS: tuple[type[Attribution], ...] = (AttnLRP, GradientXInput, GradientSensitivity)
"""The methods that explain by default, as far as the model supports them."""

COMPARED_METHODS: tuple[type[Attribution], ...] = (
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    LRP,
)
"""The methods that are compared by default: AttnLRP and the four of Wu & Ong."""


SHORT_NAMES = {
    "AttnLRP": "attnlrp",
    "GradientSensitivity": "gs",
    "GradientXInput": "gi",
    "LayerwiseAttentionTracing": "lat",
    "LRP": "lrp",
    "Random": "random",
}
"""Names under which the default methods are logged."""


def named(
    methods: Methods | None,
    model: PreTrainedModel,
    default: Sequence[type[Attribution]] = DEFAULT_METHODS,
) -> dict[str, Attribution]:
    """Return the methods by name, checked against a model.

    Args:
        methods: One method or several, which are named after their classes, or several by name;
            None for the default ones that the model supports.
        model: The classifier.
        default: The default methods.

    Raises:
        InputError: If there is no method, two have the same name, or one is not an `Attribution`.
        UnsupportedArchitecture: If a method is not defined for the model, or no default one is.
    """
    if methods is None:
        defaults = {method.__name__: method() for method in default}
        chosen = supported(defaults, model)
        if not chosen:
            check_each(defaults, model)  # raises the reason
        return chosen
    if isinstance(methods, Mapping):
        by_name, count = dict(methods), len(methods)
    else:
        listed = _listed(methods)
        by_name, count = {type(method).__name__: method for method in listed}, len(listed)
    if not by_name:
        raise InputError("methods: expected at least one, got none")
    if len(by_name) < count:
        raise InputError(
            "methods: expected no class twice in a list. Name them in a dict such as "
            "{'gi': GradientXInput()}"
        )
    check_each(by_name, model)
    return by_name


def several(texts: Any) -> list[Any]:
    """Return one text or several as a list.

    Args:
        texts: A string or an iterable of strings.

    Raises:
        InputError: If it is neither, such as a table.
    """
    if hasattr(texts, "columns") or hasattr(texts, "column_names"):
        raise InputError(
            f"expected one or more texts, got the table {type(texts).__name__}. Pass its column "
            'of texts, such as df["text"].'
        )
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise InputError(f"expected one or more texts, got {type(texts).__name__}")
    return [texts] if isinstance(texts, str) else list(texts)


def check_each(methods: Mapping[str, Attribution], model: PreTrainedModel) -> None:
    """Check that all methods can explain a model.

    Raises:
        InputError: If a value is not an `Attribution`.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    for name, method in methods.items():
        if not isinstance(method, Attribution):
            raise _not_a_method(f"method {name!r}", method)
        method.check(model)


def supported(methods: Mapping[str, Attribution], model: PreTrainedModel) -> dict[str, Attribution]:
    """Return the methods that are defined for a model."""
    chosen = {}
    for name, method in methods.items():
        try:
            method.check(model)
        except UnsupportedArchitecture:
            continue
        chosen[name] = method
    return chosen


def _listed(methods: Any) -> list[Attribution]:
    if isinstance(methods, (Attribution, type, str)) or not isinstance(methods, Iterable):
        methods = [methods]
    listed = list(methods)
    for method in listed:  # before they are named after their classes
        if not isinstance(method, Attribution):
            raise _not_a_method("methods", method)
    return listed


def _not_a_method(where: str, got: Any) -> InputError:
    name = got.__name__ if isinstance(got, type) else got
    is_name = isinstance(got, type) or (isinstance(got, str) and got in METHOD_NAMES)
    return InputError(
        f"{where}: expected an instance of bertx.attribution.Attribution, got {got!r}."
        f"{f' Did you mean {name}()?' if is_name else ''}"
    )
