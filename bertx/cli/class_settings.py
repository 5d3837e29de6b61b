"""Names in YAML for classes and their settings, as the configuration of a run has them."""

import re
from argparse import ArgumentError
from collections.abc import Hashable, Mapping
from inspect import formatannotation, signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from bertx.errors import InputError

YAML = "{NAME: {class_path: CLASS, init_args: {...}}}"
"""What is meant, for messages."""

EXAMPLE = "{ig: {class_path: IntegratedGradients, init_args: {steps: 50}}, lrp: LRP}"

YAML_ENDINGS = (".yaml", ".yml", ".json")

_KEY = "init_args"  # which errors of jsonargparse then speak of
_WRONG = re.compile(rf'Parser key "{_KEY}\.([\w.]+)":')
_CLASS = re.compile(r"<class '([\w.]+)'>")

Entry = tuple[str, dict[str, Any]]
"""The class that is named, and its settings."""


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


def is_mapping(given: str) -> bool:
    """Whether an option has a mapping or the path of one, in place of names."""
    return _inline(given) or given.endswith(YAML_ENDINGS)


def read_mapping(given: str, option: str) -> dict[str, Entry]:
    """The classes and settings that a mapping names.

    Args:
        given: The mapping in YAML, which JSON is too, or the path of a file with one.
        option: The option that gives it, for messages.

    Raises:
        InputError: If it cannot be read, is no such mapping, or has a name twice.
    """
    where = option if _inline(given) else f"{option} {given}"
    try:
        text = given if _inline(given) else Path(given).read_text("utf-8")
        parsed = yaml.load(text, _Loader)
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = _reason(error)
        raise InputError(f"{where}: expected YAML such as {YAML}, but {reason}.") from error
    if not isinstance(parsed, dict) or not parsed:
        raise InputError(f"{where}: expected YAML such as {YAML}, but got {parsed!r}.")
    return {_name(name, where): _entry(value, f"{where} {name}") for name, value in parsed.items()}


def with_settings(cls: type, settings: Mapping[str, Any], where: str) -> Any:
    """An instance with settings, whose types are checked.

    Args:
        cls: The class.
        settings: Arguments of its constructor, as YAML has them.
        where: The option and the name that ask for it, for messages.

    Raises:
        InputError: If it has no such setting, or cannot be made with these.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, _KEY, fail_untyped=False)
    _check(cls, settings, parser.get_defaults().get(_KEY, Namespace()), where)
    # jsonargparse before 4.49 has the second name alone, and later ones warn of it.
    make = getattr(parser, "instantiate", None) or parser.instantiate_classes
    try:
        return make(parser.parse_object({_KEY: dict(settings)} if settings else {}))[_KEY]
    except ArgumentError as error:
        raise _refused(cls, settings, where, str(error)) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {cls.__name__}: {error}") from error


def _inline(given: str) -> bool:
    return given.lstrip().startswith("{")


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: expected names, but {name!r} is not one. Put it in quotes.")
    return name


def _entry(value: Any, where: str) -> Entry:
    named = {"class_path": value} if isinstance(value, str) else value
    if isinstance(named, dict) and set(named) <= {"class_path", "init_args"}:
        path, settings = named.get("class_path"), named.get("init_args") or {}
        if isinstance(path, str) and isinstance(settings, dict):
            return path, settings
    raise InputError(
        f"{where}: expected a class, or {{class_path: CLASS, init_args: {{...}}}}, but got "
        f"{'null' if value is None else repr(value)}."
    )


def _check(cls: type, settings: Mapping[str, Any], defaults: Namespace, where: str) -> None:
    """Refuse what the parser lets pass or does not explain."""
    names = vars(defaults)
    for name, value in settings.items():
        if name not in names:
            has = f"Its settings are {', '.join(names)}." if names else "It has no settings."
            raise InputError(f"{where}: {cls.__name__} has no setting {name!r}. {has}")
        nested = isinstance(names[name], Namespace) and not isinstance(value, Mapping)
        if nested or (value is None and names[name] is not None and not _optional(cls, name)):
            raise _unfit(cls, name, value, where)


def _optional(cls: type, name: str) -> bool:
    """Whether a setting may be null, as far as its type is known."""
    try:
        kind = get_type_hints(cls.__init__).get(name, Any)  # type: ignore[misc]
    except (NameError, TypeError):
        return True
    return kind in (Any, object) or type(None) in get_args(kind)


def _unfit(cls: type, name: str, value: Any, where: str) -> InputError:
    parameter = signature(cls).parameters.get(name)
    kind = "another value" if parameter is None else formatannotation(parameter.annotation)
    kind = kind.replace("typing.", "").strip("'")
    return InputError(
        f"{where}: {name} of {cls.__name__}: expected {kind}, but got "
        f"{'null' if value is None else repr(value)}."
    )


def _refused(cls: type, settings: Mapping[str, Any], where: str, message: str) -> InputError:
    """The parser's error in one line: what a single setting should be, or else what it says."""
    wrong = _WRONG.search(message)
    if wrong and wrong[1] in settings:
        return _unfit(cls, wrong[1], settings[wrong[1]], where)
    reason = _CLASS.sub(r"\1", " ".join(_WRONG.sub(r"\1:", message).split()))
    return InputError(f"{where}: {cls.__name__}: {reason}")


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split()).rstrip(".")
    problem = getattr(error, "problem", None) or "it is malformed"
    return f"{problem} (line {mark.line + 1}, character {mark.column + 1})"
