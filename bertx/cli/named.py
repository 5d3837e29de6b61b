"""Classes that the command line names, one after another, parted by commas."""

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract, signature
from types import ModuleType
from typing import Any

from bertx.errors import InputError

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def classes(module: ModuleType, base: type) -> dict[str, type]:
    """The public classes of a module that are of a kind and need no arguments, by name."""
    found = {name: getattr(module, name) for name in getattr(module, "__all__", dir(module))}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, base) and _needs_nothing(cls)
    }


def parted(names: str, option: str) -> list[str]:
    """The names that an option lists, parted by commas.

    Args:
        names: The list.
        option: The option, for messages.

    Raises:
        InputError: If there is none.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise InputError(f"{option}: expected names, parted by commas, but got {names!r}.")
    return found


def made(names: str, known: Mapping[str, type], option: str) -> dict[str, Any]:
    """One instance of each class, by its name.

    Args:
        names: Names of known classes or import paths of others, parted by commas.
        known: The classes that are known by their name.
        option: The option that names them, for messages.

    Raises:
        InputError: If none is named, two have one name, there is no such class, or it cannot be
            made without arguments.
    """
    found: dict[str, Any] = {}
    for name in parted(names, option):
        short = name.rpartition(".")[2]
        if short in found:
            raise InputError(
                f"{option} {names}: expected different names, but {short} occurs twice. Leave one "
                "out, or rename your own class."
            )
        found[short] = _made(name, known, option)
    return found


def snake_case(name: str) -> str:
    """The name of a class as that of a metric.

    Examples:
        >>> snake_case("LeaveOneOutTau"), snake_case("RationaleAUPRC"), snake_case("RationaleF1")
        ('leave_one_out_tau', 'rationale_auprc', 'rationale_f1')
    """
    return _WORD.sub("_", name).lower()


def _made(name: str, known: Mapping[str, type], option: str) -> Any:
    module, _, cls = name.rpartition(".")
    try:
        return (getattr(import_module(module), cls) if module else known[cls])()
    except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
        reason = f"no such class: {cls}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{option} {name}: {reason}. Known are {', '.join(known)}, or the import path of your "
            "own class, which must need no arguments."
        ) from error


def _needs_nothing(cls: type) -> bool:
    arguments = signature(cls).parameters.values()
    return not isabstract(cls) and all(a.default is not a.empty for a in arguments)
