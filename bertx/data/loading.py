"""Samplers that batch texts of similar length, and the loaders of these batches."""

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
"""Number of batches sorted together: enough to save padding, few enough to stay random."""

_WORDS_AT_ONCE = 10_000


def token_counts(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", longest: int
) -> list[int]:
    """Return about how many tokens each text has, special ones included.

    Every distinct word, as separated by white space, is tokenized once. For WordPiece the sum is
    exact; other tokenizers may form tokens across white space.

    Args:
        texts: The texts, N.
        tokenizer: The tokenizer.
        longest: Maximum number of tokens of a text; longer texts are cut.

    Returns:
        N numbers.
    """
    words = sorted({word for text in texts for word in text.split()})
    counts: dict[str, int] = {}
    for start in range(0, len(words), _WORDS_AT_ONCE):
        part = words[start : start + _WORDS_AT_ONCE]
        spaced = [f" {word}" for word in part]
        ids = tokenizer(spaced, add_special_tokens=False, verbose=False)["input_ids"]
        counts.update(zip(part, map(len, ids), strict=True))
    special = tokenizer.num_special_tokens_to_add()
    return [min(sum(map(counts.__getitem__, text.split())) + special, longest) for text in texts]


class LengthBucketSampler(DistributedSampler[int]):
    """Orders the rows of an epoch so that neighbours have similar lengths.

    A `torch.utils.data.DataLoader` with the same ``batch_size`` cuts that order into batches. The
    r-th of R processes gets every R-th row of each global batch, so that all processes have the
    same number of batches and of rows. If a batch has too few rows for that, some are repeated as
    fillers: row i is then yielded as ``~i`` (see `bertx.data.TextDataset`). Over all processes,
    every row occurs exactly once that is not a filler.

    Training shuffles with its own generator, seeded by ``seed`` + epoch: it sorts runs of
    `MEGA_BATCH` global batches by length and shuffles the batches. Evaluation sorts all rows, the
    longest first, so that a batch too large for the memory fails at once.

    Args:
        lengths: Length of every row, about its number of tokens, N.
        batch_size: Rows of a batch of one process.
        shuffle: True for training.
        seed: Seed of the order.
        num_replicas: Number of processes R; None for the size of the process group, or 1.
        rank: Number of this process; None for its rank in the process group, or 0.
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
        """The settings that determine, with the epoch, which rows are in which batch."""
        return {
            "texts": len(self.lengths),
            "batch_size": self.global_batch // self.num_replicas,
            "processes": self.num_replicas,
            "seed": self.seed,
        }

    def skip(self, batches: int) -> None:
        """Skip the first batches of the next iteration."""
        self._skipped = batches

    def __iter__(self) -> Iterator[Any]:
        for rows in self._shares():
            yield from rows

    def _shares(self) -> Iterator[list[int]]:
        """Yield the batches of this process that are not skipped, with fillers."""
        batches = self._shuffled() if self.shuffle else self._sorted()
        skipped, self._skipped = self._skipped, 0
        for batch in islice(batches, skipped, None):
            yield self._share(batch.tolist())

    def _shuffled(self) -> list[torch.Tensor]:
        """Return the global batches; the last may be smaller and has rows of any length."""
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=random)
        whole = len(order) - len(order) % self.global_batch
        batches: list[torch.Tensor] = []
        for run in order[:whole].split(MEGA_BATCH * self.global_batch):
            batches += run[self.lengths[run].argsort(stable=True)].split(self.global_batch)
        places = torch.randperm(len(batches), generator=random).tolist()
        rest = [order[whole:]] if whole < len(order) else []
        return [batches[place] for place in places] + rest

    def _sorted(self) -> tuple[torch.Tensor, ...]:
        return self.lengths.argsort(descending=True, stable=True).split(self.global_batch)

    def _share(self, rows: list[int]) -> list[int]:
        """Return this process's rows of a global batch, with fillers."""
        missing = -len(rows) % self.num_replicas
        fillers = [~rows[i % len(rows)] for i in range(missing)]
        return (rows + fillers)[self.rank :: self.num_replicas]


class EpochSampler(LengthBucketSampler):
    """A `LengthBucketSampler` that yields (row, epoch), for items that depend on the epoch."""

    def __iter__(self) -> Iterator[Any]:
        return ((row, self.epoch) for row in super().__iter__())


