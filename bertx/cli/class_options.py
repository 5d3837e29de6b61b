"""Options whose values are classes: comma-separated names, or YAML with settings of each class."""

import re
from argparse import ArgumentError
from collections.abc import Hashable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, isabstract, signature
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from bertx.errors import InputError

_YAML_FORM = "{NAME: {class_path: CLASS, init_args: {...}}}"
_KEY = "init_args"  # jsonargparse's errors name it
_NULLABLE = re.compile(r"None|Optional|Any|object|_empty")  # annotations may be strings
_REWORDED = (  # jsonargparse's messages, and ours
    (rf"Parser key \"{_KEY}\.([\w.]+)\":", r"\1:"),
    (r"<class '([\w.]+)'>", r"\1"),
    (r"Expected an? (\S+)\. Got value: (.*)", r"expected \1, but got \2"),
    (rf"Group '{_KEY}' does not accept option '([\w.]+)'", r"no setting '\1'"),
    (rf"the following arguments are required: {_KEY}\.", "missing setting "),
)


class _Loader(yaml.SafeLoader):
    """A loader that refuses duplicate keys, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"{key.value} occurs twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class ClassOption:
    """An option that names subclasses of a base class.

    Args:
        option: The option, for messages.
        base: The base class.
        modules: Modules whose public classes may be named without an import path.
    """

    def __init__(self, option: str, base: type, *modules: ModuleType) -> None:
        self.option, self._base = option, base
        self._classes = {name: cls for module in modules for name, cls in _public(module, base)}

    def instances(self, value: str) -> dict[str, Any]:
        """Return an instance of each class by name: the class's name, or the name in YAML.

        Args:
            value: Comma-separated class names or import paths; or a mapping
                ``{name: class}`` or ``{name: {class_path: class, init_args: {...}}}`` as YAML or
                the path of a YAML file.

        Raises:
            InputError: If no class is named, two have the same name, there is no such class, or it
                does not take these settings.
        """
        if is_mapping(value):
            return {name: self._configured(name, item) for name, item in self._parsed(value)}
        instances: dict[str, Any] = {}
        for path in split_names(value, self.option):
            name = path.rpartition(".")[2]
            if name in instances:
                raise InputError(
                    f"{self.option} {value}: expected different names, but {name} occurs twice. "
                    f"Drop one, or name them: {self.option} '{_YAML_FORM}'"
                )
            instances[name] = self._with_defaults(path)
        return instances

    def _with_defaults(self, path: str) -> Any:
        where = f"{self.option} {path}"
        cls = self._class(path, where)
        try:
            return cls()
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{where}: {error}. {self._choices()} Give arguments in YAML: {self.option} "
                f"'{_YAML_FORM}'"
            ) from error

    def _configured(self, name: Any, value: Any) -> Any:
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{self.option}: expected names, but {name!r} is not one. Put it in quotes."
            )
        where = f"{self.option} {name}"
        match {"class_path": value} if isinstance(value, str) else value:
            case {"class_path": str(path), **others} if others.keys() <= {_KEY}:
                settings = others.get(_KEY) or {}
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
            missing = isinstance(error, KeyError)
            reason = f"no such class: {name}.{self._suggestion(name)}" if missing else f"{error}."
            raise InputError(f"{where}: {reason} {self._choices()}") from error
        if isinstance(cls, type) and issubclass(cls, self._base) and not isabstract(cls):
            return cls
        raise InputError(
            f"{where}: {path} is not a usable {self._base.__name__}{_lacking(cls, self._base)}. "
            f"{self._choices()}"
        )

    def _suggestion(self, name: str) -> str:
        classes = {cls.casefold(): cls for cls in self._classes}
        key = name.casefold()
        close = get_close_matches(_logged_names().get(key, key).casefold(), classes, 1)
        return f" Did you mean {classes[close[0]]}?" if close else ""

    def _choices(self) -> str:
        usable = (name for name, cls in self._classes.items() if _needs_no_arguments(cls))
        names = ", ".join(sorted(usable, key=str.casefold))
        return f"Choose from {names}, or give the import path of a custom class."

    def _parsed(self, value: str) -> Iterator[tuple[Any, Any]]:
        """Yield the items of a mapping that is YAML or the path of a YAML file."""
        inline = _is_inline(value)
        where = self.option if inline else f"{self.option} {value}"
        try:
            parsed = yaml.load(value if inline else Path(value).read_text("utf-8"), _Loader)
        except OSError as error:
            raise InputError(f"{where} cannot be read: {error.strerror}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = _reason(error)
            raise InputError(
                f"{where}: expected YAML such as {_YAML_FORM}, but {reason}."
            ) from error
        if not isinstance(parsed, dict) or not parsed:
            raise InputError(f"{where}: expected YAML such as {_YAML_FORM}, but got {parsed!r}.")
        yield from parsed.items()


def split_names(names: str, option: str) -> list[str]:
    """Split the comma-separated names of an option.

    Raises:
        InputError: If there are no names; the message names ``option``.
    """
    parsed = [name.strip() for name in names.split(",") if name.strip()]
    if not parsed:
        raise InputError(f"{option}: expected comma-separated names, but got {names!r}.")
    return parsed


def is_mapping(value: str) -> bool:
    """Return whether an option is a YAML mapping or the path of one, instead of names."""
    return _is_inline(value) or value.endswith((".yaml", ".yml", ".json"))


def _with_settings(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """Check the types of settings, and return an instance with them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, _KEY, fail_untyped=False)
    defaults = vars(parser.get_defaults().get(_KEY, Namespace()))
    # jsonargparse before 4.49 has only the second method, and later versions deprecate it.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        for name in defaults.keys() & settings.keys():
            _check(signature(cls).parameters[name], settings[name], defaults[name])
        return instantiate(parser.parse_object({_KEY: dict(settings)} if settings else {}))[_KEY]
    except (ArgumentError, TypeError, ValueError) as error:
        names = f"Its settings are {', '.join(defaults)}." if defaults else "It has no settings."
        raise InputError(f"{where}: {cls.__name__}: {_reason(error)}. {names}") from error


