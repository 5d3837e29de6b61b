"""The results of a study: values, numbers, tables, figures, and findings with evidence."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ClaimVerdict = Literal["agree", "disagree", "cannot tell"]
Cell = str | int | float | None


@dataclass(frozen=True)
class Finding:
    """A result in one sentence, and what it means for a claim of the paper.

    Attributes:
        text: The sentence.
        evidence: The numbers it is based on, with intervals and counts.
        paper: The paper's claim; None if it makes none.
        verdict: Whether the result agrees with the claim; None without a claim.
    """

    text: str
    evidence: str
    paper: str | None = None
    verdict: ClaimVerdict | None = None


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: The table's name, unique within the study.
        title: The heading.
        columns: The column headings (J).
        rows: The cells (I, J); NaN and None are shown as empty cells.
        note: An explanation printed with the table.
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
    """Return a table with a row for each key and a column for each name, in order of appearance.

    Args:
        name: The table's name, unique within the study.
        title: The heading.
        heads: The headings of the key columns.
        cells: The key, the column and the content of each cell; all other cells are empty.
        note: An explanation printed with the table.
    """
    content = {(tuple(key), column): cell for key, column, cell in cells}
    keys = dict.fromkeys(key for key, _ in content)
    columns = dict.fromkeys(column for _, column in content)
    rows = [[*key, *(content.get((key, column)) for column in columns)] for key in keys]
    return Table(name, title, [*heads, *columns], rows, note)


def grid_rows(*axes: Mapping[str, Collection[Any]]) -> dict[str, pa.Array]:
    """Return index columns for a flattened array: one row for each element, in C order.

    Args:
        *axes: The labels along each dimension of the array, as one or more columns.
    """
    sizes = [len(next(iter(axis.values()))) for axis in axes]
    indices = np.indices(sizes, dtype=np.int32).reshape(len(sizes), -1)
    return {
        name: pa.array(values).take(pa.array(index))
        for axis, index in zip(axes, indices, strict=True)
        for name, values in axis.items()
    }


def long_rows(names: Sequence[str], length: int, /, **columns: Any) -> pa.Table:
    """Return rows of a long table of values.

    Args:
        names: The columns of the table; ``value``, ``low`` and ``high`` hold floats, ``count``
            integers, and all other columns strings.
        length: The number of rows.
        **columns: The contents of columns, one value per row or one for all rows. Columns that are
            not given are empty.
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
        name: The figure's name, unique within the study, and the stem of its files.
        title: The heading.
        alt: The alternative text for readers who cannot see the figure.
        figure: The figure.
    """

    name: str
    title: str
    alt: str
    figure: "Figure"


class RunAccuracy(NamedTuple):
    """The accuracy of a run's model on the texts of a study.

    Attributes:
        texts: The number of texts used.
        accuracy: The share of them that the model classifies correctly.
        failed: The number of texts that could not be used.
    """

    texts: int
    accuracy: float
    failed: int = 0


@dataclass(frozen=True)
class Findings:
    """All results of a study.

    Attributes:
        values: Every value, as a long table.
        runs: The accuracy of each run, for the table of runs; empty to leave that table out.
        findings: Sentences with evidence.
        numbers: Headline numbers by name; names may contain ``/``.
        tables: Tables of the report.
        pictures: Figures.
    """

    values: pa.Table
    runs: Sequence[RunAccuracy] = ()
    findings: Sequence[Finding] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()

    def summary(self) -> dict[str, Any]:
        """Return the part of the results that ``summary.json`` holds."""
        return {
            "findings": [asdict(finding) for finding in self.findings],
            "numbers": dict(self.numbers),
            "tables": [asdict(table) for table in self.tables],
            "figures": [
                {"name": picture.name, "title": picture.title, "alt": picture.alt}
                for picture in self.pictures
            ],
        }