class TokenBudgetSampler(LengthBucketSampler):
    """Yields whole batches of at most ``token_budget`` tokens, for a DataLoader without batch size.

    A batch is a list of (row, epoch), shared out and filled up as by `LengthBucketSampler`. In each
    process, the rows of a batch times the length of its longest text are at most ``token_budget``,
    and its rows at most ``batch_size``; it has at least one row.

    Lightning asks for the number of batches once, so every epoch has as many as epoch 0. If an
    epoch would have more batches, longer runs are sorted together; if it would have fewer, the
    batches with the most rows are halved.

    Args:
        lengths: Length of every row, in tokens, N.
        token_budget: Maximum number of tokens of a batch of one process, padding included.
        batch_size: Most rows of a batch of one process.
        shuffle: True for training. This and the other arguments are as in `LengthBucketSampler`.
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
        self._run = MEGA_BATCH * rows if shuffle else max(1, len(lengths))
        first = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(lengths), generator=first)
        self._count = len(self._cut(order, self._run))

    @property
    def order(self) -> dict[str, int]:
        """The settings that determine, with the epoch, which rows are in which batch."""
        return {**super().order, "token_budget": self.token_budget}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        for rows in self._shares():
            yield [(row, self.epoch) for row in rows]

    def _shuffled(self) -> list[torch.Tensor]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        order, run = torch.randperm(len(self.lengths), generator=random), self._run
        batches = self._cut(order, run)
        while len(batches) > self._count:  # sorting all rows together gives the fewest batches
            run *= 2
            batches = self._cut(order, run)
        while len(batches) < self._count:
            largest = max(range(len(batches)), key=lambda place: len(batches[place]))
            rows = batches.pop(largest)
            per_process = -(-len(rows) // self.num_replicas)
            half = per_process // 2 * self.num_replicas
            batches += [rows[:half], rows[half:]]
        return [batches[i] for i in torch.randperm(len(batches), generator=random).tolist()]

    def _sorted(self) -> tuple[torch.Tensor, ...]:
        return tuple(self._cut(torch.arange(len(self.lengths)), self._run))

    def _cut(self, order: torch.Tensor, run: int) -> list[torch.Tensor]:
        """Return the global batches of ``order``, each run of ``run`` rows sorted by length."""
        batches: list[torch.Tensor] = []
        most = self.global_batch // self.num_replicas
        for rows in order.split(run):
            rows = rows[self.lengths[rows].argsort(descending=True, stable=True)]
            start = 0
            while start < len(rows):
                longest = max(1, int(self.lengths[rows[start]]))
                size = max(1, min(most, self.token_budget // longest)) * self.num_replicas
                batches.append(rows[start : start + size])
                start += size
        return batches


class ConsecutiveBatches(DistributedSampler[list[int]]):
    """Yields whole batches of consecutive rows, for a DataLoader without batch size.

    Rows are shared out and filled up as by `LengthBucketSampler`, except that the filler is always
    the last row. Batches are made as they are yielded and not kept.

    Args:
        data: N rows.
        batch_size: Rows of a batch of one process, or the most rows with a ``token_budget``.
        num_replicas: Number of processes R, as in `LengthBucketSampler`.
        rank: Number of this process.
        token_budget: Maximum number of tokens of a batch of one process: its rows times its
            longest text.
        lengths: Length of every row in tokens, N; needed with a ``token_budget``.
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
        """Yield the first row of every global batch."""
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
            size = -(-(end - start) // self.num_replicas)
            yield [*places] + [~(self.rows - 1)] * (size - len(places))

    def __len__(self) -> int:
        return len(self._starts)


def _process(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    grouped = distributed.is_available() and distributed.is_initialized()
    if num_replicas is None:
        num_replicas = distributed.get_world_size() if grouped else 1
    if rank is None:
        rank = distributed.get_rank() if grouped else 0
    return num_replicas, rank


class ResumableLoader(DataLoader[dict[str, Any]]):
    """A loader that can resume in the middle of an epoch, by Lightning's protocol.

    Its position is the number of batches that it has yielded, not the number that its workers have
    prepared.
    """

    _epoch = 0
    _yielded = 0
    _resumed: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        # A generator, because Lightning creates the iterator of a resumed epoch before it sets the
        # epoch of the sampler: workers must not start before the first batch is requested.
        sampler, resumed = self.sampler, self._resumed
        self._epoch, self._yielded, self._resumed = getattr(sampler, "epoch", 0), 0, None
        if resumed and resumed[0] == self._epoch and isinstance(sampler, LengthBucketSampler):
            self._yielded = resumed[1]
            sampler.skip(resumed[1])
        for batch in super().__iter__():
            self._yielded += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, the number of batches yielded, and the settings of its order."""
        order = self.sampler.order if isinstance(self.sampler, LengthBucketSampler) else {}
        return {"epoch": self._epoch, "batches": self._yielded, "order": order}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Skip the batches that were already yielded when that epoch is iterated.

        Raises:
            InputError: If that epoch had other batches.
        """
        then, now = state_dict["order"], self.state_dict()["order"]
        if then != now:
            changed = {k: (then.get(k), now.get(k)) for k in {**then, **now}}
            listed = [f"{k} {old} (now {new})" for k, (old, new) in changed.items() if old != new]
            raise InputError(
                "the checkpoint was written in the middle of an epoch whose batches were made with "
                f"{', '.join(listed)}. Restore these settings, or resume from a checkpoint that "
                "was written at the end of an epoch."
            )
        self._resumed = state_dict["epoch"], state_dict["batches"]


class _Batched(Dataset[Any]):
    """Lists of items, by lists of their places.

    A single place, as yielded by the sampler that Lightning's ``overfit_batches`` puts in place of
    ours, is a list of one.
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
    """Return a loader of batches.

    Args:
        data: The texts.
        batch_size: Texts of a batch; None if ``sampler`` yields whole batches.
        sampler: The order of the texts.
        collate: Makes a batch of items.
        num_workers: Number of worker processes that do so; 0 for this process.
        loader: Class of the loader.
    """
    if num_workers:
        # A tokenizer that used threads before the workers were forked warns in each of them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # All by keyword: for predictions, Lightning rebuilds the loader from its arguments.
    return loader(
        data if batch_size else _Batched(data),
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Every iterator draws a seed for its workers, which must not change the draws of dropout.
        generator=torch.Generator(),
    )
