"""Batches of texts: which of similar length are together in one, and the loaders that make them."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.distributed import DistributedSampler

from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batches = DataLoader[dict[str, Any]]

MEGA_BATCH = 50
"""Batches that are sorted together: long enough to save padding, short enough to stay random."""

_AT_ONCE = 10_000  # words


def token_counts(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", longest: int
) -> list[int]:
    """About how many tokens each text has, special ones included.

    Every word that white space parts is tokenized once, however often it occurs. For WordPiece the
    sum is exact; other tokenizers may join what white space parts.

    Args:
        texts: The texts, N.
        tokenizer: The tokenizer.
        longest: Most tokens that are left of a text.

    Returns:
        N numbers.
    """
    words = sorted({word for text in texts for word in text.split()})
    counts: dict[str, int] = {}
    for start in range(0, len(words), _AT_ONCE):
        part = words[start : start + _AT_ONCE]
        parted = [f" {word}" for word in part]
        ids = tokenizer(parted, add_special_tokens=False, verbose=False)["input_ids"]
        counts.update(zip(part, map(len, ids), strict=True))
    special = tokenizer.num_special_tokens_to_add()
    return [min(sum(map(counts.__getitem__, text.split())) + special, longest) for text in texts]


class LengthBucketSampler(DistributedSampler[int]):
    """The order of an epoch in which neighbours have similar lengths.

    A `torch.utils.data.DataLoader` with the same ``batch_size`` cuts that order into batches. The
    r-th of R processes gets every R-th row of each global batch, so that all processes have the
    same number of batches and of rows. Where the rows do not suffice, some are repeated; row i is
    then yielded as ``~i`` (see `bertx.data.TextDataset`), so that over all processes there is
    exactly one copy of every row that is no filler.

    Training shuffles by a generator of its own, seeded by ``seed`` + epoch, sorts stretches of
    `MEGA_BATCH` global batches by length and shuffles the batches. Evaluation sorts all rows, the
    longest first, so that a batch too large for the memory shows at once.

    Args:
        lengths: Length of every row, in tokens or about so, N.
        batch_size: Rows of a batch of one process.
        shuffle: True for training.
        seed: Seed of the order.
        num_replicas: Number of processes R; None: of the process group, 1 without one.
        rank: Number of this process; None: in the process group, 0 without one.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        replicas, rank = _process(num_replicas, rank)
        super().__init__(lengths, replicas, rank, shuffle, seed)  # type: ignore[arg-type]
        self.lengths = torch.tensor(lengths)
        self.global_batch = batch_size * self.num_replicas
        self._skipped = 0

    @property
    def order(self) -> dict[str, int]:
        """What decides, with the epoch, which rows are in which batch."""
        return {
            "texts": len(self.lengths),
            "batch_size": self.global_batch // self.num_replicas,
            "processes": self.num_replicas,
            "seed": self.seed,
        }

    def skip(self, batches: int) -> None:
        """Leave the first batches out of the order that is asked for next: they are done."""
        self._skipped = batches

    def __iter__(self) -> Iterator[Any]:
        for rows in self._shares():
            yield from rows

    def _shares(self) -> Iterator[list[int]]:
        """The batches of this process that are not done, fillers included."""
        batches = self._shuffled() if self.shuffle else self._sorted()
        skipped, self._skipped = self._skipped, 0
        for batch in islice(batches, skipped, None):
            yield self._share(batch.tolist())

    def _shuffled(self) -> list[torch.Tensor]:
        """Global batches; the last one, which may be smaller, has rows of any length."""
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=random)
        whole = len(order) - len(order) % self.global_batch
        batches: list[torch.Tensor] = []
        for stretch in order[:whole].split(MEGA_BATCH * self.global_batch):
            ranking = self.lengths[stretch].argsort(stable=True)
            batches += stretch[ranking].split(self.global_batch)
        places = torch.randperm(len(batches), generator=random).tolist()
        rest = [order[whole:]] if whole < len(order) else []
        return [batches[place] for place in places] + rest

    def _sorted(self) -> tuple[torch.Tensor, ...]:
        return self.lengths.argsort(descending=True, stable=True).split(self.global_batch)

    def _share(self, rows: list[int]) -> list[int]:
        """The rows of a global batch for this process, fillers included."""
        missing = -len(rows) % self.num_replicas
        fillers = [~rows[i % len(rows)] for i in range(missing)]
        return (rows + fillers)[self.rank :: self.num_replicas]


