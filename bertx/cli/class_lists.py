"""Classes that the command line names: comma-separated, or in YAML with their settings."""

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract, signature
from types import ModuleType
from typing import Any

from bertx.cli.class_settings import YAML, is_mapping, read_mapping, with_settings
from bertx.errors import InputError

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def split_names(names: str, option: str) -> list[str]:
    """The names that an option lists, comma-separated.

    Args:
        names: The list.
        option: The option, for messages.

    Raises:
        InputError: If there is none.
    """
    parsed = [name.strip() for name in names.split(",") if name.strip()]
    if not parsed:
        raise InputError(f"{option}: expected comma-separated names, but got {names!r}.")
    return parsed


class Choice:
    """What an option chooses from: classes of a kind, some of them known by their name alone.

    Args:
        option: The option, for messages.
        base: Of which every class has to be.
        modules: Where those that go by their name are public.
    """

    def __init__(self, option: str, base: type, *modules: ModuleType) -> None:
        self.option, self._base = option, base
        self._classes = {name: cls for module in modules for name, cls in _public(module, base)}

    def instances(self, given: str) -> dict[str, Any]:
        """One instance of each class, by the name of the class or the one that is given to it.

        Args:
            given: Comma-separated names or import paths; or in YAML, or in a file that
                ends so, ``{name: class}`` or ``{name: {class_path: class, init_args: {...}}}``.

        Raises:
            InputError: If none is named, two have one name, there is no such class, or it cannot
                be made with these settings.
        """
        if is_mapping(given):
            entries = read_mapping(given, self.option)
            return {name: self._configured(name, *entry) for name, entry in entries.items()}
        instances: dict[str, Any] = {}
        for name in split_names(given, self.option):
            short = name.rpartition(".")[2]
            if short in instances:
                raise InputError(
                    f"{self.option} {given}: expected different names, but {short} occurs twice. "
                    f"Leave one out, or name them: {self.option} '{YAML}'"
                )
            instances[short] = self._plain(name)
        return instances

    def _plain(self, name: str) -> Any:
        where = f"{self.option} {name}"
        cls = self._class(name, where)
        try:
            return cls()
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{where}: {error}. {self._others()} One that needs arguments gets them in YAML: "
                f"{self.option} '{YAML}'"
            ) from error

    def _configured(self, name: str, path: str, settings: dict[str, Any]) -> Any:
        where = f"{self.option} {name}"
        return with_settings(self._class(path, where), settings, where)

    def _class(self, path: str, where: str) -> type:
        cls = self._find(path, where)
        if not isinstance(cls, type) or not issubclass(cls, self._base) or isabstract(cls):
            raise InputError(
                f"{where}: {path} is not a usable {self._base.__name__}. {self._others()}"
            )
        return cls

    def _find(self, path: str, where: str) -> Any:
        module, _, name = path.rpartition(".")
        try:
            return getattr(import_module(module), name) if module else self._classes[name]
        except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
            reason = f"no such class: {name}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: {reason}. {self._others()}") from error

    def _others(self) -> str:
        usual = (name for name, cls in self._classes.items() if _needs_nothing(cls))
        return f"Choose from {', '.join(usual)}, or give the import path of your own class."


def snake_case(name: str) -> str:
    """The name of a class as that of a metric.

    Examples:
        >>> snake_case("LeaveOneOutTau"), snake_case("RationaleAUPRC"), snake_case("RationaleF1")
        ('leave_one_out_tau', 'rationale_auprc', 'rationale_f1')
    """
    return _WORD.sub("_", name).lower()


def _public(module: ModuleType, base: type) -> Iterator[tuple[str, type]]:
    for name in getattr(module, "__all__", dir(module)):
        cls = getattr(module, name)
        if isinstance(cls, type) and issubclass(cls, base):
            yield name, cls


def _needs_nothing(cls: type) -> bool:
    arguments = signature(cls).parameters.values()
    return not isabstract(cls) and all(a.default is not a.empty for a in arguments)
