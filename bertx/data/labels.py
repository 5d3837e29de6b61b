"""The classes that people mean by what they write into a column of labels."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from unicodedata import category, normalize

from bertx.data.table import Table, listed, shortened
from bertx.errors import InputError
from bertx.models.inputs import UNKNOWN

Name = str | int | float | bool | None
"""The name of a class as YAML may read it."""

MANY = 20
"""From so many classes on it is refused that most rows have one of their own."""

_INTEGER = re.compile(r"[+-]?\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BETWEEN = re.compile(r"[|;,]")
_NUMBERS = re.compile(r"[+-]?\d+(\.\d*)?((\s*[|;,]\s*|\s+)[+-]?\d+(\.\d*)?)+")
_BRACKETED = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
_MISSING = {"nan", "NaN", "<NA>"}  # what pandas makes of a gap that becomes text


def written(label: Any) -> str:
    """A label as text: 1, 1.0 (integers beside gaps in other software), "1" and "1.0" are one.

    Returns:
        The text without white space around it; empty where there is no label.
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return ""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label).strip()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else "" if text in _MISSING else text


def checked_labels(labels: Sequence[Name] | None) -> list[str] | None:
    """The names of the classes as given, numbers as text.

    Raises:
        InputError: If they name no two classes, or one of them is what YAML makes of a word.
    """
    for label in labels or ():
        if label is None or isinstance(label, bool):
            raise InputError(
                f"`labels`: expected names, but one of them is {label!r}. Without quotes "
                "YAML takes yes, no, on, off, true, false, null and ~ for values of its own. Quote "
                'them: `labels`=\'["no", "yes"]\'.'
            )
    names = None if labels is None else [str(label) for label in labels]
    if names is not None and (len(names) < 2 or len(set(map(written, names))) < len(names)):
        raise InputError(f"`labels`: expected two or more different names, but got {names}.")
    return names


def label_names(table: Table, column: str) -> list[str]:
    """Names of the classes, from the labels that occur.

    Args:
        table: N rows.
        column: The column with the labels, some of which may be missing.

    Returns:
        The sorted labels; integers are sorted by size.

    Raises:
        InputError: If fewer than two different labels occur, or what occurs is no class: several
            labels for a text, real numbers, or something else for most rows.
    """
    values = table.columns[column][:]
    first = {written(value): row for row, value in reversed(list(enumerate(values)))}
    first.pop("", None)
    _check_each(table, column, values, sorted((row, name) for name, row in first.items()))
    _check_few(table, column, first, sum(written(value) != "" for value in values))
    if len(first) < 2:
        raise InputError(
            f"{table.source}: expected at least two different labels in column {column!r}, but "
            f"found {listed(first) or 'none'}. Name the column with `label_column`, or the "
            "classes with `labels`."
        )
    numeric = all(map(_INTEGER.fullmatch, first))
    return sorted(first, key=(lambda name: (int(name), name)) if numeric else None)


def class_numbers(
    table: Table, column: str, labels: Sequence[str], unknown: bool = False
) -> list[int]:
    """The class of every row.

    A label is the name of a class or, unless there are numbers among the names, its number.

    Args:
        table: N rows.
        column: The column with the labels.
        labels: Names of the C classes.
        unknown: Whether -1 marks an unknown label, unless it is the name of a class.

    Returns:
        Class numbers 0..C-1, `UNKNOWN` where there is no label (N,).

    Raises:
        InputError: If a label is no name, and no number below C.
    """
    numbers = {"": UNKNOWN, **_with_booleans(class_names(labels))}
    if unknown:
        numbers.setdefault("-1", UNKNOWN)
    values = table.columns[column][:]
    names = [written(value) for value in values]
    for row, name in enumerate(names):
        if name not in numbers:
            raise _unknown_label(table, row, column, values[row], labels)
    return [numbers[name] for name in names]


def class_names(labels: Sequence[str]) -> dict[str, int]:
    """The number of each class, by its name and, unless names are numbers, by its number."""
    numbers = {written(name): number for number, name in enumerate(labels)}
    if not any(map(_NUMBER.fullmatch, numbers)):
        numbers |= {str(number): number for number in range(len(labels))}
    return numbers


