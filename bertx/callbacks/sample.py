"""The examples that a callback explains: the same ones in every epoch and for any batch size."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch import Tensor
from torch.utils.data import BatchSampler, DistributedSampler

from bertx.models.encode import Reading


class Sample:
    """A fixed, seeded choice of a data set's rows, gathered from the batches that come by.

    Args:
        limit: How many examples at most; None for all.
        size: Number of rows of the data set, or None if it has no length: then the first ones are
            taken.
        stride: The number of ranks over which the rows are dealt out, and
        offset: this process's rank, from which the place of each row follows: its number where a
            batch has no ``index``.
        dealt: Number of places that hold a row of their own, see `rows_dealt`; None if unknown.
        once: Whether a row that comes again is left, which takes memory for each one.
    """

    def __init__(
        self,
        limit: int | None,
        size: int | None,
        stride: int = 1,
        offset: int = 0,
        dealt: int | None = None,
        once: bool = False,
    ) -> None:
        self.examples: list[Reading] = []
        self._limit, self._size, self._stride = limit, size, stride
        self._next, self._dealt = offset, dealt
        self._seen: set[int] | None = set() if once else None
        self._chosen = _choose(limit, size)

    @property
    def expected(self) -> int | None:
        """How many examples all ranks have together if all rows come by; None if unknown."""
        if self._size is None or self._limit is None:
            return self._size
        return min(self._limit, self._size)

    def add(self, batch: Any, read: Callable[[Any], list[Reading]]) -> None:
        """Take the chosen rows of a batch; rows that only fill a rank up are left.

        Args:
            batch: A batch.
            read: Reads its texts. It gets the chosen rows alone, and no batch without any.
        """
        if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), Tensor):
            read(batch)  # says what is wrong with it
        chosen = {r: n for r, n in enumerate(self._numbers(batch)) if self._takes(n)}
        if not chosen:
            return
        readings = read(_cut(batch, list(chosen)))
        numbered = zip(readings, chosen.values(), strict=True)
        self.examples += [replace(example, index=number) for example, number in numbered]

    def drawn(self) -> list[Reading]:
        """The examples in the random order by which they are chosen.

        The first n of all are those that a sample of n has.
        """
        if self._size is None:
            return sorted(self.examples, key=lambda e: e.index)
        places = _order(self._size).argsort().tolist()
        return sorted(self.examples, key=lambda e: places[e.index])

    def _takes(self, index: int) -> bool:
        if index < 0 or (self._size is not None and index >= self._size):
            return False
        if self._chosen is not None:
            chosen = index in self._chosen
        else:
            chosen = self._limit is None or index < self._limit
        if not chosen or self._seen is None:
            return chosen
        fresh = index not in self._seen
        self._seen.add(index)
        return fresh

    def _numbers(self, batch: Mapping[str, Any]) -> list[int]:
        """The number of each row; -1 for those that only fill this rank up."""
        first, self._next = self._next, self._next + len(batch["input_ids"]) * self._stride
        places = list(range(first, self._next, self._stride))
        numbers = torch.as_tensor(batch["index"]).tolist() if "index" in batch else places
        if self._dealt is None:
            return numbers
        pairs = zip(numbers, places, strict=True)
        return [number if place < self._dealt else -1 for number, place in pairs]


def rows_dealt(loader: Any, ranks: int) -> int | None:
    """How many rows a loader deals out to the ranks, turn by turn, before it begins again.

    It begins again where a rank would have fewer rows than another.

    Args:
        loader: What makes the batches.
        ranks: Number of processes.

    Returns:
        The number, or None where another sampler than the one that Lightning puts into a loader
        shares the rows out.
    """
    batches: Any = getattr(loader, "batch_sampler", None)
    sampler: Any = batches.sampler if type(batches) is BatchSampler else None
    if type(sampler) not in (DistributedSampler, DistributedSamplerWrapper):
        return None
    return len(sampler.dataset) if sampler.num_replicas == ranks else None


def _cut(batch: Mapping[str, Any], rows: list[int]) -> dict[str, Any]:
    """These rows of everything that a batch has for each text."""
    count = len(batch["input_ids"])
    if len(rows) == count:
        return dict(batch)
    return {name: _part(value, count, rows) for name, value in batch.items()}


def _part(value: Any, count: int, rows: list[int]) -> Any:
    if isinstance(value, (Tensor, np.ndarray)) and value.shape[:1] == (count,):
        return value[rows]
    if isinstance(value, (list, tuple)) and len(value) == count:
        return [value[row] for row in rows]
    return value


def _choose(limit: int | None, size: int | None) -> set[int] | None:
    if limit is None or size is None or limit >= size:
        return None
    return set(_order(size)[:limit].tolist())


def _order(size: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))
