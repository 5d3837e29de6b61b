"""Configuration files by name: ``--config demo`` reads ``configs/demo.yaml``."""

import argparse
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile

import bertx
from bertx.errors import InputError

BASE = "_base"
"""The configuration that is read before all others."""


class ConfigFile(ActionConfigFile):
    """The action of ``--config``, which takes a path or the name of a configuration."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the configuration, which overrides earlier ones."""
        if isinstance(values, str | os.PathLike):
            values = find_config(os.fspath(values))
            if not _is_inline(values):
                vars(parser)["config_name"] = values  # for an error in it
                main = getattr(parser, "parent_parser", None) or parser
                vars(main).setdefault("config_files", []).append(values)
        super().__call__(parser, namespace, values, option_string)
        vars(parser).pop("config_name", None)


def find_config(name: str) -> str:
    """Return the path of a configuration.

    Args:
        name: A path, or a name with or without ``.yaml``. An inline configuration
            (``{model: ...}``) and an address (``s3://...``) are returned as they are.

    Returns:
        ``name`` if it is a file, else the file of that name in ``./configs``, else the file of that
        name that is shipped with bertx.

    Raises:
        InputError: If there is no such file; the message lists the shipped configurations.
    """
    if "://" in name or _is_inline(name):
        return name
    names = [name] if name.endswith((".yaml", ".yml", ".json")) else [name, f"{name}.yaml"]
    for folder in (Path(), Path("configs"), shipped_folder()):
        for path in (folder / name for name in names):
            if path.is_file():
                return str(path)
    raise InputError(
        f"no configuration {name!r}: expected a path, a file in ./configs, or one of "
        f"{', '.join(shipped_configs())}."
    )


def _is_inline(name: str) -> bool:
    return name.lstrip().startswith("{") or "\n" in name


def has_setting(file: str, key: str) -> bool:
    """Return whether a local configuration file has a dotted key."""
    settings = yaml.safe_load(Path(file).read_text("utf-8")) if Path(file).is_file() else None
    for part in key.split("."):
        if not isinstance(settings, dict) or part not in settings:
            return False
        settings = settings[part]
    return True


def shipped_configs() -> list[str]:
    """Return the names of the shipped configurations, without internal ones."""
    names = (path.stem for path in shipped_folder().glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def shipped_folder() -> Path:
    """Return the folder of shipped configurations: in the wheel, or beside an editable install."""
    installed = Path(str(files("bertx"))) / "configs"
    return installed if installed.is_dir() else Path(bertx.__file__).parents[1] / "configs"
