"""The folder of a study: what it was begun with, parts that are whole, and what came out."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bertx.errors import InputError
from bertx.progress import Within, displayed, progress
from bertx.rendering.files import drafted, write_whole

PORTION = 64
"""Texts of a part: at most so many are explained again after a kill."""

STUDY, SUMMARY, VALUES = "study.json", "summary.json", "values.parquet"


class Parts:
    """Tables that are made once: a killed study goes on with those that are there.

    A table is written beside its place and then moved there, so that it is whole or not there.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether a part is there."""
        return self._path(name).is_file()

    def filled(
        self, what: str, folder: str, count: int, make: Callable[[range], pa.Table]
    ) -> pa.Table:
        """The rows of all texts in parts of `PORTION`; those that are missing are made.

        Args:
            what: The title of the progress bar.
            folder: Where the parts are.
            count: How many texts there are.
            make: What makes the rows of some texts, whichever others are there, and shows its
                progress.

        Raises:
            InputError: If a file that is there is damaged.
        """
        parts = portions(folder, count)
        missing = {name: numbers for name, numbers in parts.items() if not self.has(name)}
        if missing:
            with (
                progress(what, sum(map(len, missing.values()))) as advance,
                displayed(Within(advance)),
            ):
                for name, numbers in missing.items():
                    write_table(self._path(name), make(numbers))
        return pa.concat_tables(read_table(self._path(name)) for name in parts)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def portions(folder: str, count: int) -> dict[str, range]:
    """The numbers of the texts of each part in a folder, by its name."""
    return {
        f"{folder}/part-{first // PORTION:06d}": range(first, min(first + PORTION, count))
        for first in range(0, count, PORTION)
    }


class Store:
    """The folder of a study.

    Args:
        folder: The folder; made if it is missing.
        description: What decides everything in it, as JSON can say it; others are refused.
        scores: Where unit scores are kept, if they are shared with other studies.

    Attributes:
        folder: The folder.
        parts: What is kept to go on with.
        scores: Unit scores.

    Raises:
        InputError: If the folder holds a study that was made otherwise, or something else.
    """

    def __init__(
        self, folder: Path, description: Mapping[str, Any], scores: Path | None = None
    ) -> None:
        self.folder = folder
        _check(folder / STUDY, description)
        for draft in folder.glob("parts/**/.*.parquet.*"):
            if not _runs(draft.suffix[1:]):  # what a killed process was writing
                draft.unlink(missing_ok=True)
        self.parts = Parts(folder / "parts")
        self.scores = Parts(folder / "parts" / "scores" if scores is None else scores)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people, whole or not at all; what is no number becomes null."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table, whole or not at all; equal tables make equal files."""
    with drafted(path) as draft:
        parquet.write_table(table, draft, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read what `write_table` wrote.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        with parquet.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: expected a part of a study, but it cannot be read ({error}). Remove it: it "
            "is made again."
        ) from error


def _check(path: Path, description: Mapping[str, Any]) -> None:
    """Begin a study, or go on with one that was made in the same way."""
    here = _plain(description)
    if not path.is_file():
        if path.parent.is_dir() and any(not p.name.startswith(".") for p in path.parent.iterdir()):
            raise InputError(
                f"{path.parent}: expected the folder of a study, or none, but it has other files "
                f"and no {STUDY}. Give another folder."
            )
        write_json(path, description)
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(there, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected what a study was made with, but it cannot be read ({error}). Give "
            "another folder, or remove this one."
        ) from error
    if differences := list(_differences(there, here)):
        name, theirs, ours = differences[0]
        others = len(differences) - 1
        more = f" (and {others} more difference{'s' * (others > 1)})" if others else ""
        raise InputError(
            f"{path.parent} holds a study that was made otherwise: {name} is {_said(theirs)} "
            f"there, {_said(ours)} here{more}. Give another folder, or the settings of that study."
        )


def _runs(process: str) -> bool:
    """Whether a process of that number is there."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _differences(there: Any, here: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Names of fields that differ, with their values."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = dict.fromkeys([*here, *there])
        return [
            difference
            for key in keys
            for difference in _differences(
                there.get(key), here.get(key), f"{name}.{key}".strip(".")
            )
        ]
    return [] if there == here else [(name, there, here)]


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value as JSON has it, without numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value
