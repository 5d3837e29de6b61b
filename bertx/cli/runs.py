"""The trained models that a command is given: runs of ``bertx fit``, checkpoints, model folders."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bertx.errors import InputError

CONFIG, CHECKPOINTS, EXPORT = "config.yaml", "checkpoints", "hf"

_NAMED = re.compile(r"([\w.-]+)=(.+)")


@dataclass(frozen=True)
class GivenRun:
    """A trained model, and what is known of its data.

    Attributes:
        given: What names it on the command line.
        name: What it is called.
        model: Its checkpoint, folder or id.
        folder: The folder of the run, None where there is none.
        config: All its settings; None where they are not known.
        chosen: Whether its name was given.
    """

    given: str
    name: str
    model: str
    folder: Path | None = None
    config: Mapping[str, Any] | None = None
    chosen: bool = False

    @property
    def data(self) -> Mapping[str, Any]:
        """The settings of its data by name; empty where they are not known."""
        return self.config["data"] if self.config else {}


def find_runs(given: Iterable[str]) -> list[GivenRun]:
    """The trained models of a command, each with a name of its own.

    Args:
        given: Folders of runs, checkpoints, model folders or ids, each of which may be named:
            ``NAME=RUN``.

    Raises:
        InputError: If there is no such run, it has no checkpoint, or two have one name.
    """
    runs = [_find(one) for one in given]
    for run in runs:
        same = [other for other in runs if other.name == run.name]
        if len(same) > 1 and run.chosen:
            raise InputError(
                f"{run.given} and {same[same[0] is run].given}: expected different names. Give "
                "NAME=RUN with another one."
            )
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=_longer(run, number))
        for number, run in enumerate(runs, 1)
    ]


def _find(given: str) -> GivenRun:
    named = None if Path(given).exists() else _NAMED.fullmatch(given)
    name, place = named.groups() if named else (None, given)
    path = Path(place)
    if path.is_dir() and (path / CONFIG).is_file():
        run = GivenRun(given, path.resolve().name, _best(path), path, _config_of(path))
    elif path.is_dir() and path.name == EXPORT and (path.parent / CONFIG).is_file():
        run = GivenRun(
            given, path.resolve().parent.name, place, path.parent, _config_of(path.parent)
        )
    elif path.is_file() and (folder := path.resolve().parents[1]).joinpath(CONFIG).is_file():
        run = GivenRun(given, folder.name, place, folder, _config_of(folder))
    elif path.is_dir() and not (path / "config.json").is_file():
        raise InputError(
            f"run {place}: expected the folder of a run of bertx fit (with {CONFIG}), a "
            "checkpoint (.ckpt), a model folder (with config.json) or a hub id, but it has none of "
            "these files."
        )
    else:
        run = GivenRun(given, path.stem or place, place)
    return run if name is None else replace(run, name=name, chosen=True)


def _best(folder: Path) -> str:
    """The best checkpoint of a run, or, if there is none, the model that it exported."""
    from bertx.cli.checkpoints import LAST_FILE, find_checkpoint

    last = folder / CHECKPOINTS / f"{LAST_FILE}.ckpt"
    if last.is_file():
        try:
            return find_checkpoint("best", [str(folder)])
        except InputError as error:
            raise InputError(f"run {folder}: {error}") from error
    others = sorted((folder / CHECKPOINTS).glob("*.ckpt"))
    if len(others) == 1:
        return str(others[0])
    if not others and (folder / EXPORT / "config.json").is_file():
        return str(folder / EXPORT)
    raise InputError(
        f"run {folder}: expected its best checkpoint in {CHECKPOINTS}, but "
        + (f"there are {len(others)}. Name one of them." if others else "there is none.")
    )


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(config["data"], dict):
            raise TypeError("data is not a mapping")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected the configuration of a run of bertx fit, with its data, but it "
            f"cannot be read: {reason}. Name its checkpoint alone, and its data with --dataset or "
            "--path."
        ) from error
    return config


def _longer(run: GivenRun, number: int) -> str:
    parent = run.folder.resolve().parent.name if run.folder else ""
    return f"{parent}-{run.name}-{number}".strip("-")
