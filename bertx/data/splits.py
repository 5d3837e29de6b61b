"""The splits of a data set: in memory, held out if there are no validation texts, or streamed."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from bertx.data.dataset import TextDataset, hold_out
from bertx.data.examples import ExampleReader, Examples
from bertx.data.loading import token_counts
from bertx.data.reports import (
    ESTIMATE_FROM,
    Tally,
    count_overlong,
    report_overlong,
    report_unlabelled,
)
from bertx.data.sources import SplitReader
from bertx.data.table import Table, listed
from bertx.errors import InputError

CHUNK = 4096
"""Number of streamed rows that are in memory at once and sorted by length."""

_SAMPLED = 16  # one of this many texts is tokenized where an estimate is enough


class Splits:
    """The texts of each split, read on first access; what cannot be used is reported.

    Args:
        reader: Reads the tables.
        example_reader: Returns what reads the examples of a split, given the split's name, one of
            its tables, whether the column of labels may be missing, and whether -1 marks an
            unknown label in any source.
        held_out: Share of the training texts held out, by class, if there is no validation split.
        seed: Seed of the choice.
    """

    def __init__(
        self,
        reader: SplitReader,
        example_reader: Callable[[str, Table, bool, bool], ExampleReader],
        held_out: float,
        seed: int,
    ) -> None:
        self.reader = reader
        self.example_reader = example_reader
        self.held_out = held_out
        self.seed = seed
        self._tables: dict[str, Table] = {}
        self._labelled: dict[str, TextDataset] = {}

    def table(self, split: str) -> Table:
        """Return the rows of ``split``, which are kept until its texts are read."""
        if split not in self._tables:
            (self._tables[split],) = self.reader.tables(split)
        return self._tables[split]

    def of(self, split: str) -> TextDataset:
        """Return the labelled texts of a split; without a validation split, some are held out.

        Raises:
            InputError: As `labelled`, and if no text can be held out.
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
        """Return the usable texts of ``split`` that have a label.

        Raises:
            InputError: If there are none, or the split cannot be read.
        """
        if split not in self._labelled:
            table = self.table(split)
            data = self.usable(split, unlabelled=split != "train")
            rows = data.labelled()
            if not rows:
                raise InputError(
                    f"{split}: expected labels, but {table.source} has no label column, or all its "
                    f"labels are unknown. Its columns are {listed(table.columns)}. Name the column "
                    "of the labels with `label_column`; predict takes texts without labels."
                )
            report_unlabelled(split, len(data) - len(rows), len(data))
            self._labelled[split] = data.select(rows)
        return self._labelled[split]

    def usable(self, split: str, unlabelled: bool, unknown: bool = False) -> TextDataset:
        """Return the texts of ``split`` that have a word, with or without a label.

        Args:
            split: Name of the split.
            unlabelled: Whether the column of labels may be missing.
            unknown: Whether -1 marks an unknown label in any source, unless it is a class.
        """
        reader = self.example_reader(split, self.table(split), unlabelled, unknown)
        tally = Tally()
        data = reader.read(self._tables.pop(split), tally).data
        tally.report(split)
        return data

    def streamed(self, max_length: int) -> "StreamedTexts":
        """Return the texts of the ``predict`` split or, without one, of the test split.

        Texts without a word are included, so that each row has a prediction.

        Args:
            max_length: Texts with more tokens are reported.
        """
        split = "predict" if self.reader.has("predict") else "test"
        first = next(self.reader.tables(split, CHUNK))
        reader = self.example_reader(split, first, True, True)
        return StreamedTexts(self.reader, split, reader, max_length, CHUNK)


class StreamedTexts(Dataset[dict[str, Any]]):
    """The texts of a split of any size, to be read in order.

    All rows are read once at construction, so that errors are raised before any text is used. Each
    chunk is sorted by length, the longest texts first, so that neighbours have similar lengths. The
    ``index`` of an item is the number of its row in the source, counted from 0, unused rows
    included. Items are otherwise as in `TextDataset`, with ``~i`` for a filler. If a text is
    missing, its item has an empty text and an ``error``. Going back restarts at the first row. Each
    process keeps its own position.

    Args:
        reader: Reads the tables of the split.
        split: Name of the split.
        example_reader: Reads the examples of its tables.
        max_length: Texts with more tokens are reported.
        rows: Rows of a chunk.

    Raises:
        InputError: If the split cannot be read, a value is not text, a label is not one of the
            classes, or no text has a word. While reading, if texts have been removed since.
    """

    def __init__(
        self,
        reader: SplitReader,
        split: str,
        example_reader: ExampleReader,
        max_length: int,
        rows: int = CHUNK,
    ) -> None:
        self.reader = reader
        self.split = split
        self.example_reader = example_reader
        self.rows = rows
        self._rewind()
        self._count = self._survey(max_length)

    def _rewind(self) -> None:
        self._chunks: Iterator[Examples] = iter(())
        self._first, self._process = 0, -1
        self._items: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> dict[str, Any]:
        wanted = place if place >= 0 else ~place
        if wanted >= self._count:
            raise IndexError(f"place {place} of {self._count}")
        # A forked process shares the file's position with its parent, so it opens the file anew.
        if wanted < self._first or self._process != os.getpid():
            self._rewind()
            self._chunks, self._process = self._read(Tally()), os.getpid()
        while wanted >= self._first + len(self._items):
            self._advance(wanted)
        item = self._items[wanted - self._first]
        return item if place >= 0 else {**item, "index": -1}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_chunks": iter(()), "_process": -1}

    def _read(self, tally: Tally) -> Iterator[Examples]:
        reader = self.example_reader
        for table in self.reader.tables(self.split, self.rows):
            # No JSON object of this chunk may have a field that objects of other chunks have.
            gaps = {name: [None] * len(table) for name in (reader.text, reader.label) if name}
            table = replace(table, columns={**gaps, **table.columns})
            yield reader.read(table, tally, wordless=True)

    def _survey(self, max_length: int) -> int:
        """Read all rows, report what cannot be used, and count the texts."""
        tally, overlong, exact, before = Tally(), 0, True, 0
        tokenizer = self.example_reader.tokenizer
        for examples in self._read(tally):
            # All of the first texts are tokenized, and then a sample of every chunk.
            limit = self.rows if before < ESTIMATE_FROM else max(1, self.rows // _SAMPLED)
            count, sure = count_overlong(examples.data.texts, tokenizer, max_length, limit)
            overlong, exact, before = overlong + count, exact and sure, tally.total
        tally.report(self.split)
        report_overlong(self.split, overlong, exact, tally.used, max_length)
        return tally.used

    def token_counts(self, max_length: int) -> Iterator[int]:
        """Yield about how many tokens each text has, in order, by reading all rows once more."""
        for examples in self._read(Tally()):
            texts = examples.data.texts
            ordered = [texts[i] for i in _longest_first(texts)]
            yield from token_counts(ordered, self.example_reader.tokenizer, max_length)

    def _advance(self, wanted: int) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise InputError(
                f"{self.split}: expected {self._count:,} texts as before, but text "
                f"{wanted + 1:,} is gone. Do not change the data while it is read."
            )
        self._first += len(self._items)
        self._items = []
        for i in _longest_first(chunk.data.texts):
            item = {**chunk.data[i], "index": chunk.numbers[i]}
            if i in chunk.errors:
                item["error"] = chunk.errors[i]
            self._items.append(item)


def _longest_first(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda i: -len(texts[i]))
