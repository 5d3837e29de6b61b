"""Rows of one split as they were read, and where each came from."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, Literal

from bertx.errors import InputError

Spans = tuple[tuple[int, int], ...]
"""Character spans (start, end) of a text, the end exclusive."""

Unit = Literal["line", "row"]
"""What the rows of a source are counted by."""


class Column(Sequence[Any]):
    """Values that are made when one of them is asked for: most columns are nobody's concern.

    Args:
        count: Their number N.
        make: Makes all of them.
    """

    def __init__(self, count: int, make: Callable[[], list[Any]]) -> None:
        self._count = count
        self._make = make

    @cached_property
    def _values(self) -> list[Any]:
        return self._make()

    def __getitem__(self, place: Any) -> Any:
        return self._values[place]

    def __len__(self) -> int:
        return self._count


@dataclass(frozen=True)
class Table:
    """N rows, by column, and where each row came from.

    Attributes:
        source: The file, or the data set and its split, for messages.
        columns: Values of each column, N each.
        lines: Number of each row in its source (N,), counted from 1.
        unit: What ``lines`` counts.
        rationales: The spans that decide the label of each row, N, if the data set marks them.
        left_out: For each row of the source that is not here as it cannot be used, where it is
            and why.
        repeated: Names that several columns have; ``columns`` has one of these.
        files: The file of each row, N, where the source is several files.
        numbers: Number of each row in its split, counted from 0, also over those that were left
            out (N,).
        malformed: What is wrong with rows that could not be read, by their place in 0..N-1; they
            have no values.
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    unit: Unit = "line"
    rationales: Sequence[Spans] | None = None
    left_out: Sequence[str] = ()
    repeated: Collection[str] = ()
    files: Sequence[str] = ()
    numbers: Sequence[int] = ()
    malformed: Mapping[int, InputError] = field(default_factory=dict)

    def where(self, row: int) -> str:
        """Name of a row for messages."""
        source = self.files[row] if self.files else self.source
        return f"{source}, {self.unit} {self.lines[row]}"

    def select(self, rows: Sequence[int]) -> "Table":
        """The table of some rows, each once and in their order."""
        if len(rows) == len(self):
            return self
        marks = self.rationales
        return replace(
            self,
            columns={
                name: Column(len(rows), partial(_chosen, values, rows))
                for name, values in self.columns.items()
            },
            lines=[self.lines[row] for row in rows],
            rationales=None if marks is None else [marks[row] for row in rows],
            files=[self.files[row] for row in rows] if self.files else (),
            numbers=[self.numbers[row] for row in rows] if self.numbers else (),
        )

    def __len__(self) -> int:
        return len(self.lines)


def joined(source: str, tables: Sequence[Table]) -> Table:
    """One table of the rows of several files; a file may lack a column of another.

    Args:
        source: What the files are called together.
        tables: The rows of each, as they were read.
    """
    names = dict.fromkeys(name for table in tables for name in table.columns)
    count = sum(map(len, tables))
    return Table(
        source,
        {name: Column(count, partial(_concatenated, tables, name)) for name in names},
        list(chain.from_iterable(table.lines for table in tables)),
        tables[0].unit,
        repeated={name for table in tables for name in table.repeated},
        files=[table.source for table in tables for _ in range(len(table))],
    )


def numbered(tables: Iterable[Table]) -> Iterator[Table]:
    """The tables of a split, whose rows are counted from one to the next."""
    start = 0
    for table in tables:
        yield replace(table, numbers=range(start, start + len(table)))
        start += len(table)


def malformed(records: Sequence[tuple[int, Any]]) -> dict[int, InputError]:
    """Which of some numbered records could not be read, and why."""
    return {
        place: record for place, (_, record) in enumerate(records) if isinstance(record, InputError)
    }


def shortened(value: Any, width: int = 80) -> str:
    """A value for a message, the beginning of a long one."""
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, quoted, the first few of very many."""
    names = list(names)
    more = [f"... ({len(names)} in all)"] if len(names) > limit else []
    return ", ".join([*(shortened(name) for name in names[:limit]), *more])


def _chosen(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    every = values[:]
    return [every[row] for row in rows]


def _concatenated(tables: Sequence[Table], name: str) -> list[Any]:
    return [
        value
        for table in tables
        for value in (table.columns[name][:] if name in table.columns else [None] * len(table))
    ]