class EpochSampler(LengthBucketSampler):
    """A `LengthBucketSampler` that yields (row, epoch), for items in which chance has a part."""

    def __iter__(self) -> Iterator[Any]:
        return ((row, self.epoch) for row in super().__iter__())


class TokenBudgetSampler(LengthBucketSampler):
    """Whole batches of at most so many tokens: the DataLoader that takes them has no batch size.

    A batch is a list of (row, epoch), shared out and filled up as by `LengthBucketSampler`. A batch
    of one process, its rows times its longest text, is within ``token_budget``, and its rows are
    within ``batch_size``; it has one row at least.

    Lightning asks for the number of batches once, so every epoch has as many as epoch 0: where its
    order would need more, longer stretches are sorted together; where it needs fewer, the batches
    with the most rows are halved.

    Args:
        lengths: Length of every row, in tokens, N.
        token_budget: Most tokens of a batch of one process, padding included.
        batch_size: Most rows of a batch of one process.
        shuffle: True for training. This and the others are as in `LengthBucketSampler`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        token_budget: int,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__(lengths, batch_size, shuffle, seed, num_replicas, rank)
        self.token_budget = token_budget
        mean = max(1, round(sum(lengths) / max(1, len(lengths))))
        rows = max(1, min(batch_size, token_budget // mean)) * self.num_replicas
        self._stretch = MEGA_BATCH * rows if shuffle else max(1, len(lengths))
        first = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(lengths), generator=first)
        self._count = len(self._cut(order, self._stretch))

    @property
    def order(self) -> dict[str, int]:
        """What decides, with the epoch, which rows are in which batch."""
        return {**super().order, "token_budget": self.token_budget}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for rows in self._shares():
            yield [(row, self.epoch) for row in rows]

    def _shuffled(self) -> list[torch.Tensor]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order, stretch = torch.randperm(len(self.lengths), generator=random), self._stretch
        batches = self._cut(order, stretch)
        while len(batches) > self._count:  # all rows sorted together need the fewest
            stretch *= 2
            batches = self._cut(order, stretch)
        while len(batches) < self._count:
            largest = max(range(len(batches)), key=lambda place: len(batches[place]))
            rows = batches.pop(largest)
            turns = -(-len(rows) // self.num_replicas)  # of all processes
            half = turns // 2 * self.num_replicas
            batches += [rows[:half], rows[half:]]
        return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]

    def _sorted(self) -> tuple[torch.Tensor, ...]:
        return tuple(self._cut(torch.arange(len(self.lengths)), self._stretch))

    def _cut(self, order: torch.Tensor, stretch: int) -> list[torch.Tensor]:
        """Global batches of ``order``, whose stretches are sorted by length."""
        batches: list[torch.Tensor] = []
        most = self.global_batch // self.num_replicas
        for rows in order.split(stretch):
            rows = rows[self.lengths[rows].argsort(descending=True, stable=True)]
            start = 0
            while start < len(rows):
                longest = max(1, int(self.lengths[rows[start]]))
                size = max(1, min(most, self.token_budget // longest)) * self.num_replicas
                batches.append(rows[start : start + size])
                start += size
        return batches


class ConsecutiveBatches(DistributedSampler[list[int]]):
    """The rows in their order, in batches: the DataLoader that takes them has no batch size.

    Rows are shared out and filled up as by `LengthBucketSampler`, the last row being the one that
    is repeated. Nothing is kept of what was yielded.

    Args:
        data: N rows.
        batch_size: Most rows of a batch of one process; all but the last have as many, unless
        token_budget: limits its tokens, its rows times its longest text,
        lengths: given the length of every row in tokens, N.
        num_replicas: Number of processes R, as in `LengthBucketSampler`, and so is
        rank: the number of this one.
    """

    def __init__(
        self,
        data: Sized,
        batch_size: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        token_budget: int | None = None,
        lengths: Iterable[int] = (),
    ) -> None:
        replicas, rank = _process(num_replicas, rank)
        super().__init__(data, replicas, rank, shuffle=False)  # type: ignore[arg-type]
        self.rows = len(data)
        self.global_batch = batch_size * self.num_replicas
        self._starts: Sequence[int] = range(0, self.rows, self.global_batch)
        if token_budget:
            self._starts = array("q", self._cut(lengths, token_budget))

    def _cut(self, lengths: Iterable[int], token_budget: int) -> Iterator[int]:
        """The first row of every global batch."""
        start, longest = 0, 0
        for row, length in enumerate(lengths):
            longest = max(longest, length)
            rows = (row - start) // self.num_replicas + 1
            full = row - start == self.global_batch or rows * longest > token_budget
            if row == 0 or (full and row > start):
                start, longest = row, length
                yield row

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in pairwise(chain(self._starts, [self.rows])):
            places = range(start + self.rank, end, self.num_replicas)
            most = -(-(end - start) // self.num_replicas)
            yield [*places] + [~(self.rows - 1)] * (most - len(places))

    def __len__(self) -> int:
        return len(self._starts)


def _process(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    together = distributed.is_available() and distributed.is_initialized()
    if num_replicas is None:
        num_replicas = distributed.get_world_size() if together else 1
    if rank is None:
        rank = distributed.get_rank() if together else 0
    return num_replicas, rank


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A loader that can go on in the middle of an epoch, by Lightning's protocol.

    Its position is how many batches it has handed out, not how many its workers have prepared.
    """

    _epoch = 0
    _handed_out = 0
    _resumed: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        # Nothing here runs before the first batch is asked for. Lightning makes the iterator of a
        # resumed epoch before it tells the sampler which epoch it is, and workers would go ahead.
        sampler, resumed = self.sampler, self._resumed
        self._epoch, self._handed_out, self._resumed = getattr(sampler, "epoch", 0), 0, None
        if resumed and resumed[0] == self._epoch and isinstance(sampler, LengthBucketSampler):
            self._handed_out = resumed[1]
            sampler.skip(resumed[1])
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the number of its batches that were handed out, and what decides its order."""
        order = self.sampler.order if isinstance(self.sampler, LengthBucketSampler) else {}
        return {"epoch": self._epoch, "batches": self._handed_out, "order": order}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the batches that were handed out, when that epoch is iterated.

        Raises:
            InputError: If the batches of that epoch were other ones.
        """
        then, now = state_dict["order"], self.state_dict()["order"]
        if then != now:
            changed = {k: (then.get(k), now.get(k)) for k in {**then, **now}}
            listed = [f"{k} {old} (now {new})" for k, (old, new) in changed.items() if old != new]
            raise InputError(
                "the checkpoint was written in the middle of an epoch whose batches were made with "
                f"{', '.join(listed)}. Set this as it was, or go on from a checkpoint that was "
                "written at the end of an epoch."
            )
        self._resumed = state_dict["epoch"], state_dict["batches"]


