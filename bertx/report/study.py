"""Reading the folder of a study for the report: findings, tables and figures."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from bertx.errors import InputError
from bertx.leaderboard.formatting import short

SUMMARY, BEGUN = "summary.json", "study.json"
_TONES = {"agree": "good", "disagree": "warn", "cannot tell": ""}
"""The verdicts on claims of the paper, with the tones of their findings."""

_LONG = 24
"""The number of rows above which a table is collapsed."""
_NUMBER = re.compile(r"[-+−±<]?\s?[\d.]")
_MIME_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Finding:
    """A finding in one sentence.

    Attributes:
        text: The sentence.
        evidence: Numbers with intervals.
        paper: The paper's claim; empty if it makes none.
        verdict: Whether the finding agrees with the claim; empty without a claim.
        tone: ``good``, ``warn`` or empty.
    """

    text: str
    evidence: str = ""
    paper: str = ""
    verdict: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Study:
    """The results of a study, with numbers formatted for the report.

    Attributes:
        name: The name of the study's command.
        folder: The folder of the study.
        title: The heading.
        preset: The preset of its settings.
        version: The version of bertx that wrote it.
        runs: A table of the models and texts; None without any.
        settings: The settings by name.
        findings: The findings.
        numbers: The headline numbers by key.
        tables: The tables: ``title``, ``heads``, ``rows``, ``note``, and whether it is ``long``.
        figures: The figures: ``title``, ``alt``, and ``source``, the image as a data URL or None if
            the file is missing.
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
        """The counts of verdicts, or the number of findings if none is on a claim of the paper."""
        verdicts = [finding.verdict for finding in self.findings]
        counts = [f"{verdicts.count(v)} {v}" for v in _TONES if v in verdicts]
        return ", ".join(counts) or f"{len(verdicts)} finding{'' if len(verdicts) == 1 else 's'}"

    @property
    def claims(self) -> Sequence[Finding]:
        """The findings on claims of the paper, or the first finding if there are none."""
        return [finding for finding in self.findings if finding.verdict] or self.findings[:1]


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study, finished or not."""
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
        numbers=[(key, _formatted(value, ".4g")) for key, value in numbers.items()],
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
    return _table("Models and texts", names, rows) if rows else None


def _table(
    title: str, names: Sequence[Any], rows: Sequence[Sequence[Any]], note: str = ""
) -> dict[str, Any]:
    """Return a table in which all numbers of a column have the same number of decimals."""
    cells = [[_plain(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(names):
            raise ValueError(f"table {title!r}: {len(names)} columns, but a row of {len(row)}")
    columns = list(zip(*cells, strict=True)) or [()] * len(names)
    formats = [_format_of(column) for column in columns]
    return {
        "title": title,
        "heads": [
            {"text": _text(name), "number": spec != "" or _is_formatted(column)}
            for name, spec, column in zip(names, formats, columns, strict=True)
        ],
        "rows": [
            [_formatted(cell, spec) for cell, spec in zip(row, formats, strict=True)]
            for row in cells
        ],
        "note": note,
        "long": len(cells) > _LONG,
    }


def _is_formatted(column: Sequence[Cell]) -> bool:
    """Return whether a column holds numbers as text, such as numbers with intervals."""
    cells = [cell for cell in column if cell is not None]
    return bool(cells) and all(isinstance(c, str) and _NUMBER.match(c) for c in cells)


def _format_of(column: Sequence[Cell]) -> str:
    """Return the format of a column's numbers; empty if it has none."""
    numbers = [c for c in column if isinstance(c, int | float) and not isinstance(c, bool)]
    if not numbers:
        return ""
    if all(isinstance(number, int) for number in numbers):
        return ",d"
    largest = max(map(abs, numbers))
    return ".3f" if largest < 10 else ".1f" if largest < 10_000 else ".3g"


def _formatted(cell: Cell, spec: str) -> str:
    if cell is None or isinstance(cell, str):
        return "–" if cell is None else cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return short(cell, spec).replace("-", "−")


def _figure(folder: Path, figure: dict[str, Any]) -> dict[str, str | None]:
    """Return a figure with its image: the SVG, or the PNG if it is much smaller."""
    name = _text(figure["name"])
    paths = list[Path]()
    if name and Path(name).name == name:  # never a file outside the folder
        candidates = (folder / f"{name}{suffix}" for suffix in _MIME_TYPES)
        paths = [path for path in candidates if path.is_file()]
    source = None
    if paths:
        path = min(paths, key=_size)
        data = b64encode(path.read_bytes()).decode()
        source = f"data:{_MIME_TYPES[path.suffix]};base64,{data}"
    title, alt = _text(figure.get("title") or name), _text(figure.get("alt"))
    return {"title": title, "alt": alt, "source": source}


def _size(image: Path) -> float:
    """Return the size of an image file, SVG at a quarter since it is preferred."""
    return image.stat().st_size * (0.25 if image.suffix == ".svg" else 1)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(value: Any) -> Cell:
    """Return a cell, with None for a number that is not finite."""
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
