"""The class and the methods that a user chooses, checked against a model."""

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
from bertx.attribution import __all__ as known_methods
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture

PREDICTED, GOLD, ALL = "predicted", "gold", "all"

Methods = Attribution | Sequence[Attribution] | Mapping[str, Attribution]
"""One method, several, or several by name."""

DEFAULT_METHODS: tuple[type[Attribution], ...] = (AttnLRP, GradientXInput, GradientSensitivity)
"""What explains where nothing else is asked for, as far as the model supports it."""

COMPARED_METHODS: tuple[type[Attribution], ...] = (
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    LRP,
)
"""What is compared where nothing else is asked for: AttnLRP and the four methods of the paper."""


def named(
    methods: Methods | None,
    model: PreTrainedModel,
    usual: Sequence[type[Attribution]] = DEFAULT_METHODS,
) -> dict[str, Attribution]:
    """The methods by name, checked against a model; without names, they have those of their class.

    Args:
        methods: One, several, or several by name; None for the usual ones.
        model: The classifier.
        usual: The usual ones; those that the model supports are taken.

    Raises:
        InputError: If there is none, two have one name, or one is no `Attribution`.
        UnsupportedArchitecture: If a method is not defined for the model, or no default one is.
    """
    if methods is None:
        defaults = {method.__name__: method() for method in usual}
        chosen = supported(defaults, model)
        if not chosen:
            check_each(defaults, model)
        return chosen
    if not isinstance(methods, Mapping):
        methods = _listed(methods)
    by_name = (
        dict(methods)
        if isinstance(methods, Mapping)
        else {type(method).__name__: method for method in methods}
    )
    if len(by_name) < len(methods) or not by_name:
        raise InputError(
            "methods: expected at least one, and no class twice in a list: name them in a dict "
            "such as {'gi': GradientXInput()}"
        )
    check_each(by_name, model)
    return by_name


def several(texts: Any) -> list[Any]:
    """One text or several, as a list.

    Args:
        texts: A string, or what gives texts one by one.

    Raises:
        InputError: If it is neither.
    """
    if hasattr(texts, "columns") or hasattr(texts, "column_names"):
        raise InputError(
            f"expected a text or several, got a {type(texts).__name__}, a table. Give its column "
            'of texts, such as df["text"].'
        )
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise InputError(f"expected a text or several, got {type(texts).__name__}")
    return [texts] if isinstance(texts, str) else list(texts)


def check_each(methods: Mapping[str, Attribution], model: PreTrainedModel) -> None:
    """Refuse what cannot explain a model.

    Raises:
        InputError: If a value is not an `Attribution`.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    for name, method in methods.items():
        if not isinstance(method, Attribution):
            raise _no_method(f"method {name!r}", method)
        method.check(model)


def supported(methods: Mapping[str, Attribution], model: PreTrainedModel) -> dict[str, Attribution]:
    """Those of the methods that are defined for a model."""
    return {name: method for name, method in methods.items() if _supports(method, model)}


def _listed(methods: Any) -> list[Attribution]:
    if isinstance(methods, (Attribution, type, str)) or not isinstance(methods, Iterable):
        methods = [methods]
    given = list(methods)
    for method in given:  # before classes are told apart by their names: these are no names yet
        if not isinstance(method, Attribution):
            raise _no_method("methods", method)
    return given


def _no_method(where: str, got: Any) -> InputError:
    name = got.__name__ if isinstance(got, type) else got
    is_method = isinstance(got, type) or (isinstance(got, str) and got in known_methods)
    return InputError(
        f"{where}: expected an instance of bertx.attribution.Attribution, got {got!r}."
        f"{f' Did you mean {name}()?' if is_method else ''}"
    )


def _supports(method: Attribution, model: PreTrainedModel) -> bool:
    try:
        method.check(model)
    except UnsupportedArchitecture:
        return False
    return True
