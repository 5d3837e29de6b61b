"""Masked fine-tuning: texts with words masked become ordinary inputs of the model."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from bertx.data.collate import Collator
from bertx.errors import InputError


class Masking:
    """Makes batches in some of whose rows random words are [MASK].

    Of B rows ``share`` x B are masked, rounded up or down by chance. Each of them draws a rate
    between 0 and 1, and each of its words is masked with that probability, in all its pieces, as
    the operator ``mask`` of `bertx.perturb.Perturber` does; special tokens and padding never are.
    Nothing but ``input_ids`` differs from the batch of ``collator``.

    A model that was trained so has seen texts of which any share of words is missing, so that what
    a deletion curve measures is inside of the distribution (masked fine-tuning: Madsen, Reddy and
    Chandar 2024, "Faithfulness Measurable Masked Language Models", arXiv 2310.07819).

    The draws of a row are a function of ``seed``, its epoch and its ``index`` alone: they are the
    same for any number of worker processes, and when a training is resumed.

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
        """The batch of some examples (items of a `bertx.data.TextDataset`, each of an epoch)."""
        batch = self.collator(items)
        draws = [Random(f"{self.seed} {item.get('epoch', 0)} {item['index']}") for item in items]
        units = batch["word_ids"]
        masked = torch.zeros_like(units, dtype=torch.bool)
        for row in _chosen(draws, self.share):
            masked[row] = _masked(draws[row], units[row])
        batch["input_ids"] = batch["input_ids"].masked_fill(masked, self._mask)
        return batch


def _chosen(draws: Sequence[Random], share: float) -> list[int]:
    """The rows with the smallest draws: so many that their expected number is the share."""
    pairs = [(draw.random(), draw.random()) for draw in draws]
    count = int(share * len(pairs) + pairs[0][1])
    return sorted(range(len(pairs)), key=pairs.__getitem__)[:count]


def _masked(draw: Random, units: Tensor) -> Tensor:
    """Which tokens of a text are masked (T,), each unit as a whole."""
    rate = draw.random()
    words = [draw.random() < rate for _ in range(int(units.max()) + 1)]
    return torch.tensor([*words, False])[units]  # -1, which is no unit, takes the last
