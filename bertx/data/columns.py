"""Which columns of a table hold the texts and their labels, and what is no text."""

import math
from collections.abc import Sequence
from typing import Any

from bertx.data.labels import written
from bertx.data.table import Table, listed, shortened
from bertx.errors import InputError

TEXT_COLUMNS = ("sentence", "text", "tokens")
LABEL_COLUMN = "label"

_PEEKED = 1000  # rows that show what a column is like


def find_text_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """The column with the texts.

    Args:
        table: The rows.
        named: The column that the user asked for. No other is taken instead.
        usual: The column that this data set has; others are tried after it.

    Raises:
        InputError: If there is no such column, or more than one.
    """
    column = _find(table, named, [usual, *TEXT_COLUMNS], "text_column")
    if column is None:
        wanted = repr(named) if named else " or ".join(map(repr, TEXT_COLUMNS))
        raise InputError(
            f"{table.source}: expected a text column {wanted}, but the columns are "
            f"{listed(table.columns)}. Name it with `text_column`."
        )
    return column


def find_label_column(
    table: Table, named: str | None = None, usual: str | None = None
) -> str | None:
    """The column with the labels, or None where there is none (arguments as for the text).

    Raises:
        InputError: If there is more than one.
    """
    return _find(table, named, [usual, LABEL_COLUMN], "label_column")


def require_label_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """The column with the labels.

    Raises:
        InputError: If there is no such column, or more than one.
    """
    column = find_label_column(table, named, usual)
    if column is not None:
        return column
    flags = _flags(table)
    several = ""
    if len(flags) > 1:
        several = (
            f" {listed(flags, 5)} hold 0 and 1 alone: if each is a label that a text may have, "
            "beside others (multi-label), this is not supported, but each is by itself."
        )
    raise InputError(
        f"{table.source}: expected a label column {named or LABEL_COLUMN!r}, but the columns "
        f"are {listed(table.columns)}. Name it with `label_column`.{several}"
    )


def texts(table: Table, column: str) -> list[str]:
    """The texts of all rows, an empty one where there is none.

    Raises:
        InputError: If a value is not text.
    """
    values = ["" if missing(value) else value for value in table.columns[column][:]]
    for row, value in enumerate(values):
        if error := text_error(table, row, column, value):
            raise error
    return values


def missing(value: Any) -> bool:
    """Whether a value is a gap, as JSON, Parquet or pandas have it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_error(table: Table, row: int, column: str, value: Any) -> InputError | None:
    """What keeps a value from being a text, if anything does.

    Args:
        table: The rows.
        row: The row of the value, for the message, and
        column: its column.
        value: The value; bytes of a file that are not UTF-8 are in it as by ``surrogateescape``.
    """
    if isinstance(value, str):
        try:
            _ = value.isascii() or value.encode()
            return None
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can write, or foreign bytes
            if byte := next((ord(c) - 0xDC00 for c in value if "\udc80" <= c <= "\udcff"), None):
                return InputError(
                    f"{table.where(row)}: expected UTF-8 in column {column!r}, but it has the "
                    f"byte {byte:#04x}. Save the file as UTF-8."
                )
    return InputError(
        f"{table.where(row)}: expected text in column {column!r}, but got {shortened(value)}. "
        "Correct the row, or name another column with `text_column`."
    )


def _find(
    table: Table, named: str | None, guesses: Sequence[str | None], option: str
) -> str | None:
    wanted = [named] if named else [guess.lower() for guess in guesses if guess]
    alike = {} if named else {name.strip().lower(): name for name in table.columns}
    columns = {**alike, **{name: name for name in table.columns}}
    column = next((columns[name] for name in wanted if name in columns), None)
    if column in table.repeated:
        raise InputError(
            f"{table.source}: expected one column {column!r}, but there are several. Rename all "
            f"but one, or name another column with `{option}`."
        )
    return column


def _flags(table: Table) -> list[str]:
    """The columns of 0 and 1 alone, which several labels of a text may be written in."""
    return [name for name, values in table.columns.items() if _is_flag(values)]


def _is_flag(values: Sequence[Any]) -> bool:
    try:
        labels = {written(value) for value in values[:_PEEKED]}
    except InputError:  # a column that cannot be read is no concern of a message
        return False
    return labels in ({"0", "1"}, {"False", "True"})
