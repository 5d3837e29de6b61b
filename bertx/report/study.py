"""A study's folder, read again: what it found, its tables and its figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bertx.errors import InputError

SUMMARY, BEGUN = "summary.json", "study.json"
VERDICTS = ("agree", "disagree", "cannot tell")

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Finding:
    """What was found, in a sentence.

    Attributes:
        text: The sentence.
        evidence: Numbers with intervals.
        paper: What the paper says; empty if nothing.
        verdict: Whether the paper is right; empty where it says nothing.
        tone: ``good``, ``warn`` or empty.
    """

    text: str
    evidence: str = ""
    paper: str = ""
    verdict: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its heading and a note below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture: what it is called, what is to be seen, and its file, None if that is missing."""

    title: str
    alt: str
    path: Path | None


@dataclass(frozen=True)
class Study:
    """What a study left.

    Attributes:
        name: Its name, as in the command.
        folder: Where it lies.
        title: Its heading.
        preset: Whose choices it took.
        version: The bertx that wrote it.
        runs: What it is of, each with its facts.
        settings: Its settings.
        findings: What it found.
        numbers: Its headline numbers by key.
        tables: Its tables.
        figures: Its figures.
    """

    name: str
    folder: Path
    title: str
    preset: str
    version: str
    runs: Sequence[dict[str, Cell]]
    settings: dict[str, Any]
    findings: Sequence[Finding]
    numbers: dict[str, float | None]
    tables: Sequence[Table]
    figures: Sequence[Figure]


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study, finished or not."""
    return (folder / SUMMARY).is_file() or (folder / BEGUN).is_file()


def read_study(folder: Path) -> Study:
    """Read the summary of a study and find its figures.

    Raises:
        InputError: If it is not finished, or its summary cannot be read.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise InputError(
            f"{folder}: expected {SUMMARY}, but the study is not finished. Run it again with the "
            "same settings: it goes on where it was."
        )
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return Study(
            name=_text(known["study"]),
            folder=folder,
            title=_text(known["title"]),
            preset=_text(known.get("preset")),
            version=_text(known.get("version")),
            runs=[{_text(k): _cell(v) for k, v in run.items()} for run in known.get("runs", [])],
            settings=dict(known.get("settings", {})),
            findings=[_finding(own) for own in known.get("findings", [])],
            numbers={_text(k): _number(v) for k, v in known.get("numbers", {}).items()},
            tables=[_table(own) for own in known.get("tables", [])],
            figures=[_figure(folder, own) for own in known.get("figures", [])],
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        raise InputError(
            f"{path}: expected the summary of a study, but it cannot be read "
            f"({f'no {error}' if missing else error}). Run the study again."
        ) from error


def _finding(own: dict[str, Any]) -> Finding:
    verdict = _text(own.get("verdict"))
    tones = {"agree": "good", "disagree": "warn"}
    return Finding(
        text=_text(own["text"]),
        evidence=_text(own.get("evidence")),
        paper=_text(own.get("paper")),
        verdict=verdict if verdict in VERDICTS else "",
        tone=tones.get(verdict, ""),
    )


def _table(own: dict[str, Any]) -> Table:
    columns = [_text(column) for column in own["columns"]]
    rows = [[_cell(cell) for cell in row] for row in own["rows"]]
    title = _text(own.get("title") or own["name"])
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"table {title!r}: {len(columns)} columns, but a row of {len(row)}")
    return Table(title, columns, rows, _text(own.get("note")))


def _figure(folder: Path, own: dict[str, Any]) -> Figure:
    """A figure and its file: the SVG, or the PNG where that is far smaller."""
    name = _text(own["name"])
    title, alt = _text(own.get("title") or name), _text(own.get("alt"))
    inside = name and Path(name).name == name
    paths = [folder / "figures" / f"{name}.{kind}" for kind in ("svg", "png")] if inside else []
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    weights = {path: size * (0.25 if path.suffix == ".svg" else 1) for path, size in sizes.items()}
    return Figure(title, alt, min(weights, key=weights.__getitem__, default=None))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _cell(value: Any) -> Cell:
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _number(value: Any) -> float | None:
    return None if value is None or not isfinite(float(value)) else float(value)