def _check(parameter: Parameter, value: Any, default: Any) -> None:
    """Refuse values that jsonargparse accepts: null, and a scalar instead of a mapping."""
    annotation = parameter.annotation
    null = value is None and default is not None and not _NULLABLE.search(str(annotation))
    if null or (isinstance(default, Namespace) and not isinstance(value, Mapping)):
        expected = getattr(annotation, "__name__", annotation)
        raise ValueError(f"{parameter.name}: expected {expected}, but got {_as_yaml(value)}")


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        problem = getattr(error, "problem", None) or "it is malformed"
        return f"{problem} (line {mark.line + 1}, character {mark.column + 1})"
    message = " ".join(str(error).split()).rstrip(".")
    for pattern, replacement in _REWORDED:
        message = re.sub(pattern, replacement, message)
    return message


def _as_yaml(value: Any) -> str:
    return "null" if value is None else repr(value)


def _is_inline(value: str) -> bool:
    return value.lstrip().startswith("{")


def _public(module: ModuleType, base: type) -> Iterator[tuple[str, type]]:
    for name in getattr(module, "__all__", dir(module)):
        cls = getattr(module, name)
        if isinstance(cls, type) and issubclass(cls, base):
            yield name, cls


def _needs_no_arguments(cls: type) -> bool:
    parameters = signature(cls).parameters.values()
    return not isabstract(cls) and all(p.default is not p.empty for p in parameters)


def _logged_names() -> dict[str, str]:
    """Return the classes of the default methods and metrics by their names in logged keys."""
    from bertx.attribution.choices import SHORT_NAMES
    from bertx.evaluation import default_metrics

    methods = {name: cls for cls, name in SHORT_NAMES.items()}
    return methods | {name: type(metric).__name__ for name, metric in default_metrics().items()}


def _lacking(cls: Any, base: type) -> str:
    """The abstract methods that a subclass does not define, for a message."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return ""
    return f": it does not define {', '.join(sorted(getattr(cls, '__abstractmethods__', ())))}"
