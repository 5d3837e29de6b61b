"""What comes out of a study: values, numbers, tables, figures, and sentences with evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answer = Literal["agree", "disagree", "cannot tell"]
Cell = str | int | float | None


@dataclass(frozen=True)
class Finding:
    """A sentence that can be true or false.

    Attributes:
        text: The sentence.
        evidence: The numbers that it rests on, with intervals and counts.
        paper: What the paper says; None if it says nothing of it.
        verdict: Whether what was found agrees with the paper; None without a paper.
    """

    text: str
    evidence: str
    paper: str | None = None
    verdict: Answer | None = None


@dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        name: Its name among those of a study.
        title: The heading.
        columns: The heads of the columns (J).
        rows: The cells (I, J); NaN and None are empty.
        note: What a reader has to know.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def long_rows(names: Sequence[str], length: int, /, **columns: Any) -> pa.Table:
    """Rows of a long table of values.

    Args:
        names: The columns of the table; ``value``, ``low`` and ``high`` are numbers, ``count`` is a
            whole one, and the others are names.
        length: How many rows there are.
        **columns: What stands in them: one for each row, or one for all; in others is nothing.
    """
    kinds = {"value": pa.float64(), "low": pa.float64(), "high": pa.float64(), "count": pa.int64()}
    table = {}
    for name in names:
        kind = kinds.get(name, pa.string())
        cells = columns.get(name, "" if name not in kinds else None)
        if cells is None or isinstance(cells, (str, int, float)):
            cells = [cells] * length
        table[name] = pa.array(cells, kind, from_pandas=True)
    return pa.table(table)


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: Its name among those of a study, which is that of its files.
        title: The heading.
        alt: What is to be seen, for somebody who cannot see it.
        figure: The figure.
    """

    name: str
    title: str
    alt: str
    figure: "Figure"


@dataclass(frozen=True)
class Findings:
    """All that comes out of a study.

    Attributes:
        values: Every value, as a long table.
        findings: Sentences with evidence.
        numbers: Headline numbers by their names, which may have ``/`` in them.
        tables: Tables for people.
        pictures: Figures.
    """

    values: pa.Table
    findings: Sequence[Finding] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` has of it."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "numbers": dict(self.numbers),
            "tables": [asdict(table) for table in self.tables],
            "figures": [
                {"name": own.name, "title": own.title, "alt": own.alt} for own in self.pictures
            ],
        }
