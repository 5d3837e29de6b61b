"""Rows of one split as they were read, and what their columns mean."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bertx.errors import InputError
from bertx.inputs import UNKNOWN

TEXT_COLUMNS = ("sentence", "text", "tokens")
LABEL_COLUMN = "label"
Spans = tuple[tuple[int, int], ...]
"""Character spans (start, end) of a text, the end exclusive."""

Spoilt = Callable[[InputError], Any]
"""What stands in every column of a malformed row, made of what is wrong with it."""

_INTEGER = re.compile(r"[+-]?\d+")


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
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    unit: Literal["line", "row"] = "line"
    rationales: Sequence[Spans] | None = None
    left_out: Sequence[str] = ()

    def where(self, row: int) -> str:
        """Name of a row for messages."""
        return f"{self.source}, {self.unit} {self.lines[row]}"

    def select(self, rows: Sequence[int]) -> "Table":
        """The table of some rows, each once and in their order."""
        if len(rows) == len(self):
            return self
        marks = self.rationales
        return replace(
            self,
            columns={
                name: [values[row] for row in rows]
                for name, values in ((name, column[:]) for name, column in self.columns.items())
            },
            lines=[self.lines[row] for row in rows],
            rationales=None if marks is None else [marks[row] for row in rows],
        )

    def __len__(self) -> int:
        return len(self.lines)


def refused(error: InputError) -> Any:
    """Refuse a malformed row, and its file.

    Raises:
        InputError: Always.
    """
    raise error


def not_utf8(file: Path, line: int, text: str) -> InputError | None:
    """What is wrong with a text that was decoded with ``surrogateescape``, if anything.

    Args:
        file: The file, for the message.
        line: The number of the line where the text begins.
        text: The text.
    """
    try:
        _ = text.isascii() or text.encode(errors="surrogateescape").decode()
    except UnicodeDecodeError as error:
        return InputError(
            f"{file}, line {line}: expected UTF-8, but {error.reason} "
            f"(byte {error.object[error.start]:#04x}). Save the file as UTF-8."
        )
    return None


def find_text_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """The column with the texts.

    Args:
        table: The rows.
        named: The column that the user asked for. No other is taken instead.
        usual: The column that the data set is known to have; others are tried after it.

    Raises:
        InputError: If there is no such column.
    """
    found = _find(table, named, [usual, *TEXT_COLUMNS])
    if found is None:
        wanted = repr(named) if named else " or ".join(map(repr, TEXT_COLUMNS))
        raise InputError(
            f"{table.source}: expected a text column {wanted}, but the columns are "
            f"{_listed(table.columns)}. Name it with --data.text_column."
        )
    return found


def find_label_column(
    table: Table, named: str | None = None, usual: str | None = None
) -> str | None:
    """The column with the labels, or None where there is none (arguments as for the text)."""
    return _find(table, named, [usual, LABEL_COLUMN])


def require_label_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """The column with the labels.

    Raises:
        InputError: If there is no such column.
    """
    found = find_label_column(table, named, usual)
    if found is None:
        raise InputError(
            f"{table.source}: expected a label column {named or LABEL_COLUMN!r}, but the columns "
            f"are {_listed(table.columns)}. Name it with --data.label_column."
        )
    return found


def texts(table: Table, column: str) -> list[str]:
    """The texts of all rows.

    Raises:
        InputError: If a value is not text.
    """
    values = list(table.columns[column][:])
    for row, value in enumerate(values):
        if not isinstance(value, str) or not _encodable(value):
            raise InputError(
                f"{table.where(row)}: expected text in column {column!r}, but got {value!r}. "
                "Correct the row, or name another column with --data.text_column."
            )
    return values


def label_names(table: Table, column: str) -> list[str]:
    """Names of the classes, from the labels that occur.

    Returns:
        The sorted labels; integers are sorted by size. Unknown labels (-1) are left out.

    Raises:
        InputError: If a label is missing, or fewer than two different ones occur.
    """
    values = table.columns[column][:]
    first = {_written(value): row for row, value in reversed(list(enumerate(values)))}
    first.pop("-1", None)
    if "" in first:
        raise _no_label(table, first[""], column)
    if len(first) < 2:
        raise InputError(
            f"{table.source}: expected at least two different labels in column {column!r}, but "
            f"found {_listed(first) or 'none'}. Name the column with --data.label_column, or the "
            "classes with --data.labels."
        )
    numeric = all(map(_INTEGER.fullmatch, first))
    return sorted(first, key=(lambda name: (int(name), name)) if numeric else None)


def class_numbers(table: Table, column: str, labels: Sequence[str]) -> list[int]:
    """The class of every row.

    A label is the name of a class or, unless the names are integers themselves, its number.

    Args:
        table: N rows.
        column: The column with the labels.
        labels: Names of the C classes.

    Returns:
        Class numbers 0..C-1, `UNKNOWN` where the label is -1 (N,).

    Raises:
        InputError: If a label is missing, no name, or no number below C.
    """
    numbers = class_names(labels)
    numbers.setdefault("-1", UNKNOWN)
    written = [_written(value) for value in table.columns[column][:]]
    for row, value in enumerate(written):
        if value not in numbers:
            raise _unknown_label(table, row, column, labels)
    return [numbers[value] for value in written]


def class_names(labels: Sequence[str]) -> dict[str, int]:
    """The number of each class, by its name and, unless the names are integers, by its number."""
    numbers = {name: number for number, name in enumerate(labels)}
    if not any(map(_INTEGER.fullmatch, labels)):
        numbers |= {str(number): number for number in range(len(labels))}
    return numbers


def shortened(value: Any, width: int = 80) -> str:
    """A value for a message, the beginning of a long one."""
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def _encodable(text: str) -> bool:
    """False for half a surrogate pair (JSON can write one), which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(label: Any) -> str:
    """A label as text: 1, 1.0 (integers beside gaps in other software), True and "1" are one."""
    if label is None or label != label:
        return ""
    if isinstance(label, bool) or (isinstance(label, float) and label.is_integer()):
        return str(int(label))
    return str(label).strip()


def _unknown_label(table: Table, row: int, column: str, labels: Sequence[str]) -> InputError:
    value = table.columns[column][row]
    written = _written(value)
    if not written:
        return _no_label(table, row, column)
    names = _listed(labels)
    if _INTEGER.fullmatch(written) and not any(map(_INTEGER.fullmatch, labels)):
        return InputError(
            f"{table.where(row)}: label {written} in column {column!r} is outside the "
            f"{len(labels)} classes 0..{len(labels) - 1} ({names}). Correct the row or "
            "--data.labels; -1 marks an unknown label."
        )
    return InputError(
        f"{table.where(row)}: unknown label {value!r} in column {column!r}; the classes are "
        f"{names}. Correct the row, --data.labels or --data.label_column."
    )


def _no_label(table: Table, row: int, column: str) -> InputError:
    return InputError(
        f"{table.where(row)}: expected a label in column {column!r}, but it is empty. "
        "Add it, or write -1 for an unknown label."
    )


def _find(table: Table, named: str | None, guesses: Sequence[str | None]) -> str | None:
    wanted = [named] if named else [guess.lower() for guess in guesses if guess]
    known = {column if named else column.strip().lower(): column for column in table.columns}
    return next((known[column] for column in wanted if column in known), None)


def _listed(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, quoted, the first few of very many."""
    names = list(names)
    more = [f"... ({len(names)} in all)"] if len(names) > limit else []
    return ", ".join([*map(repr, names[:limit]), *more])
