"""Classes that an option names: comma-separated, or in YAML with their settings."""

import re
from argparse import ArgumentError
from collections.abc import Hashable, Iterator, Mapping
from importlib import import_module
from inspect import Parameter, isabstract, signature
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from bertx.errors import InputError

YAML = "{NAME: {class_path: CLASS, init_args: {...}}}"
"""What is meant, for messages."""

EXAMPLE = "{ig: {class_path: IntegratedGradients, init_args: {steps: 50}}, lrp: LRP}"

_KEY = "init_args"  # which errors of jsonargparse then speak of
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NULLABLE = re.compile(r"None|Optional|Any|object|_empty")  # annotations may be strings
_PLAIN = (  # the parser's words, and ours
    (rf"Parser key \"{_KEY}\.([\w.]+)\":", r"\1:"),
    (r"<class '([\w.]+)'>", r"\1"),
    (r"Expected an? (\S+)\. Got value: (.*)", r"expected \1, but got \2"),
    (rf"Group '{_KEY}' does not accept option '([\w.]+)'", r"no setting '\1'"),
    (rf"the following arguments are required: {_KEY}\.", "missing setting "),
)


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
            return {name: self._configured(name, value) for name, value in self._parsed(given)}
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

    def _configured(self, name: Any, value: Any) -> Any:
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{self.option}: expected names, but {name!r} is not one. Put it in quotes."
            )
        where = f"{self.option} {name}"
        match {"class_path": value} if isinstance(value, str) else value:
            case {"class_path": str(path), **more} if more.keys() <= {_KEY}:
                settings = more.get(_KEY) or {}
                if isinstance(settings, dict):
                    return _with_settings(self._class(path, where), settings, where)
        raise InputError(
            f"{where}: expected a class, or {{class_path: CLASS, init_args: {{...}}}}, but got "
            f"{_as_yaml(value)}."
        )

    def _class(self, path: str, where: str) -> type:
        module, _, name = path.rpartition(".")
        try:
            cls = getattr(import_module(module), name) if module else self._classes[name]
        except (ImportError, AttributeError, TypeError, KeyError, ValueError) as error:
            reason = f"no such class: {name}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{where}: {reason}. {self._others()}") from error
        if isinstance(cls, type) and issubclass(cls, self._base) and not isabstract(cls):
            return cls
        raise InputError(f"{where}: {path} is not a usable {self._base.__name__}. {self._others()}")

    def _others(self) -> str:
        usual = (name for name, cls in self._classes.items() if _needs_nothing(cls))
        return f"Choose from {', '.join(usual)}, or give the import path of your own class."

    def _parsed(self, given: str) -> Iterator[tuple[Any, Any]]:
        """The names of a mapping and what stands for each; it may be the path of a file."""
        inline = _inline(given)
        where = self.option if inline else f"{self.option} {given}"
        try:
            parsed = yaml.load(given if inline else Path(given).read_text("utf-8"), _Loader)
        except OSError as error:
            raise InputError(f"{where} cannot be read: {error.strerror}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = _reason(error)
            raise InputError(f"{where}: expected YAML such as {YAML}, but {reason}.") from error
        if not isinstance(parsed, dict) or not parsed:
            raise InputError(f"{where}: expected YAML such as {YAML}, but got {parsed!r}.")
        yield from parsed.items()


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


def is_mapping(given: str) -> bool:
    """Whether an option has a mapping or the path of one, in place of names."""
    return _inline(given) or given.endswith((".yaml", ".yml", ".json"))


def snake_case(name: str) -> str:
    """The name of a class as that of a metric.

    Examples:
        >>> snake_case("LeaveOneOutTau"), snake_case("RationaleAUPRC"), snake_case("RationaleF1")
        ('leave_one_out_tau', 'rationale_auprc', 'rationale_f1')
    """
    return _WORD.sub("_", name).lower()


def _with_settings(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """An instance with settings, whose types are checked."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, _KEY, fail_untyped=False)
    defaults = vars(parser.get_defaults().get(_KEY, Namespace()))
    # jsonargparse before 4.49 has the second name alone, and later ones warn of it.
    make = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        for name in defaults.keys() & settings.keys():
            _check(signature(cls).parameters[name], settings[name], defaults[name])
        return make(parser.parse_object({_KEY: dict(settings)} if settings else {}))[_KEY]
    except (ArgumentError, TypeError, ValueError) as error:
        names = f"Its settings are {', '.join(defaults)}." if defaults else "It has no settings."
        raise InputError(f"{where}: {cls.__name__}: {_reason(error)}. {names}") from error


def _check(parameter: Parameter, value: Any, default: Any) -> None:
    """Refuse what the parser lets pass: null, and a single value in place of several settings."""
    kind = parameter.annotation
    null = value is None and default is not None and not _NULLABLE.search(str(kind))
    if null or (isinstance(default, Namespace) and not isinstance(value, Mapping)):
        expected = getattr(kind, "__name__", kind)
        raise ValueError(f"{parameter.name}: expected {expected}, but got {_as_yaml(value)}")


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        problem = getattr(error, "problem", None) or "it is malformed"
        return f"{problem} (line {mark.line + 1}, character {mark.column + 1})"
    message = " ".join(str(error).split()).rstrip(".")
    for theirs, ours in _PLAIN:
        message = re.sub(theirs, ours, message)
    return message


def _as_yaml(value: Any) -> str:
    return "null" if value is None else repr(value)


def _inline(given: str) -> bool:
    return given.lstrip().startswith("{")


def _public(module: ModuleType, base: type) -> Iterator[tuple[str, type]]:
    for name in getattr(module, "__all__", dir(module)):
        cls = getattr(module, name)
        if isinstance(cls, type) and issubclass(cls, base):
            yield name, cls


def _needs_nothing(cls: type) -> bool:
    arguments = signature(cls).parameters.values()
    return not isabstract(cls) and all(a.default is not a.empty for a in arguments)
