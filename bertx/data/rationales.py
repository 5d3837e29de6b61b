"""Rationales of data sets: a mark for each token, or spans of characters."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from bertx.data.table import Spans, Table, shortened

RATIONALE = "rationale"
"""Column of the rationales."""

Annotated = tuple[str | None, Spans]
"""A text, None if it is missing, and the spans that decide its label."""


class Unusable(ValueError):
    """A row that cannot be used: what was expected, what came and what to do."""


def annotate(table: Table, text: str) -> Table:
    """Join texts that are lists of tokens, and read the rationales of all texts.

    A list of tokens becomes a text with a space between any two of them. Its rationale is a list of
    marks, 0 or 1 for each token, or several such lists, one per annotator: a token is then marked
    if at least half of the annotators marked it. If the text is a string, its rationale is a list
    of spans [start, end] of its characters, the end exclusive. Adjacent marked tokens form one
    span. A missing or empty rationale marks nothing.

    Args:
        table: N rows. It is returned as it is if its rationales have been read already, or if its
            column ``rationale`` has no lists.
        text: Column of the texts.

    Returns:
        The usable rows; the reasons of the others are in ``unusable``.
    """
    values = table.columns[text][:]
    marks = table.columns.get(RATIONALE, [None] * len(table))[:]
    marked = any(isinstance(mark, list) for mark in marks)
    if table.rationales is not None or not (marked or any(isinstance(v, list) for v in values)):
        return table
    read = read_rows(table, text, lambda row: _annotated(values[row], marks[row]))
    return read if marked else replace(read, rationales=None)


def read_rows(table: Table, text: str, read: Callable[[int], Annotated]) -> Table:
    """Read the text and the rationale of every row.

    Args:
        table: N rows.
        text: Column of the texts in the result.
        read: Reads a row; raises `Unusable` if it cannot be used.

    Returns:
        The usable rows; the reasons of the others are in ``unusable``.
    """
    rows: dict[int, Annotated] = {}
    unusable = list(table.unusable)
    for row in range(len(table)):
        try:
            rows[row] = read(row)
        except Unusable as error:
            unusable.append(f"{table.where(row)}: {error}")
    kept = table.select(list(rows))
    columns = {**kept.columns, text: [value for value, _ in rows.values()]}
    rationales = [spans for _, spans in rows.values()]
    return replace(kept, columns=columns, rationales=rationales, unusable=unusable)


def merge(spans: Iterable[tuple[int, int]]) -> Spans:
    """Sort spans, merge overlapping ones and drop empty ones.

    Examples:
        >>> merge([(7, 9), (0, 3), (2, 5), (6, 6)])
        ((0, 5), (7, 9))
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def _annotated(text: Any, marks: Any) -> Annotated:
    if text is None:
        return text, ()
    if isinstance(text, str):
        return text, _spans(text, marks)
    if not isinstance(text, list) or not all(isinstance(token, str) for token in text):
        raise Unusable(
            f"expected a text or a list of tokens, but got {shortened(text)}. Correct the row."
        )
    return " ".join(text), _token_spans(text, marks)


def _spans(text: str, spans: Any) -> Spans:
    """Check and merge the spans of a text."""
    checked = []
    for span in _listed(spans):
        match span:
            case [int(start), int(end)] if 0 <= start <= end <= len(text):
                checked.append((start, end))
            case _:
                raise Unusable(
                    f"expected spans [start, end] within the {len(text):,} characters of the text "
                    f"in column {RATIONALE!r}, but got {shortened(span)}. Correct the row, or name "
                    "the column of the tokens with `text_column` if these are marks of tokens."
                )
    return merge(checked)


def _token_spans(tokens: Sequence[str], marks: Any) -> Spans:
    """Return the spans of marked tokens in the text with a space between any two tokens."""
    marked = _majority(len(tokens), _listed(marks))
    spans: list[tuple[int, int]] = []
    start, before = 0, False
    for token, mark in zip(tokens, marked, strict=True):
        end = start + len(token)
        if mark and before:
            spans[-1] = (spans[-1][0], end)
        elif mark:
            spans.append((start, end))
        start, before = end + 1, mark
    return merge(spans)


def _majority(count: int, marks: list[Any]) -> list[bool]:
    """Return which of ``count`` tokens at least half of the annotators marked."""
    annotators = marks if all(isinstance(mark, list) for mark in marks) else [marks]
    for annotator in annotators:
        if len(annotator) != count or any(mark not in (0, 1) for mark in annotator):
            raise Unusable(
                f"expected a mark, 0 or 1, for each of {count:,} tokens in column {RATIONALE!r}, "
                f"but got {len(annotator):,}: {shortened(annotator)}. Correct the row."
            )
    if not annotators:
        return [False] * count
    return [2 * sum(column) >= len(annotators) for column in zip(*annotators, strict=True)]


def _listed(marks: Any) -> list[Any]:
    if marks is None:
        return []
    if not isinstance(marks, list):
        raise Unusable(
            f"expected a list in column {RATIONALE!r}, as in other rows, but got "
            f"{shortened(marks)}. Correct the row."
        )
    return marks
