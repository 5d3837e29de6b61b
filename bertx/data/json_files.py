"""Rows of JSON: one object a line, or a document as pandas and the hub write it."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, TextIO

from bertx.data.table import Table, Unit, malformed, shortened
from bertx.errors import InputError

_EXAMPLE = '{"text": "...", "label": 0}'


def json_lines(file: Path, text: TextIO, rows: int | None) -> Iterator[Table]:
    """One object a line.

    Args:
        file: The file, for messages.
        text: What it holds.
        rows: At most so many rows make a table; None: all make one.
    """
    lines = ((n, _value(file, n, line)) for n, line in enumerate(text, 1) if line.strip())
    return _tables(file, _checked(file, "line", lines), "line", rows)


def json_document(file: Path, text: TextIO, rows: int | None) -> Iterator[Table]:
    """A list of objects, columns as pandas writes them, or one object a line after all.

    A document is held in memory, whatever ``rows`` says; arguments as for `json_lines`.
    """
    first = list(islice((line for line in text if line.strip()), 2))
    text.seek(0)
    if len(first) > 1 and isinstance(_value(file, 1, first[0]), dict):
        return json_lines(file, text, rows)
    records = enumerate(_unfolded(file, _parsed(file, text.read())), 1)
    return _tables(file, _checked(file, "row", records), "row", rows)


def _tables(
    file: Path, records: Iterator[tuple[int, Any]], unit: Unit, rows: int | None
) -> Iterator[Table]:
    names: dict[str, None] = {}
    while part := list(islice(records, rows)):
        sound = (record for _, record in part if isinstance(record, dict))
        names = dict.fromkeys(name for record in sound for name in record) or names
        columns = {
            name: [record.get(name) if isinstance(record, dict) else None for _, record in part]
            for name in names
        }
        numbers = [number for number, _ in part]
        yield Table(str(file), columns, numbers, unit, malformed=malformed(part))


def _checked(
    file: Path, unit: Unit, records: Iterable[tuple[int, Any]]
) -> Iterator[tuple[int, dict[str, Any] | InputError]]:
    """The records; the first one, which shows what they are like, has to be an object."""
    for place, (number, record) in enumerate(records):
        if not isinstance(record, dict | InputError):
            record = InputError(
                f"{file}, {unit} {number}: expected a JSON object such as {_EXAMPLE}, but got "
                f"{shortened(record)}. Correct the {unit}."
            )
        if not place and isinstance(record, InputError):
            raise record
        yield number, record


def _value(file: Path, number: int, line: str) -> Any:
    """What stands in a line, or what is wrong with it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return InputError(
            f"{file}, line {number}: expected one JSON object a line, but {error.msg} at "
            f"character {error.pos + 1} of {shortened(line.strip())}. Correct the line."
        )
    except (ValueError, RecursionError) as error:  # a number or a nesting without end
        return InputError(f"{file}, line {number}: {error}. Correct the line.")


def _parsed(file: Path, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {error.lineno}: expected JSON (a list of objects such as {_EXAMPLE}, or "
            f"one object a line), but {error.msg} at character {error.colno}. Correct the file."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}. Correct the file.") from error


def _unfolded(file: Path, document: Any) -> list[Any]:
    """The records of a document: a list of them, or what pandas' ``orient`` makes of a table."""
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise InputError(
            f"{file}: expected a list of objects such as {_EXAMPLE}, but got {shortened(document)}."
        )
    data, names = document.get("data"), document.get("columns")
    if isinstance(data, list):  # orient="table", or "split" with names of the columns
        return [dict(zip(names, row, strict=False)) for row in data] if names else data
    values = list(document.values())
    if all(isinstance(value, list) for value in values):
        return [dict(zip(document, row, strict=True)) for row in zip_longest(*values)]
    if not all(isinstance(value, dict) for value in values):
        return [document]
    if all(name.isdigit() for name in document):  # orient="index"
        return values
    rows = dict.fromkeys(row for value in values for row in value)
    return [{name: document[name].get(row) for name in document} for row in rows]
