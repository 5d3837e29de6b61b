"""The splits of a data set: in memory, divided where validation texts are missing, or streamed."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import Dataset

from bertx.data.dataset import TextDataset, hold_out
from bertx.data.examples import Examples, Form
from bertx.data.loading import token_counts
from bertx.data.reports import (
    ESTIMATE_FROM,
    Tally,
    count_overlong,
    report_unlabelled,
    say_overlong,
)
from bertx.data.sources import Reader
from bertx.data.table import Table, listed
from bertx.errors import InputError

STRETCH = 4096
"""Rows that are in memory at once and sorted by length."""

_count = rank_zero_only(count_overlong, default=(0, True))  # by the process that reports it
_SAMPLED = 16  # one in so many texts is tokenized once an estimate will do


class Splits:
    """The texts of each split; each is read when first asked for, and what is wrong is reported.

    Args:
        reader: What reads the tables.
        form: How the tables of a split become examples, given its name, one of them, whether a
            column of labels may be missing, and whether -1 marks an unknown label in any source.
        held_out: Share of the training texts held out, by class, where the data set has no
            validation split.
        seed: Seed of the choice.
    """

    def __init__(
        self,
        reader: Reader,
        form: Callable[[str, Table, bool, bool], Form],
        held_out: float,
        seed: int,
    ) -> None:
        self.reader = reader
        self.form = form
        self.held_out = held_out
        self.seed = seed
        self._tables: dict[str, Table] = {}
        self._labelled: dict[str, TextDataset] = {}

    def table(self, split: str) -> Table:
        """The rows of ``split``, kept until its texts are asked for."""
        if split not in self._tables:
            (self._tables[split],) = self.reader.tables(split)
        return self._tables[split]

    def of(self, split: str) -> TextDataset:
        """The labelled texts of a split, held out from training where there is no validation split.

        Raises:
            InputError: If none can be held out; as `labelled`.
        """
        if split == "test" or self.reader.has("validation"):
            return self.labelled(split)
        whole = self.labelled("train")
        kept, held_out = hold_out(whole.labels, self.held_out, self.seed)
        if split == "train":
            return whole.select(kept)
        if not held_out:
            raise InputError(
                "train: expected two texts of a class, to hold one out for validation, but each "
                "class has one. Add texts, or a validation split."
            )
        return whole.select(held_out)

    def labelled(self, split: str) -> TextDataset:
        """The usable texts of ``split`` whose label is known.

        Raises:
            InputError: If there are none, or the split cannot be read.
        """
        if split not in self._labelled:
            table = self.table(split)
            data = self.usable(split, unlabelled=split != "train")
            rows = data.labelled()
            if not rows:
                raise _no_labels(split, table.source, table.columns)
            report_unlabelled(split, len(data) - len(rows), len(data))
            self._labelled[split] = data.select(rows)
        return self._labelled[split]

    def usable(self, split: str, unlabelled: bool, unknown: bool = False) -> TextDataset:
        """The texts of ``split`` that the tokenizer can use, whether their label is known or not.

        Args:
            split: Its name.
            unlabelled: Whether a column of labels may be missing.
            unknown: Whether -1 marks an unknown label in any source, unless it is a class.
        """
        tally, form = Tally(), self.form(split, self.table(split), unlabelled, unknown)
        data = form.read(self._tables.pop(split), tally).data
        tally.report(split)
        return data

    def streamed(self, max_length: int) -> "StreamedTexts":
        """The texts of the ``predict`` split or, without one, of the test split.

        Those without a word are among them, as special tokens only, so that each row has a
        prediction.

        Args:
            max_length: Texts with more tokens are reported.
        """
        split = "predict" if self.reader.has("predict") else "test"
        form = self.form(split, next(self.reader.tables(split, STRETCH)), True, True)
        return StreamedTexts(self.reader, split, form, max_length, STRETCH)


class StreamedTexts(Dataset[dict[str, Any]]):
    """The texts of a split to be read in order, from the first to the last: any number of them.

    All are read once before, so that what is wrong with any of them is said before they are used.
    Within each stretch the longest come first, so that neighbours have similar
    lengths; ``index`` of an item is the number of the text's row in its source, counted from 0,
    with the rows that cannot be used. Items are those of `TextDataset`, with ``~i`` for a
    filler; one whose text is missing has an empty one, and says so as ``error``. Going back is
    possible, but begins to read from the start. Every process that reads has a place of its own.

    Args:
        reader: What reads the split.
        split: Its name.
        form: How its tables become examples.
        max_length: Texts with more tokens are reported.
        rows: Rows of a stretch.

    Raises:
        InputError: If the split cannot be read, a row is not a text with its label, or no text has
            a word; while reading, if there are fewer texts by now.
    """

    def __init__(
        self, reader: Reader, split: str, form: Form, max_length: int, rows: int = STRETCH
    ) -> None:
        self.reader = reader
        self.split = split
        self.form = form
        self.rows = rows
        self._leave()
        self._count = self._survey(max_length)

    def _leave(self) -> None:
        self._stretches: Iterator[Examples] = iter(())
        self._first, self._process = 0, -1
        self._items: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> dict[str, Any]:
        wanted = place if place >= 0 else ~place
        if wanted >= self._count:
            raise IndexError(f"place {place} of {self._count}")
        # A forked process shares the file's position with its parent: it opens the file anew.
        if wanted < self._first or self._process != os.getpid():
            self._leave()
            self._stretches, self._process = self._read(Tally()), os.getpid()
        while wanted >= self._first + len(self._items):
            self._advance(wanted)
        item = self._items[wanted - self._first]
        return item if place >= 0 else {**item, "index": -1}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stretches": iter(()), "_process": -1}

    def _read(self, tally: Tally) -> Iterator[Examples]:
        for table in self.reader.tables(self.split, self.rows):
            # JSON lines without a field that others have
            missing = {self.form.text, self.form.label} - {None, *table.columns}
            columns = {**table.columns, **{name: [None] * len(table) for name in missing if name}}
            yield self.form.read(replace(table, columns=columns), tally, wordless=True)

    def _survey(self, max_length: int) -> int:
        """Read all rows once, report what is remarkable, and count the texts."""
        tally, overlong, exact, before = Tally(), 0, True, 0
        for data, *_ in self._read(tally):
            # Of the first texts all are tokenized, of the others some of every stretch.
            limit = self.rows if before < ESTIMATE_FROM else max(1, self.rows // _SAMPLED)
            count, sure = _count(data.texts, self.form.tokenizer, max_length, limit)
            overlong, exact, before = overlong + count, exact and sure, tally.total
        tally.report(self.split)
        say_overlong(self.split, overlong, exact, tally.used, max_length)
        return tally.used

    def token_counts(self, max_length: int) -> Iterator[int]:
        """About how many tokens each text has, place by place, from reading all once more."""
        for data, *_ in self._read(Tally()):
            texts = [data.texts[i] for i in _longest_first(data.texts)]
            yield from token_counts(texts, self.form.tokenizer, max_length)

    def _advance(self, wanted: int) -> None:
        stretch = next(self._stretches, None)
        if stretch is None:
            raise InputError(
                f"{self.split}: expected {self._count:,} texts as before, but text "
                f"{wanted + 1:,} is gone. Leave the data as it is while it is read."
            )
        data, numbers, errors = stretch
        self._first += len(self._items)
        self._items = [
            {**data[i], "index": numbers[i]} | ({"error": errors[i]} if i in errors else {})
            for i in _longest_first(data.texts)
        ]


def _longest_first(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: -len(texts[i]))


def _no_labels(split: str, source: str, columns: Iterable[str]) -> InputError:
    """The error of a split that is used with labels and has none."""
    return InputError(
        f"{split}: expected labels, but {source} has no label column, or no label in it is known. "
        f"Its columns are {listed(columns)}. Name the one of the labels with `label_column`; "
        "predict takes texts without labels."
    )
