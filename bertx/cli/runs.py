"""Trained models on the command line: runs of ``bertx fit``, checkpoints and model folders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bertx.errors import InputError

CONFIG, CHECKPOINTS, EXPORT = "config.yaml", "checkpoints", "hf"

_MODEL_FILES = ("config.json", "adapter_config.json")
_NAMED = re.compile(r"([\w.-]+)=(.+)")


@dataclass(frozen=True)
class Run:
    """A trained model and, if it comes from a run, the settings of the run.

    Attributes:
        argument: The argument of the command line that names it.
        name: A name that no other run has.
        model: A checkpoint, model folder or hub id.
        folder: The folder of the run; None if there is none.
        config: All settings of the run; None if there is no folder.
        named: Whether the user chose the name.
    """

    argument: str
    name: str
    model: str
    folder: Path | None = None
    config: Mapping[str, Any] | None = None
    named: bool = False

    @property
    def data(self) -> Mapping[str, Any]:
        """The data settings of the run; empty if there is no folder."""
        return self.config["data"] if self.config else {}


def find_runs(arguments: Iterable[str]) -> list[Run]:
    """Find trained models, and give each a unique name.

    Args:
        arguments: Folders of runs, checkpoints, model folders or hub ids, each with an optional
            name: ``NAME=RUN``.

    Raises:
        InputError: If there is no such run, it has no checkpoint, or a chosen name is not unique.
    """
    runs = [_find(argument) for argument in arguments]
    counts = Counter(run.name for run in runs)
    for run in runs:
        if run.named and counts[run.name] > 1:
            other = next(r for r in runs if r.name == run.name and r is not run)
            raise InputError(
                f"{run.argument} and {other.argument}: expected different names. Choose another "
                "NAME in NAME=RUN."
            )
    return [
        run if counts[run.name] == 1 else replace(run, name=_numbered_name(run, number))
        for number, run in enumerate(runs, 1)
    ]


def _find(argument: str) -> Run:
    match = None if Path(argument).exists() else _NAMED.fullmatch(argument)
    name, model = match.groups() if match else (None, argument)
    path, folder, model = Path(model), None, trained_model(model, f"run {model}")
    if _is_run(path):
        folder = path
    elif path.is_dir() and path.name == EXPORT and (path.parent / CONFIG).is_file():
        folder = path.parent
    elif path.is_file() and (path.resolve().parent.parent / CONFIG).is_file():
        folder = path.resolve().parent.parent
    default_name = folder.resolve().name if folder else path.stem or model
    config = _read_config(folder) if folder else None
    return Run(argument, name or default_name, model, folder, config, named=name is not None)


def trained_model(name: str, label: str) -> str:
    """Return the best model of the folder of a run; any other checkpoint or model as it is.

    Args:
        name: The folder of a run, a checkpoint, a model folder or a hub id.
        label: Its name in messages.

    Raises:
        InputError: If the run has no best model, or the folder is neither a run nor a model.
    """
    path = Path(name)
    if _is_run(path):
        return _best_model(path, label)
    if path.is_dir() and not any((path / file).is_file() for file in _MODEL_FILES):
        raise InputError(
            f"{label}: expected the folder of a run of bertx fit (with {CONFIG}), a "
            "checkpoint (.ckpt), a model folder (with config.json) or a hub id, but it has none of "
            "these files."
        )
    return name


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() and not any((path / file).is_file() for file in _MODEL_FILES)


def _best_model(folder: Path, label: str) -> str:
    """Return the best checkpoint of a run or, if it has no checkpoint, its exported model."""
    from bertx.cli.checkpoints import LAST_FILE, best_of

    last = folder / CHECKPOINTS / f"{LAST_FILE}.ckpt"
    if last.is_file():
        try:
            return str(best_of(last))
        except InputError as error:
            raise InputError(f"{label}: {error}") from error
    others = sorted((folder / CHECKPOINTS).glob("*.ckpt"))
    if len(others) == 1:
        return str(others[0])
    if not others and (folder / EXPORT / "config.json").is_file():
        return str(folder / EXPORT)
    raise InputError(
        f"{label}: expected its best checkpoint in {folder / CHECKPOINTS}, but there "
        + (
            f"are {len(others)}. Choose one of them."
            if others
            else "is none. Give the path of a checkpoint (.ckpt), or another run."
        )
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config["data"], dict):
            raise TypeError("data is not a mapping")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected the configuration of a run of bertx fit, with its data, but it "
            f"cannot be read: {reason}. Give its checkpoint instead, and the data with --dataset "
            "or --path."
        ) from error
    return config


def _numbered_name(run: Run, number: int) -> str:
    parent = run.folder.resolve().parent.name if run.folder else ""
    return f"{parent}-{run.name}-{number}".strip("-")
