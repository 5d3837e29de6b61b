"""A study as a template draws it: findings beside the paper, tables with their numbers aligned."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertx.leaderboard.standings import short
from bertx.report.study import VERDICTS, Cell, Figure, Finding, Study, Table

_LONG = 24
"""Rows above which a table is opened on demand."""
_NUMBER = re.compile(r"[-+−±<]?\s?[\d.]")
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}


def study_contents(study: Study) -> dict[str, Any]:
    """Everything of a study as text, and its figures as data."""
    return {
        "name": study.name,
        "title": study.title,
        "preset": study.preset,
        "folder": str(study.folder),
        "runs": _of_dicts(study.runs),
        "findings": study.findings,
        "verdicts": _verdicts(study),
        "claims": _claims(study),
        "tables": [table_contents(own) for own in study.tables],
        "figures": [_figure(own) for own in study.figures],
        "numbers": [(k, _number(v, ".4g")) for k, v in study.numbers.items()],
        "settings": [(str(k), _setting(v))
                     for k, v in study.settings.items()],
    }  # fmt: skip


def _verdicts(study: Study) -> str:
    """How often the paper is right, in words; how much was found where it says nothing."""
    known = [finding.verdict for finding in study.findings]
    counts = {verdict: known.count(verdict) for verdict in VERDICTS}
    said = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    return ", ".join(said) or f"{len(known)} finding{'' if len(known) == 1 else 's'}"


def _claims(study: Study) -> Sequence[Finding]:
    """What was found of the paper's claims, or first of all where it has none."""
    return [own for own in study.findings if own.verdict] or study.findings[:1]


def table_contents(table: Table) -> dict[str, Any]:
    """A table whose columns of numbers are aligned and have as many digits in every row."""
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.columns)
    forms = [_form(column) for column in columns]
    rows = [[_cell(cell, form) for cell, form in zip(row, forms, strict=True)]
            for row in table.rows]  # fmt: skip
    heads = [
        {"text": name, "number": form != "" or _is_numbers(column)}
        for name, form, column in zip(table.columns, forms, columns, strict=True)
    ]
    return {"title": table.title, "heads": heads, "rows": rows,
            "note": table.note, "long": len(rows) > _LONG}  # fmt: skip


def _is_numbers(column: Sequence[Cell]) -> bool:
    """Whether a column has numbers that are written already, such as with their intervals."""
    known = [cell for cell in column if cell is not None]
    return bool(known) and all(isinstance(c, str) and _NUMBER.match(c) for c in known)


def _form(column: Sequence[Cell]) -> str:
    """How the numbers of a column are written; empty if it has none."""
    known = [c for c in column if isinstance(c, int | float) and not isinstance(c, bool)]
    if not known:
        return ""
    if all(isinstance(cell, int) for cell in known):
        return ",d"
    largest = max(map(abs, known))
    return ".3f" if largest < 10 else ".1f" if largest < 10_000 else ".3g"


def _cell(cell: Cell, form: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int | float):
        return _number(cell, form)
    return cell


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else short(value, form).replace("-", "−")


def _figure(figure: Figure) -> dict[str, str | None]:
    path = figure.path
    return {
        "title": figure.title,
        "alt": figure.alt,
        "source": None if path is None else _embedded(path),
    }


def _embedded(path: Path) -> str:
    return f"data:{_KINDS[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}"


def _of_dicts(rows: Sequence[dict[str, Cell]]) -> dict[str, Any] | None:
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name) for name in names] for row in rows]
    return table_contents(Table("What it is of", names, cells))


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
