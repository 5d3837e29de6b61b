"""What comes out of a study: values, numbers, tables, figures, and sentences with evidence."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
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
        verdict: Whether the result agrees with the paper; None without a paper.
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


def pivot(
    name: str,
    title: str,
    heads: Sequence[str],
    cells: Iterable[tuple[Sequence[Cell], str, Cell]],
    note: str = "",
) -> Table:
    """A table with a row for each key and a column for each name, in the order they come in.

    Args:
        name: Its name among those of a study.
        title: The heading.
        heads: The heads of the columns of the key.
        cells: The key, the column and the content of each cell; others are empty.
        note: What a reader has to know.
    """
    content = {(tuple(key), column): cell for key, column, cell in cells}
    keys = dict.fromkeys(key for key, _ in content)
    columns = dict.fromkeys(column for _, column in content)
    rows = [[*key, *(content.get((key, column)) for column in columns)] for key in keys]
    return Table(name, title, [*heads, *columns], rows, note)


def grid_rows(*axes: Mapping[str, Collection[Any]]) -> dict[str, pa.Array]:
    """The columns of a table that has a row for each place of an array, in the array's order.

    Args:
        *axes: What each of the array's dimensions goes through: one or several columns.
    """
    sizes = [len(next(iter(axis.values()))) for axis in axes]
    places = np.indices(sizes, dtype=np.int32).reshape(len(sizes), -1)
    return {
        name: pa.array(values).take(pa.array(place))
        for axis, place in zip(axes, places, strict=True)
        for name, values in axis.items()
    }


def long_rows(names: Sequence[str], length: int, /, **columns: Any) -> pa.Table:
    """Rows of a long table of values.

    Args:
        names: The columns of the table; ``value``, ``low`` and ``high`` are numbers, ``count`` is a
            whole one, and the others are names.
        length: How many rows there are.
        **columns: What stands in columns: one for each row, or one for all; the others are empty.
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


class Measured(NamedTuple):
    """What a study measured of a run.

    Attributes:
        texts: How many texts were used.
        accuracy: Share of them that is predicted right.
        failed: How many could not be used.
    """

    texts: int
    accuracy: float
    failed: int = 0


@dataclass(frozen=True)
class Findings:
    """All that comes out of a study.

    Attributes:
        values: Every value, as a long table.
        runs: What was measured of each run; the study's table of runs is made of it.
        findings: Sentences with evidence.
        numbers: Headline numbers by their names, which may have ``/`` in them.
        tables: Tables for people.
        pictures: Figures.
    """

    values: pa.Table
    runs: Sequence[Measured] = ()
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
                {"name": picture.name, "title": picture.title, "alt": picture.alt}
                for picture in self.pictures
            ],
        }
