"""A study's folder, read again as a page shows it: findings, tables and figures."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bertx.errors import InputError
from bertx.leaderboard.standings import short

SUMMARY, BEGUN = "summary.json", "study.json"
_TONES = {"agree": "good", "disagree": "warn", "cannot tell": ""}
"""The verdicts on what the paper says, with the tones of findings."""

_LONG = 24
"""Rows above which a table is opened on demand."""
_NUMBER = re.compile(r"[-+−±<]?\s?[\d.]")
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}

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
class Study:
    """What a study left, its numbers written as a page shows them.

    Attributes:
        name: Its name, as in the command.
        folder: Where it lies.
        title: Its heading.
        preset: Whose choices it took.
        version: The bertx that wrote it.
        runs: A table of what it is of; None for nothing.
        settings: Its settings by name.
        findings: What it found.
        numbers: Its headline numbers by key.
        tables: Its tables: ``title``, ``heads``, ``rows``, ``note``, and whether it is ``long``.
        figures: Its figures: ``title``, ``alt``, and as ``source`` the picture as a URL of data,
            None if that is missing.
    """

    name: str
    folder: Path
    title: str
    preset: str
    version: str
    runs: dict[str, Any] | None
    settings: Sequence[tuple[str, str]]
    findings: Sequence[Finding]
    numbers: Sequence[tuple[str, str]]
    tables: Sequence[dict[str, Any]]
    figures: Sequence[dict[str, str | None]]

    @property
    def verdicts(self) -> str:
        """How often the paper is right, in words; how much was found where it says nothing."""
        verdicts = [finding.verdict for finding in self.findings]
        counts = [f"{verdicts.count(v)} {v}" for v in _TONES if v in verdicts]
        return ", ".join(counts) or f"{len(verdicts)} finding{'' if len(verdicts) == 1 else 's'}"

    @property
    def claims(self) -> Sequence[Finding]:
        """What was found of the paper's claims, or first of all where it has none."""
        return [finding for finding in self.findings if finding.verdict] or self.findings[:1]


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
            "same settings: it continues where it stopped."
        )
    try:
        return _study(folder, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        missing = isinstance(error, KeyError)
        raise InputError(
            f"{path}: expected the summary of a study, but it cannot be read "
            f"({f'no {error}' if missing else error}). Run the study again."
        ) from error


def _study(folder: Path, summary: dict[str, Any]) -> Study:
    numbers = {key: _plain(value) for key, value in summary.get("numbers", {}).items()}
    return Study(
        name=_text(summary["study"]),
        folder=folder,
        title=_text(summary["title"]),
        preset=_text(summary.get("preset")),
        version=_text(summary.get("version")),
        runs=_runs(summary.get("runs", [])),
        settings=[
            (str(name), value if isinstance(value, str) else json.dumps(value))
            for name, value in dict(summary.get("settings", {})).items()
        ],
        findings=[_finding(finding) for finding in summary.get("findings", [])],
        numbers=[(key, _written(value, ".4g")) for key, value in numbers.items()],
        tables=[
            _table(_text(table.get("title") or table["name"]), table["columns"], table["rows"],
                   _text(table.get("note")))
            for table in summary.get("tables", [])
        ],
        figures=[_figure(folder / "figures", figure) for figure in summary.get("figures", [])],
    )  # fmt: skip


def _finding(finding: dict[str, Any]) -> Finding:
    verdict = _text(finding.get("verdict"))
    return Finding(
        text=_text(finding["text"]),
        evidence=_text(finding.get("evidence")),
        paper=_text(finding.get("paper")),
        verdict=verdict if verdict in _TONES else "",
        tone=_TONES.get(verdict, ""),
    )


def _runs(runs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    names = list(dict.fromkeys(name for run in runs for name in run))
    rows = [[run.get(name) for name in names] for run in runs]
    return _table("What it is of", names, rows) if rows else None


def _table(
    title: str, names: Sequence[Any], rows: Sequence[Sequence[Any]], note: str = ""
) -> dict[str, Any]:
    """A table whose columns of numbers are aligned and have as many digits in every row."""
    cells = [[_plain(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(names):
            raise ValueError(f"table {title!r}: {len(names)} columns, but a row of {len(row)}")
    columns = list(zip(*cells, strict=True)) or [()] * len(names)
    forms = [_form(column) for column in columns]
    return {
        "title": title,
        "heads": [
            {"text": _text(name), "number": form != "" or _is_written(column)}
            for name, form, column in zip(names, forms, columns, strict=True)
        ],
        "rows": [[_written(*pair) for pair in zip(row, forms, strict=True)] for row in cells],
        "note": note,
        "long": len(cells) > _LONG,
    }


def _is_written(column: Sequence[Cell]) -> bool:
    """Whether a column has numbers that are written already, such as with their intervals."""
    cells = [cell for cell in column if cell is not None]
    return bool(cells) and all(isinstance(c, str) and _NUMBER.match(c) for c in cells)


def _form(column: Sequence[Cell]) -> str:
    """How the numbers of a column are written; empty if it has none."""
    numbers = [c for c in column if isinstance(c, int | float) and not isinstance(c, bool)]
    if not numbers:
        return ""
    if all(isinstance(number, int) for number in numbers):
        return ",d"
    largest = max(map(abs, numbers))
    return ".3f" if largest < 10 else ".1f" if largest < 10_000 else ".3g"


def _written(cell: Cell, form: str) -> str:
    if cell is None or isinstance(cell, str):
        return "–" if cell is None else cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return short(cell, form).replace("-", "−")


def _figure(folder: Path, figure: dict[str, Any]) -> dict[str, str | None]:
    """A figure with its picture: the SVG, or the PNG where that is far smaller."""
    name = _text(figure["name"])
    inside = name and Path(name).name == name
    paths = [folder / f"{name}{kind}" for kind in _KINDS] if inside else []
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    weights = {path: size * (0.25 if path.suffix == ".svg" else 1) for path, size in sizes.items()}
    path = min(weights, key=weights.__getitem__, default=None)
    source = None
    if path is not None:
        source = f"data:{_KINDS[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}"
    title, alt = _text(figure.get("title") or name), _text(figure.get("alt"))
    return {"title": title, "alt": alt, "source": source}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Cell:
    """A cell; None for a number that is not finite."""
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
