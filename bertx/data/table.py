"""The rows of a split as they are read from its source, before texts and labels are checked."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any, Literal

from bertx.errors import InputError

Spans = tuple[tuple[int, int], ...]
"""Character spans (start, end) of a text, the end exclusive."""

RowUnit = Literal["line", "row"]
"""What the rows of a source are counted by."""

NumberedRecord = tuple[int, dict[str, Any] | InputError]
"""The number of a record's first line or row, and its values by column or why it is malformed."""


class Column(Sequence[Any]):
    """N values that are converted on first access, since most columns are never used.

    Args:
        count: Number of values N.
        convert: Returns all values.
    """

    def __init__(self, count: int, convert: Callable[[], list[Any]]) -> None:
        self._count = count
        self._convert = convert

    @cached_property
    def _values(self) -> list[Any]:
        return self._convert()

    def __getitem__(self, place: Any) -> Any:
        return self._values[place]

    def __len__(self) -> int:
        return self._count


@dataclass(frozen=True)
class Table:
    """N rows, by column, and the place of each row in its source.

    Attributes:
        source: The file, or the data set and its split, for messages.
        columns: Values of each column, N each.
        lines: Number of each row in its source (N,), counted from 1.
        unit: What ``lines`` counts.
        rationales: The spans that decide the label of each row, N; None if there are no rationales.
        unusable: For each row that was removed because it cannot be used, its place and the reason.
        repeated: Names that several columns of the source have; ``columns`` has the last of them.
        files: The file of each row, N, where the source is several files.
        numbers: Number of each row in its split, counted from 0, removed rows included (N,).
        malformed: Errors of rows that could not be read, by index 0..N-1; their values are None.
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    unit: RowUnit = "line"
    rationales: Sequence[Spans] | None = None
    unusable: Sequence[str] = ()
    repeated: Collection[str] = ()
    files: Sequence[str] = ()
    numbers: Sequence[int] = ()
    malformed: Mapping[int, InputError] = field(default_factory=dict)

    def where(self, row: int) -> str:
        """Return the file and line of a row, for messages."""
        source = self.files[row] if self.files else self.source
        return f"{source}, {self.unit} {self.lines[row]}"

    def select(self, rows: Sequence[int]) -> "Table":
        """Return the table of some rows, which are sorted and unique."""
        if len(rows) == len(self):
            return self
        columns = {
            name: Column(len(rows), partial(_selected, values, rows))
            for name, values in self.columns.items()
        }
        return replace(
            self,
            columns=columns,
            lines=_selected(self.lines, rows),
            rationales=None if self.rationales is None else _selected(self.rationales, rows),
            files=_selected(self.files, rows) if self.files else (),
            numbers=_selected(self.numbers, rows) if self.numbers else (),
        )

    def __len__(self) -> int:
        return len(self.lines)


def tabulate(
    source: str,
    records: Iterator[NumberedRecord],
    unit: RowUnit,
    rows: int | None,
    header: Sequence[str] = (),
) -> Iterator[Table]:
    """Turn records into tables.

    Args:
        source: The file, for messages.
        records: Its records.
        unit: What their numbers count.
        rows: Most rows of a table; None for one table of all rows.
        header: Names of the columns; by default the fields that the records have.
    """
    names = dict.fromkeys(header)
    repeated = {name for name, count in Counter(header).items() if count > 1}
    while part := list(islice(records, rows)):
        malformed = {
            row: record for row, (_, record) in enumerate(part) if isinstance(record, InputError)
        }
        values = [{} if isinstance(record, InputError) else record for _, record in part]
        names = dict.fromkeys(chain.from_iterable(values)) or names
        columns = {name: [record.get(name) for record in values] for name in names}
        lines = [line for line, _ in part]
        yield Table(source, columns, lines, unit, repeated=repeated, malformed=malformed)


def join_tables(source: str, tables: Sequence[Table]) -> Table:
    """Return the rows of several files as one table; a file may lack a column of another.

    Args:
        source: Common name of the files, for messages.
        tables: The rows of each file.
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


def is_missing(value: Any) -> bool:
    """Return whether a value is None or NaN, which is how JSON, Parquet or pandas mark a gap."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def shortened(value: Any, width: int = 80) -> str:
    """Return the ``repr`` of a value, cut to ``width`` characters, for messages."""
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Return quoted names, at most ``limit`` of them, for messages."""
    names = list(names)
    more = [f"... ({len(names)} in all)"] if len(names) > limit else []
    return ", ".join([*(shortened(name) for name in names[:limit]), *more])


def _selected(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    every = values[:]  # converts a `Column` once
    return [every[row] for row in rows]


def _concatenated(tables: Sequence[Table], name: str) -> list[Any]:
    return [
        value
        for table in tables
        for value in (table.columns[name][:] if name in table.columns else [None] * len(table))
    ]
