"""How the processes of a run get their batches."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bertx.data.sampling import LengthBucketSampler
from bertx.errors import InputError

Batches = DataLoader[dict[str, Any]]


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
        data,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Every iterator draws a seed for its workers: not from the stream that dropout draws from.
        generator=torch.Generator(),
    )
