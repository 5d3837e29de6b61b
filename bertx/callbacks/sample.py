"""The sample of examples that a callback explains, equal in every epoch and for any batch size."""

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
    """A fixed, seeded sample of a data set's rows, collected from batches.

    Where batches have no ``index``, a row's index follows from its position: ranks take turns.

    Args:
        limit: Size of the sample; None for all rows.
        size: Number of rows of the data set; None if it has no length. Then the first rows are
            taken.
        ranks: Number of ranks that share the rows.
        rank: This process's rank.
        dealt: Number of rows before a sampler repeats some, see `rows_dealt`; None if unknown.
        once: Whether repeated rows are ignored, which takes memory for each row.
    """

    def __init__(
        self,
        limit: int | None,
        size: int | None,
        ranks: int = 1,
        rank: int = 0,
        dealt: int | None = None,
        once: bool = False,
    ) -> None:
        self.examples: list[Reading] = []
        self._limit, self._size, self._ranks = limit, size, ranks
        self._next_position, self._dealt = rank, dealt
        self._seen: set[int] | None = set() if once else None
        self._chosen: set[int] | None = None
        if limit is not None and size is not None and limit < size:
            self._chosen = set(_order(size)[:limit].tolist())

    @property
    def expected(self) -> int | None:
        """Number of examples on all ranks together after all rows were added; None if unknown."""
        if self._size is None or self._limit is None:
            return self._size
        return min(self._limit, self._size)

    def can_grow(self, count: int) -> bool:
        """Return whether a larger limit would add examples to the ``count`` on all ranks."""
        if self._size is None:
            return self._limit is not None and count >= self._limit
        return self._chosen is not None

    def add(self, batch: Any, read: Callable[[Any], list[Reading]]) -> None:
        """Add the sampled rows of a batch, without rows that only pad a rank.

        Args:
            batch: A batch.
            read: Reads the texts of a batch. It is called with the sampled rows alone.
        """
        if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), Tensor):
            read(batch)  # raises an error that says what is wrong with the batch
        taken = {row: i for row, i in enumerate(self._indices(batch)) if self._takes(i)}
        if taken:
            readings = read(_rows_of(batch, list(taken)))
            indexed = zip(readings, taken.values(), strict=True)
            self.examples += [replace(reading, index=index) for reading, index in indexed]

    def shuffled(self) -> list[Reading]:
        """Return the examples in the random order by which they are sampled.

        The first n are the sample of size n. Without a size, they are in the order of the data.
        """
        if self._size is None:
            return sorted(self.examples, key=lambda e: e.index)
        ranks = _order(self._size).argsort().tolist()
        return sorted(self.examples, key=lambda e: ranks[e.index])

    def _takes(self, index: int) -> bool:
        if index < 0 or (self._size is not None and index >= self._size):
            return False
        if self._chosen is not None and index not in self._chosen:
            return False
        if self._size is None and self._limit is not None and index >= self._limit:
            return False
        if self._seen is None:
            return True
        repeated = index in self._seen
        self._seen.add(index)
        return not repeated

    def _indices(self, batch: Mapping[str, Any]) -> list[int]:
        """Return the index of each row; -1 for rows that only pad this rank."""
        first = self._next_position
        self._next_position += len(batch["input_ids"]) * self._ranks
        positions = list(range(first, self._next_position, self._ranks))
        indices = torch.as_tensor(batch["index"]).tolist() if "index" in batch else positions
        if self._dealt is None:
            return indices
        pairs = zip(indices, positions, strict=True)
        return [index if position < self._dealt else -1 for index, position in pairs]


def rows_dealt(loader: Any, ranks: int) -> int | None:
    """Return how many rows a loader deals to the ranks in turn before it repeats rows.

    Rows are repeated where a rank would have fewer rows than another.

    Args:
        loader: Makes the batches.
        ranks: Number of processes.

    Returns:
        The number, or None if the rows are not shared by the sampler that Lightning uses.
    """
    batches: Any = getattr(loader, "batch_sampler", None)
    sampler: Any = batches.sampler if type(batches) is BatchSampler else None
    if type(sampler) not in (DistributedSampler, DistributedSamplerWrapper):
        return None
    return len(sampler.dataset) if sampler.num_replicas == ranks else None


def _rows_of(batch: Mapping[str, Any], rows: list[int]) -> dict[str, Any]:
    """Select rows in every field that has one value per row."""
    count, selected = len(batch["input_ids"]), dict(batch)
    if len(rows) == count:
        return selected
    for name, value in batch.items():
        if isinstance(value, (Tensor, np.ndarray)) and value.shape[:1] == (count,):
            selected[name] = value[rows]
        elif isinstance(value, (list, tuple)) and len(value) == count:
            selected[name] = [value[row] for row in rows]
    return selected


def _order(size: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))
