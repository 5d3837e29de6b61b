"""The folder of a study: its description, the parts computed so far, and the results."""

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
from bertx.studies.settings import flattened

PORTION = 64
"""The number of texts in a part: the most that are explained again after a kill."""

STUDY, SUMMARY, VALUES = "study.json", "summary.json", "values.parquet"


class Parts:
    """Tables that are computed once, so that a killed study can continue with them.

    A table is written to a temporary file and then moved into place, so it is complete or absent.

    Args:
        folder: The folder of the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Return whether a part is stored."""
        return self._path(name).is_file()

    def filled(
        self, what: str, folder: str, count: int, make: Callable[[range], pa.Table]
    ) -> pa.Table:
        """Return the rows of all texts, in parts of `PORTION` texts; missing parts are computed.

        Args:
            what: The title of the progress bar.
            folder: The folder of the parts.
            count: The number of texts.
            make: Returns the rows of some texts, whatever other parts exist, and shows its
                progress.

        Raises:
            InputError: If a stored part is damaged.
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
    """Return the numbers of the texts of each part in a folder, by the part's name."""
    return {
        f"{folder}/part-{first // PORTION:06d}": range(first, min(first + PORTION, count))
        for first in range(0, count, PORTION)
    }


class Store:
    """The folder of a study.

    Args:
        folder: The folder; created if missing.
        description: Everything that the results depend on, as JSON values.
        scores: A folder of unit scores shared with other studies; None for one in ``folder``.

    Attributes:
        parts: The parts computed so far, except for unit scores.
        scores: The unit scores.

    Raises:
        InputError: If the folder holds a study with another description, or other files.
    """

    def __init__(
        self, folder: Path, description: Mapping[str, Any], scores: Path | None = None
    ) -> None:
        _check(folder / STUDY, description)
        for draft in folder.glob("parts/**/.*.parquet.*"):
            # A draft is named after the process that writes it; this one was killed.
            if not _is_running(draft.suffix[1:]):
                draft.unlink(missing_ok=True)
        self.parts = Parts(folder / "parts")
        self.scores = Parts(folder / "parts" / "scores" if scores is None else scores)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON, completely or not at all; NaN and infinities become null."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table, completely or not at all; equal tables give equal files."""
    with drafted(path) as draft:
        parquet.write_table(table, draft, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a table written by `write_table`.

    Raises:
        InputError: If the file is damaged.
    """
    try:
        with parquet.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: expected a part of a study, but it cannot be read ({error}). Remove it, and "
            "it is computed again."
        ) from error


def _check(path: Path, description: Mapping[str, Any]) -> None:
    """Write the description of a new study, or compare it with that of an existing one."""
    here = _plain(description)
    if not path.is_file():
        if path.parent.is_dir() and any(not p.name.startswith(".") for p in path.parent.iterdir()):
            raise InputError(
                f"{path.parent}: expected the folder of a study or an empty one, but it has other "
                f"files and no {STUDY}. Give another folder."
            )
        write_json(path, description)
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(there, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected the description of a study, but it cannot be read ({error}). Give "
            "another folder, or remove this one."
        ) from error
    stored, given = flattened(there), flattened(here)
    names = dict.fromkeys([*given, *stored])
    if differences := [name for name in names if stored.get(name) != given.get(name)]:
        name, others = differences[0], len(differences) - 1
        theirs, ours = (json.dumps(each.get(name), ensure_ascii=False) for each in (stored, given))
        noun = "difference" if others == 1 else "differences"
        more = f" (and {others} more {noun})" if others else ""
        raise InputError(
            f"{path.parent} holds a study with other settings: {name} is {theirs} there, {ours} "
            f"here{more}. Give another folder, or the settings of that study."
        )


def _is_running(process: str) -> bool:
    """Return whether a process with that id exists."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a value as plain JSON, with None for NaN and infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value
