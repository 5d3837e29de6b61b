"""Texts that are read while they are used: any number of them in the memory of a few thousand."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import Dataset

from bertx.data.dataset import ESTIMATE_FROM, TextDataset, count_overlong
from bertx.data.datasets import Reader
from bertx.data.form import Form, Stretch
from bertx.data.reports import Tally, say_overlong
from bertx.errors import InputError

STRETCH = 4096
"""Rows that are in memory at once and sorted by length."""

_count = rank_zero_only(count_overlong, default=(0, True))  # by the process that reports it
_SAMPLED = 16  # one in so many texts is tokenised once an estimate will do


@dataclass(frozen=True)
class TextStream:
    """The texts of a split, also those without a word; every iteration reads them anew.

    Attributes:
        reader: What reads the split.
        split: Its name.
        form: How its tables become texts.
        rows: Rows of a stretch.
    """

    reader: Reader
    split: str
    form: Form
    rows: int = STRETCH

    def __iter__(self) -> Iterator[Stretch]:
        before = 0
        for table in self.reader.stream(self.split, self.rows):
            # JSON lines without a field that others have
            missing = {self.form.text, self.form.label} - {None, *table.columns}
            columns = {**table.columns, **{name: [None] * len(table) for name in missing if name}}
            table = replace(table, columns=columns)
            yield self.form.use(table, before, wordless=True)
            before += len(table) + len(table.left_out)


def survey(stream: TextStream, max_length: int) -> int:
    """Read all rows once, so that what is wrong with any of them is said before they are used.

    Args:
        stream: The rows.
        max_length: Texts with more tokens are reported.

    Returns:
        The number of texts.

    Raises:
        InputError: If the split cannot be read, a row is not a text with its label, or no text has
            a word.
    """
    tally, overlong, exact = Tally(), 0, True
    for stretch in stream:
        # Of the first texts all are tokenised, of the others some of every stretch.
        limit = stream.rows if tally.total < ESTIMATE_FROM else max(1, stream.rows // _SAMPLED)
        count, sure = _count(stretch.data.texts, stream.form.tokenizer, max_length, limit)
        overlong, exact = overlong + count, exact and sure
        tally.add(stretch)
    tally.report(stream.split)
    say_overlong(stream.split, overlong, exact, tally.usable, max_length)
    return tally.usable


class StreamedTexts(Dataset[dict[str, Any]]):
    """N texts to be read in order, from the first to the last.

    Within each stretch the longest come first, so that neighbours have similar
    lengths; ``index`` of an item is the number of the text's row in its source, counted from 0,
    with the rows that cannot be used. Items are those of `TextDataset`, with ``~i`` for a
    filler; one whose text is missing has an empty one, and says so as ``error``. Going back is
    possible, but begins to read from the start. Every process that reads has a place of its own.

    Args:
        stream: The texts.
        count: Their number N.

    Raises:
        InputError: While reading, if there are fewer than N texts by now.
    """

    def __init__(self, stream: TextStream, count: int) -> None:
        self.stream = stream
        self._count = count
        self._leave()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, places: int | Sequence[int]) -> Any:
        """One item, or a list of them for a list of places."""
        if isinstance(places, int):
            return self._item(places)
        return [self._item(place) for place in places]

    def __getstate__(self) -> dict[str, Any]:
        return {"stream": self.stream, "_count": self._count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._leave()

    def _leave(self) -> None:
        self._stretches: Iterator[Stretch] = iter(())
        self._first, self._order = 0, torch.empty(0, dtype=torch.long)
        self._data, self._numbers = TextDataset([], []), list[int]()
        self._missing: dict[int, str] = {}
        self._process = -1

    def _item(self, place: int) -> dict[str, Any]:
        wanted = place if place >= 0 else ~place
        if wanted >= self._count:
            raise IndexError(f"place {place} of {self._count}")
        # A forked process shares the file's position with its parent: it opens the file anew.
        if wanted < self._first or self._process != os.getpid():
            self._leave()
            self._stretches, self._process = iter(self.stream), os.getpid()
        while wanted >= self._first + len(self._data):
            self._advance(wanted)
        row = int(self._order[wanted - self._first])
        item = {**self._data[row], "index": self._numbers[row] if place >= 0 else -1}
        return {**item, "error": self._missing[row]} if row in self._missing else item

    def _advance(self, wanted: int) -> None:
        stretch = next(self._stretches, None)
        if stretch is None:
            raise InputError(
                f"{self.stream.split}: expected {self._count:,} texts as before, but text "
                f"{wanted + 1:,} is gone. Leave the data as it is while it is read."
            )
        self._first += len(self._data)
        self._data, self._numbers = stretch.data, stretch.numbers
        self._missing = stretch.missing
        lengths = torch.tensor(stretch.data.lengths, dtype=torch.long)
        self._order = lengths.argsort(descending=True, stable=True)
