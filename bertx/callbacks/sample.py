"""The examples that a callback explains: the same ones in every epoch and for any batch size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bertx.packing import Budget, chunks

_ROWS = ("input_ids", "special_tokens_mask", "word_ids", "offsets", "token_type_ids", "rationale")


@dataclass(frozen=True)
class Example:
    """One text.

    Attributes:
        index: Its number in the data set.
        label: Its class, -100 if unknown.
        text: The original text.
        tokens: Its t tokens without padding: ``input_ids``, ``special_tokens_mask``, ``word_ids``
            (t,), ``offsets`` (t, 2), and ``token_type_ids``, ``rationale`` (t,) where the data has
            them.
    """

    index: int
    label: int
    text: str
    tokens: dict[str, Tensor]


class Sample:
    """A fixed, seeded choice of a data set's rows, gathered from the batches that come by.

    Args:
        limit: How many examples at most; None for all.
        size: Number of rows of the data set, or None if it has no length: then the first ones are
            taken.
        stride: The number of ranks over which the rows are dealt out, and
        offset: this process's rank; both only count where a batch has no ``index``.
    """

    def __init__(
        self, limit: int | None, size: int | None, stride: int = 1, offset: int = 0
    ) -> None:
        self.examples: list[Example] = []
        self._limit, self._size, self._stride = limit, size, stride
        self._next = offset
        self._chosen = _choose(limit, size)

    @property
    def expected(self) -> int | None:
        """How many examples all ranks will have together; None if that is not known."""
        known = [number for number in (self._limit, self._size) if number is not None]
        return min(known, default=None)

    def add(self, batch: Mapping[str, Any]) -> None:
        """Take the chosen rows of a completed batch; rows that only fill a rank up are left."""
        for row, index in enumerate(self._numbers(batch)):
            if self._wants(index):
                mask = batch["attention_mask"][row].bool()
                tokens = {name: batch[name][row][mask] for name in _ROWS if name in batch}
                label, text = int(batch["labels"][row]), batch["text"][row]
                self.examples.append(Example(index, label, text, tokens))

    def chunks(self, budget: Budget) -> Iterator[list[Example]]:
        """The examples by length, in lists that are explained together."""
        yield from chunks(sorted(self.examples, key=lambda e: e.index), _length, budget)

    def _wants(self, index: int) -> bool:
        if index < 0 or (self._size is not None and index >= self._size):
            return False
        if self._chosen is not None:
            return index in self._chosen
        return self._limit is None or index < self._limit

    def _numbers(self, batch: Mapping[str, Any]) -> list[int]:
        if "index" in batch:
            return batch["index"].tolist()
        count = len(batch["input_ids"])
        first, self._next = self._next, self._next + count * self._stride
        return list(range(first, self._next, self._stride))


def _choose(limit: int | None, size: int | None) -> set[int] | None:
    if limit is None or size is None or limit >= size:
        return None
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    return set(order[:limit].tolist())


def _length(example: Example) -> int:
    return len(example.tokens["input_ids"])