def spelt_alike(names: Iterable[str]) -> list[list[str]]:
    """Names that a person would take for one: they differ in case, white space or encoding."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _check_each(
    table: Table, column: str, values: Sequence[Any], names: Collection[tuple[int, str]]
) -> None:
    """Refuse labels that are no name of a single class."""
    parts = {name: _parts(name) for _, name in names}
    together = Counter(part for each in parts.values() if len(each) > 1 for part in {*each})
    for row, name in names:
        inner = parts[name]
        recurs = len(inner) > 1 and all(part in parts or together[part] > 1 for part in inner)
        if recurs or _several(values[row]):
            raise _several_labels(table, row, column, values[row])
        if _real(name):
            raise _real_number(table, row, column, values[row])


def _check_few(table: Table, column: str, first: Collection[str], total: int) -> None:
    """Refuse a column in which most rows have a label of their own."""
    if len(first) >= MANY and 2 * len(first) > total:
        raise InputError(
            f"{table.source}: expected classes in column {column!r}, but {total:,} rows have "
            f"{len(first):,} different labels: {listed(first, 5)}. Name another column with "
            "`label_column`, sort the values into a few classes, or name all of these with "
            "`labels`."
        )


def _parts(name: str) -> list[str]:
    return [part.strip() for part in _BETWEEN.split(name) if part.strip()]


def _several(value: Any) -> bool:
    """Whether a value lists labels, as Python, JSON, numpy or a spreadsheet would write it."""
    if not isinstance(value, str):
        return isinstance(value, (list, tuple, dict, set))
    text = value.strip()
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is None:
        return _NUMBERS.fullmatch(text) is not None
    inner = bracketed[1].strip()
    return not inner or bool(re.search(r"[|;,'\"]", inner) or re.match(r"[+-]?[\d.]", inner))


def _real(name: str) -> bool:
    return _NUMBER.fullmatch(name) is not None and _INTEGER.fullmatch(name) is None


def _with_booleans(numbers: Mapping[str, int]) -> dict[str, int]:
    """The numbers, also for True and False as pandas, JSON and spreadsheets write them."""
    every = dict(numbers)
    for digit, word in (("0", "False"), ("1", "True")):
        spelt = (word, word.lower(), word.upper())
        for name in spelt:
            number = next((numbers[one] for one in (*spelt, digit) if one in numbers), None)
            if number is not None:
                every.setdefault(name, number)
    return every


def _folded(name: str) -> str:
    if _INTEGER.fullmatch(name):
        return str(int(name))
    visible = "".join(char for char in normalize("NFKC", name) if category(char) != "Cf")
    return " ".join(visible.casefold().split())


def _unknown_label(
    table: Table, row: int, column: str, value: Any, labels: Sequence[str]
) -> InputError:
    name, names = written(value), listed(labels)
    alike = [label for label in labels if _folded(label) == _folded(name)]
    if _several(value):
        return _several_labels(table, row, column, value)
    if _real(name):
        return _real_number(table, row, column, value)
    if name == "-1":
        return InputError(
            f"{table.where(row)}: label -1 in column {column!r} is none of the classes {names}. "
            "Leave the label empty where it is unknown, or add the class to `labels`."
        )
    if _INTEGER.fullmatch(name) and not any(map(_NUMBER.fullmatch, labels)):
        return InputError(
            f"{table.where(row)}: label {name} in column {column!r} is outside the "
            f"{len(labels)} classes 0..{len(labels) - 1} ({names}). Correct the row or "
            "`labels`; a label that is unknown is left empty."
        )
    hint = f" {alike[0]!r} is spelt in another way." if alike else ""
    return InputError(
        f"{table.where(row)}: unknown label {value!r} in column {column!r}; the classes are "
        f"{names}.{hint} Correct the row, `labels` or `label_column`."
    )


def _several_labels(table: Table, row: int, column: str, value: Any) -> InputError:
    return InputError(
        f"{table.where(row)}: expected one class in column {column!r}, but got "
        f"{shortened(value)}: texts with several labels (multi-label) are not supported. Keep one "
        "label for each text, or name another column with `label_column`; if this is the "
        "name of one class, name all classes with `labels`."
    )


def _real_number(table: Table, row: int, column: str, value: Any) -> InputError:
    return InputError(
        f"{table.where(row)}: expected a class in column {column!r}, but got the real number "
        f"{value}: regression is not supported. Sort the numbers into classes, or name another "
        "column with `label_column`; if each number is a class, name them with `labels`."
    )
