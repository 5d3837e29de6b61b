"""How the processes of a run get their batches."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

Batches = DataLoader[dict[str, Any]]


def load_batches(
    data: Dataset[dict[str, Any]],
    batch_size: int | None,
    sampler: Sampler[Any],
    collate: Callable[[Any], dict[str, Any]],
    num_workers: int,
) -> Batches:
    """The batches of some texts.

    Args:
        data: The texts.
        batch_size: Texts of a batch; None: ``sampler`` yields whole batches.
        sampler: The order of the texts.
        collate: Makes a batch of items.
        num_workers: Processes that do so; 0: it is done in this one.
    """
    if num_workers:
        # A tokenizer that ran threads before the workers are forked warns in each of them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # All by name: for predictions Lightning builds the loader anew from what it was given.
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
