"""Where a configuration is found by its name."""

import argparse
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile

import bertx
from bertx.errors import InputError

BASE = "_base"
"""The configuration that is read before all others."""


class ConfigFile(ActionConfigFile):
    """``--config``: a path, or the name of a configuration."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read the configuration over what came before it."""
        if isinstance(values, str | os.PathLike):
            values = find_config(os.fspath(values))
        super().__call__(parser, namespace, values, option_string)


def find_config(name: str) -> str:
    """The configuration that is called ``name``.

    Args:
        name: A path, or a name with or without ``.yaml``. An inline configuration
            (``{model: ...}``) and an address (``s3://...``) are left as they are.

    Returns:
        The path itself if there is such a file, else the file of that name in ``./configs``, else
        the one shipped with bertx.

    Raises:
        InputError: If there is none; the message lists those that are shipped.
    """
    if "://" in name or name.lstrip().startswith("{") or "\n" in name:
        return name
    names = [name] if name.endswith((".yaml", ".yml", ".json")) else [name, f"{name}.yaml"]
    folders = (Path(), Path("configs"), shipped_folder())
    for path in (folder / name for folder in folders for name in names):
        if path.is_file():
            return str(path)
    raise InputError(
        f"no configuration {name!r}: expected a path, a file in ./configs, or one of "
        f"{', '.join(shipped_configs())}."
    )


def shipped_configs() -> list[str]:
    """Names of the configurations that are shipped for users."""
    names = (path.stem for path in shipped_folder().glob("*.yaml"))
    return sorted(name for name in names if not name.startswith("_"))


def shipped_folder() -> Path:
    """The folder of shipped configurations: in the wheel, or beside an editable install."""
    installed = Path(str(files("bertx"))) / "configs"
    return installed if installed.is_dir() else Path(bertx.__file__).parents[1] / "configs"
