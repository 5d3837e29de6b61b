"""Masked fine-tuning: random words of the training texts are replaced by [MASK]."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from bertx.data.collate import Collator
from bertx.errors import InputError


class Masking:
    """Makes batches with random words of some rows replaced by [MASK].

    Of B rows, ``share`` x B are masked, rounded up or down at random. Each of them draws a rate
    between 0 and 1, and each of its words is masked with that probability, with all its tokens, as
    the operator ``mask`` of `bertx.perturb.Perturber` does. Special tokens and padding are never
    masked. Only ``input_ids`` differs from the batch of ``collator``.

    A model trained this way has seen texts with any share of their words missing, so that the
    inputs of a deletion curve are in its training distribution (masked fine-tuning: Madsen, Reddy
    and Chandar 2024, "Faithfulness Measurable Masked Language Models", arXiv 2310.07819).

    The draws of a row depend on ``seed``, its epoch and its ``index`` alone: they are the same for
    any number of worker processes, and when training is resumed.

    Args:
        collator: Makes the unmasked batch.
        share: Share of the rows, in (0, 1].
        seed: Seed of the draws.

    Raises:
        InputError: If the tokenizer has no mask token.
    """

    def __init__(self, collator: Collator, share: float = 0.5, seed: int = 0) -> None:
        tokenizer = collator.tokenizer
        if tokenizer.mask_token_id is None:
            raise InputError(
                f"tokenizer {tokenizer.name_or_path!r}: expected a mask token to train with, but "
                "it has none. Set tokenizer.mask_token, or leave `masking` at 0."
            )
        self.collator = collator
        self.share = share
        self.seed = seed
        self._mask = tokenizer.mask_token_id

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch of items of a `bertx.data.TextDataset` that have an ``epoch``."""
        batch = self.collator(items)
        draws = [Random(f"{self.seed} {item.get('epoch', 0)} {item['index']}") for item in items]
        units = batch["word_ids"]
        masked = torch.zeros_like(units, dtype=torch.bool)
        for row in _chosen(draws, self.share):
            masked[row] = _masked(draws[row], units[row])
        batch["input_ids"] = batch["input_ids"].masked_fill(masked, self._mask)
        return batch


def _chosen(draws: Sequence[Random], share: float) -> list[int]:
    """Return the rows with the smallest draws; their expected share is ``share``."""
    pairs = [(draw.random(), draw.random()) for draw in draws]
    count = int(share * len(pairs) + pairs[0][1])  # rounded at random
    return sorted(range(len(pairs)), key=pairs.__getitem__)[:count]


def _masked(draw: Random, units: Tensor) -> Tensor:
    """Return which tokens of a text are masked (T,), each unit as a whole."""
    rate = draw.random()
    words = [draw.random() < rate for _ in range(int(units.max()) + 1)]
    return torch.tensor([*words, False])[units]  # -1, outside of units, is the last
