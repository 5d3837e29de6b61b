"""The columns of a table that hold the texts and their labels, and what counts as a text."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from bertx.data.labels import label_text
from bertx.data.table import Table, is_missing, listed, shortened
from bertx.errors import InputError

TEXT_COLUMNS = ("sentence", "text", "tokens")
LABEL_COLUMN = "label"

_FLAG_ROWS = 1000  # rows that are looked at to find columns of 0 and 1


def find_text_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """Return the column of the texts.

    Args:
        table: The rows.
        named: The column that the user named; no other one is used instead.
        usual: The column that this data set usually has; tried before `TEXT_COLUMNS`.

    Raises:
        InputError: If there is no such column, or several have its name.
    """
    column = _find(table, named, [usual, *TEXT_COLUMNS], "text_column")
    if column is None:
        wanted = repr(named) if named else " or ".join(map(repr, TEXT_COLUMNS))
        raise InputError(
            f"{table.source}: expected a text column {wanted}, but the columns are "
            f"{listed(table.columns)}. {_advice(table, named, 'text_column')}"
        )
    return column


def find_label_column(
    table: Table, named: str | None = None, usual: str | None = None
) -> str | None:
    """Return the column of the labels, None if there is none (see `find_text_column`).

    Raises:
        InputError: If several columns have its name.
    """
    return _find(table, named, [usual, LABEL_COLUMN], "label_column")


def require_label_column(table: Table, named: str | None = None, usual: str | None = None) -> str:
    """Return the column of the labels (see `find_text_column`).

    Raises:
        InputError: If there is no such column, or several have its name.
    """
    column = find_label_column(table, named, usual)
    if column is not None:
        return column
    flags = [name for name, values in table.columns.items() if _is_flag(values)]
    several = ""
    if len(flags) > 1:
        several = (
            f" {listed(flags, 5)} hold only 0 and 1: if a text can have several of these labels "
            "(multi-label), that is not supported, but each of them alone is."
        )
    raise InputError(
        f"{table.source}: expected a label column {named or LABEL_COLUMN!r}, but the columns "
        f"are {listed(table.columns)}. {_advice(table, named, 'label_column')}{several}"
    )


def text_values(table: Table, column: str) -> list[str]:
    """Return the texts of all rows; a missing text is empty.

    Raises:
        InputError: If a value is not text.
    """
    values = ["" if is_missing(value) else value for value in table.columns[column][:]]
    for row, value in enumerate(values):
        if error := text_error(table, row, column, value):
            raise error
    return values


def text_error(table: Table, row: int, column: str, value: Any) -> InputError | None:
    """Return why a value is not text, or None if it is.

    Args:
        table: The rows.
        row: Row of the value, for the message.
        column: Column of the value, for the message.
        value: The value. Bytes that are not UTF-8 are in it as by ``surrogateescape``.
    """
    if isinstance(value, str):
        try:
            _ = value.isascii() or value.encode()
            return None
        except UnicodeEncodeError:  # an escaped byte, or half a surrogate pair, as JSON may have
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
    if named:
        column = named if named in table.columns else None
    else:
        columns = {name.strip().lower(): name for name in table.columns}
        columns |= {name: name for name in table.columns}
        names = [guess.lower() for guess in guesses if guess]
        column = next((columns[name] for name in names if name in columns), None)
    if column in table.repeated:
        raise InputError(
            f"{table.source}: expected one column {column!r}, but there are several. Rename all "
            f"but one, or name another column with `{option}`."
        )
    return column


def _advice(table: Table, named: str | None, option: str) -> str:
    if not named:
        return f"Name it with `{option}`."
    close = get_close_matches(named, table.columns, 1)
    choice = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
    return f"{choice} Set it with `{option}`."


def _is_flag(values: Sequence[Any]) -> bool:
    """Return whether a column holds only 0 and 1, as one of several labels would."""
    try:
        labels = {label_text(value) for value in values[:_FLAG_ROWS]}
    except InputError:  # the values of an unused Parquet column may be unreadable
        return False
    return labels in ({"0", "1"}, {"False", "True"})