class _Together(Dataset[Any]):
    """Lists of items, by lists of their places.

    A place alone, as the sampler yields it that Lightning's ``overfit_batches`` puts in the place
    of ours, is a list of one.
    """

    def __init__(self, data: Dataset[dict[str, Any]]) -> None:
        self.data = data

    def __getitem__(self, places: Any) -> list[dict[str, Any]]:
        return [self.data[place] for place in (places if isinstance(places, list) else [places])]

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]


def load_batches(
    data: Dataset[dict[str, Any]],
    batch_size: int | None,
    sampler: Sampler[Any],
    collate: Callable[[Any], dict[str, Any]],
    num_workers: int,
    loader: type[Batches] = DataLoader,
) -> Batches:
    """The batches of some texts.

    Args:
        data: The texts.
        batch_size: Texts of a batch; None: ``sampler`` yields whole batches.
        sampler: The order of the texts.
        collate: Makes a batch of items.
        num_workers: Processes that do so; 0: it is done in this one.
        loader: What kind of loader makes them.
    """
    if num_workers:
        # A tokenizer that ran threads before the workers are forked warns in each of them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # All by name: for predictions Lightning builds the loader anew from what it was given.
    return loader(
        data if batch_size else _Together(data),
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Every iterator draws a seed for its workers: not from the stream that dropout draws from.
        generator=torch.Generator(),
    )
