"""Rows of JSON: one object per line, or a document as pandas and the hub write it."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TextIO

from bertx.data.table import NumberedRecord, RowUnit, Table, shortened, tabulate
from bertx.errors import InputError

_EXAMPLE = '{"text": "...", "label": 0}'


def json_lines(file: Path, text: TextIO, rows: int | None) -> Iterator[Table]:
    """Read one object per line.

    Args:
        file: The file, for messages.
        text: Its content.
        rows: Most rows of a table; None for one table of all rows.
    """
    lines = ((n, _value(file, n, line)) for n, line in enumerate(text, 1) if line.strip())
    return tabulate(str(file), _checked(file, "line", lines), "line", rows)


def json_document(file: Path, text: TextIO, rows: int | None) -> Iterator[Table]:
    """Read a list of objects, columns as pandas writes them, or one object per line after all.

    The whole document is held in memory, whatever ``rows``. Arguments as for `json_lines`.
    """
    first = list(islice((line for line in text if line.strip()), 2))
    text.seek(0)
    if len(first) > 1 and isinstance(_value(file, 1, first[0]), dict):
        return json_lines(file, text, rows)
    objects = enumerate(_unfolded(file, _parsed(file, text.read())), 1)
    return tabulate(str(file), _checked(file, "row", objects), "row", rows)


def _checked(
    file: Path, unit: RowUnit, values: Iterable[tuple[int, Any]]
) -> Iterator[NumberedRecord]:
    """Yield the records; raise the error of the first one, as the file is then of another kind."""
    for place, (number, value) in enumerate(values):
        if not isinstance(value, dict | InputError):
            value = InputError(
                f"{file}, {unit} {number}: expected a JSON object such as {_EXAMPLE}, but got "
                f"{shortened(value)}. Correct the {unit}."
            )
        if place == 0 and isinstance(value, InputError):
            raise value
        yield number, value


def _value(file: Path, number: int, line: str) -> Any:
    """Return the value of a line, or an `InputError` if it is not JSON."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return InputError(
            f"{file}, line {number}: expected one JSON object per line, but {error.msg} at "
            f"character {error.pos + 1} of {shortened(line.strip())}. Correct the line."
        )
    except (ValueError, RecursionError) as error:  # too many digits, or nested too deeply
        return InputError(f"{file}, line {number}: {error}. Correct the line.")


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {error.lineno}: expected JSON (a list of objects such as {_EXAMPLE}, or "
            f"one object per line), but {error.msg} at character {error.colno}. Correct the file."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}. Correct the file.") from error


def _unfolded(file: Path, document: Any) -> list[Any]:
    """Return the records of a document: a list, or a table in one of pandas' orients."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise InputError(
            f"{file}: expected a list of objects such as {_EXAMPLE}, but got {shortened(document)}."
        )
    data, names = document.get("data"), document.get("columns")
    if isinstance(data, list):  # orient="table", or "split", which names the columns
        return [dict(zip(names, row, strict=False)) for row in data] if names else data
    values = list(document.values())
    if all(isinstance(value, list) for value in values):  # orient="list"
        return [dict(zip(document, row, strict=True)) for row in zip_longest(*values)]
    if not all(isinstance(value, dict) for value in values):  # a single record
        return [document]
    if all(name.isdigit() for name in document):  # orient="index"
        return values
    rows = dict.fromkeys(row for value in values for row in value)  # orient="columns"
    return [{name: document[name].get(row) for name in document} for row in rows]
