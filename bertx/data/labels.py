"""Class names and class numbers, read from what people write into a column of labels."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unicodedata import category, normalize

from bertx.data.table import Table, is_missing, listed, shortened
from bertx.errors import InputError
from bertx.models.inputs import UNKNOWN

ClassName = str | int | float | bool | None
"""The name of a class as YAML may read it."""

MANY = 20
"""From this number of classes on, it is an error if more than half of the rows differ in label."""

_INTEGER = re.compile(r"[+-]?\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SEPARATOR = re.compile(r"[|;,]")
_NUMBERS = re.compile(r"[+-]?\d+(\.\d*)?((\s*[|;,]\s*|\s+)[+-]?\d+(\.\d*)?)+")
_BRACKETED = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
_MISSING = {"nan", "NaN", "<NA>"}  # missing values that pandas has converted to text


def label_text(label: Any) -> str:
    """Return a label as text: 1, 1.0 (which integers become beside NaN), "1" and "1.0" are equal.

    Returns:
        The text without surrounding white space; empty if the label is missing.
    """
    if is_missing(label):
        return ""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    text = str(label).strip()
    if text in _MISSING:
        return ""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def checked_labels(labels: Sequence[ClassName] | None) -> list[str] | None:
    """Return the names of the classes as given, numbers as text.

    Raises:
        InputError: If there are fewer than two different names, or YAML has read one as a Boolean
            or null.
    """
    if labels is None:
        return None
    for label in labels:
        if label is None or isinstance(label, bool):
            raise InputError(
                f"`labels`: expected names, but one of them is {label!r}. Without quotes, "
                "YAML reads yes, no, on, off, true and false as Booleans, and null and ~ as null. "
                'Quote them: `labels`=\'["no", "yes"]\'.'
            )
    names = [str(label) for label in labels]
    if len(names) < 2 or len(set(map(label_text, names))) < len(names):
        raise InputError(f"`labels`: expected two or more different names, but got {names}.")
    return names


def label_names(table: Table, column: str) -> list[str]:
    """Return the names of the classes, which are the labels that occur.

    Args:
        table: N rows.
        column: The column of the labels, some of which may be missing.

    Returns:
        The sorted labels; integers are sorted by size.

    Raises:
        InputError: If fewer than two different labels occur, or the labels are not classes: several
            labels for a text, real numbers, or a different label for most rows.
    """
    values = table.columns[column][:]
    names = [label_text(value) for value in values]
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        first.setdefault(name, row)
    first.pop("", None)
    _check_single(table, column, values, first)
    labelled = len(names) - names.count("")
    if len(first) >= MANY and 2 * len(first) > labelled:
        raise InputError(
            f"{table.source}: expected classes in column {column!r}, but {labelled:,} rows have "
            f"{len(first):,} different labels: {listed(first, 5)}. Name another column with "
            "`label_column`, sort the values into a few classes, or name all of these with "
            "`labels`."
        )
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
    """Return the class number of every row.

    A label is the name of a class or, unless some names are numbers, its number.

    Args:
        table: N rows.
        column: The column of the labels.
        labels: Names of the C classes.
        unknown: Whether -1 marks an unknown label, unless it is the name of a class.

    Returns:
        Class numbers 0..C-1, `UNKNOWN` where the label is missing (N,).

    Raises:
        InputError: If a label is neither the name nor the number of a class.
    """
    numbers = {"": UNKNOWN, **_with_booleans(numbers_by_name(labels))}
    if unknown:
        numbers.setdefault("-1", UNKNOWN)
    values = table.columns[column][:]
    names = [label_text(value) for value in values]
    for row, name in enumerate(names):
        if name not in numbers:
            raise _unknown_label(table, row, column, values[row], labels)
    return [numbers[name] for name in names]


def numbers_by_name(labels: Sequence[str]) -> dict[str, int]:
    """Return each class number by its name and, unless some names are numbers, by its digits."""
    numbers = {label_text(name): number for number, name in enumerate(labels)}
    if not any(map(_NUMBER.fullmatch, numbers)):
        numbers |= {str(number): number for number in range(len(labels))}
    return numbers


def spelt_alike(names: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in case, white space, encoding or leading zeros."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _check_single(
    table: Table, column: str, values: Sequence[Any], first: Mapping[str, int]
) -> None:
    """Refuse labels that do not name a single class, given the first row of each label."""
    parts = {name: _parts(name) for name in first}
    recurring = Counter(part for each in parts.values() if len(each) > 1 for part in {*each})
    for name, row in first.items():
        combined = len(parts[name]) > 1 and all(
            part in parts or recurring[part] > 1 for part in parts[name]
        )
        if combined or _lists_labels(values[row]):
            raise _several_labels(table, row, column, values[row])
        if _is_real(name):
            raise _real_number(table, row, column, values[row])


def _parts(name: str) -> list[str]:
    return [part.strip() for part in _SEPARATOR.split(name) if part.strip()]


def _lists_labels(value: Any) -> bool:
    """Return whether a value is a list of labels, or one as Python, JSON or numpy prints it."""
    if not isinstance(value, str):
        return isinstance(value, (list, tuple, dict, set))
    text = value.strip()
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed is None:
        return _NUMBERS.fullmatch(text) is not None
    inner = bracketed[1].strip()
    return not inner or bool(re.search(r"[|;,'\"]", inner) or re.match(r"[+-]?[\d.]", inner))


def _is_real(name: str) -> bool:
    return _NUMBER.fullmatch(name) is not None and _INTEGER.fullmatch(name) is None


def _with_booleans(numbers: Mapping[str, int]) -> dict[str, int]:
    """Add True and False, as pandas, JSON and spreadsheets write them, for 1 and 0."""
    extended = dict(numbers)
    for digit, word in (("0", "False"), ("1", "True")):
        spellings = (word, word.lower(), word.upper())
        given = [numbers[name] for name in (*spellings, digit) if name in numbers]
        if given:
            extended = {**dict.fromkeys(spellings, given[0]), **extended}
    return extended


def _folded(name: str) -> str:
    """Return the form that names which look alike share."""
    if _INTEGER.fullmatch(name):
        return str(int(name))
    visible = "".join(char for char in normalize("NFKC", name) if category(char) != "Cf")
    return " ".join(visible.casefold().split())


def _unknown_label(
    table: Table, row: int, column: str, value: Any, labels: Sequence[str]
) -> InputError:
    name, names = label_text(value), listed(labels)
    alike = [label for label in labels if _folded(label) == _folded(name)]
    if _lists_labels(value):
        return _several_labels(table, row, column, value)
    if _is_real(name):
        return _real_number(table, row, column, value)
    if name == "-1":
        return InputError(
            f"{table.where(row)}: label -1 in column {column!r} is not one of the classes {names}. "
            "Leave unknown labels empty, or add the class to `labels`."
        )
    if _INTEGER.fullmatch(name) and not any(map(_NUMBER.fullmatch, labels)):
        return InputError(
            f"{table.where(row)}: label {name} in column {column!r} is outside the "
            f"{len(labels)} classes 0..{len(labels) - 1} ({names}). Correct the row or "
            "`labels`; leave unknown labels empty."
        )
    hint = f" {alike[0]!r} is spelt differently." if alike else ""
    return InputError(
        f"{table.where(row)}: unknown label {value!r} in column {column!r}; the classes are "
        f"{names}.{hint} Correct the row, `labels` or `label_column`."
    )


def _several_labels(table: Table, row: int, column: str, value: Any) -> InputError:
    return InputError(
        f"{table.where(row)}: expected one class in column {column!r}, but got "
        f"{shortened(value)}: texts with several labels (multi-label) are not supported. Keep one "
        "label per text, or name another column with `label_column`; if this is the "
        "name of one class, name all classes with `labels`."
    )


def _real_number(table: Table, row: int, column: str, value: Any) -> InputError:
    return InputError(
        f"{table.where(row)}: expected a class in column {column!r}, but got the real number "
        f"{value}: regression is not supported. Sort the numbers into classes, or name another "
        "column with `label_column`; if each number is a class, name them with `labels`."
    )
