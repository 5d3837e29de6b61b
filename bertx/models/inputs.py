"""Inputs of a model, with the units (words or tokens) that their tokens form."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.models.classifier import takes
from bertx.models.words import number_pieces

Unit = Literal["word", "whitespace", "token"]
"""What is ranked, deleted and inserted: words as the tokenizer separates them (``doesn't`` is three
with BERT), words as white space separates them, or single tokens."""

Merge = Literal["sum", "max"]
"""How the scores of a unit's tokens are merged: their sum or their maximum."""

UNKNOWN = -100
"""The label of an example without a label."""

LENGTHS = (8, 5)
"""Lengths of the texts of `short_texts`; the shorter one is padded."""


@dataclass(frozen=True)
class Inputs:
    """Token ids of B texts, padded to T tokens, with their units, labels and rationales.

    Attributes:
        input_ids: Token ids (B, T).
        attention_mask: 1 for tokens, 0 for padding (B, T).
        units: Number of each token's unit (word or token), 0..U-1 from the left without gaps; -1
            for special tokens and padding, which are never ranked (B, T).
        token_type_ids: Segment ids (B, T); None if the model has none.
        mask_token_id: Id of [MASK]; None if there is none or it is unknown.
        pad_token_id: Id of [PAD].
        labels: Gold classes (B,), negative if unknown; None if there are none.
        rationale: Which tokens annotators or a grammar marked (B, T); None without a rationale.
    """

    input_ids: Tensor
    attention_mask: Tensor
    units: Tensor
    token_type_ids: Tensor | None = None
    mask_token_id: int | None = None
    pad_token_id: int = 0
    labels: Tensor | None = None
    rationale: Tensor | None = None

    @classmethod
    def from_batch(
        cls,
        batch: Mapping[str, Any],
        unit: Unit = "word",
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> "Inputs":
        """Read the fields of a collated batch.

        Args:
            batch: ``input_ids``, ``attention_mask``, ``special_tokens_mask`` and, for unit
                ``word``, ``word_ids`` (-1 for none), each (B, T); for unit ``whitespace``,
                ``text``, B strings, and ``offsets`` (B, T, 2) into them; ``token_type_ids`` if the
                model takes it; ``labels`` and ``rationale`` if they are known.
            unit: The kind of units.
            tokenizer: The tokenizer that made the ids; needed by methods that use [MASK] or [PAD].

        Raises:
            InputError: If a field is missing.
        """
        _check_fields(batch, unit)
        mask = batch["attention_mask"]
        ranked = mask.bool() & ~batch["special_tokens_mask"].bool()
        if unit == "whitespace":
            words = _pieces(batch, ranked).to(mask)
        else:
            words = batch["word_ids"] if unit == "word" else torch.arange(mask.shape[1]).to(mask)
        return cls(
            batch["input_ids"],
            mask,
            number_units(words.expand(mask.shape), ranked),
            batch.get("token_type_ids"),
            mask_token_id=getattr(tokenizer, "mask_token_id", None),
            pad_token_id=getattr(tokenizer, "pad_token_id", None) or 0,
            labels=batch.get("labels"),
            rationale=batch.get("rationale"),
        )

    def arguments(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the keyword arguments for the forward of a Hugging Face ``model``."""
        named = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        if self.token_type_ids is not None and takes(model, "token_type_ids"):
            named["token_type_ids"] = self.token_type_ids
        return named

    def rows(self, rows: Tensor | slice) -> "Inputs":
        """Return the texts at ``rows``, with padding beyond the longest of them removed.

        Raises:
            InputError: If they are not padded on the right.
        """
        mask = self.attention_mask[rows]
        width = int(mask.sum(1).max())
        if mask[:, width:].any():
            raise InputError(
                "expected texts that are padded on the right, but token 0 of one is padding. Set "
                "tokenizer.padding_side = 'right'"
            )
        return self.apply(lambda values: values[rows, :width] if values.dim() > 1 else values[rows])

    def apply(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        """Return the inputs with ``change`` applied to each tensor."""
        tensors = ((name, value) for name, value in vars(self).items() if isinstance(value, Tensor))
        changed: dict[str, Any] = {name: change(value) for name, value in tensors}
        return replace(self, **changed)

    @property
    def unit_counts(self) -> Tensor:
        """Number of units of each text (B,)."""
        return self.units.amax(1) + 1

    def unit_mask(self, width: int | None = None) -> Tensor:
        """Return which of ``width`` places, by default the most units, are units (B, U)."""
        counts = self.unit_counts
        width = max(int(counts.max()), 1) if width is None else width
        return torch.arange(width, device=counts.device) < counts[:, None]

    @property
    def marked_units(self) -> Tensor | None:
        """Which units have a token of the rationale (B, U); None without a rationale."""
        if self.rationale is None:
            return None
        return merge_by_unit(self.rationale.to(self.units.device).float(), self.units, "max") > 0

    def __len__(self) -> int:
        return len(self.input_ids)


def _check_fields(batch: Mapping[str, Any], unit: Unit) -> None:
    needed = {"word": ["word_ids"], "whitespace": ["text", "offsets"], "token": []}[unit]
    needed += ["input_ids", "attention_mask", "special_tokens_mask"]
    if missing := [name for name in needed if name not in batch]:
        raise InputError(
            f"batch: {', '.join(missing)} missing. For unit 'token', call the tokenizer with "
            "return_special_tokens_mask=True and padding=True; for words, use bertx.explain"
        )


def short_texts(model: PreTrainedModel) -> Inputs:
    """Return two short texts of random tokens, always the same for a model.

    They start with [CLS] and end with [SEP] if the config has their ids.
    """
    pad = getattr(model.config, "pad_token_id", None) or 0
    draw = torch.Generator().manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(model.config.vocab_size - 1, shape, generator=draw)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    ids = torch.where(mask, ids + (ids >= pad), pad)
    start, end = _special(model, "cls", "bos"), _special(model, "sep", "eos")
    if start is not None:
        ids[:, 0] = start
    if end is not None:
        ids[torch.arange(shape[0]), torch.tensor(LENGTHS) - 1] = end
    units = torch.where(mask, torch.arange(shape[1]), -1).to(model.device)
    return Inputs(ids.to(model.device), mask.long().to(model.device), units, pad_token_id=pad)


def _special(model: PreTrainedModel, *names: str) -> int | None:
    numbers = [getattr(model.config, f"{name}_token_id", None) for name in names]
    valid = (i for i in numbers if isinstance(i, int) and 0 <= i < model.config.vocab_size)
    return next(valid, None)


def noun(unit: Unit) -> str:
    """Return the noun for a unit in messages."""
    return "token" if unit == "token" else "word"


def _pieces(batch: Mapping[str, Any], ranked: Tensor) -> Tensor:
    """Return the number of each token's word as separated by white space (B, T)."""
    rows = zip(batch["text"], batch["offsets"].tolist(), ranked.tolist(), strict=True)
    return torch.tensor([number_pieces(*row) for row in rows])


def number_units(words: Tensor, ranked: Tensor) -> Tensor:
    """Number the runs of equal word ids from the left.

    Args:
        words: Word id of every token (B, T); a change between neighbours starts a unit.
        ranked: True where a token may be ranked (B, T).

    Returns:
        Unit numbers 0..U-1 without gaps, -1 where ``ranked`` is False (B, T).

    Examples:
        >>> words = torch.tensor([[-1, 0, 0, 1, -1]])
        >>> number_units(words, words >= 0)
        tensor([[-1,  0,  0,  1, -1]])
    """
    before = torch.nn.functional.pad(words[:, :-1], (1, 0), value=-2)
    was_ranked = torch.nn.functional.pad(ranked[:, :-1], (1, 0), value=False)
    starts = ranked & ((words != before) | ~was_ranked)
    return torch.where(ranked, starts.cumsum(1) - 1, -1)


def merge_by_unit(scores: Tensor, units: Tensor, how: Merge = "sum") -> Tensor:
    """Merge the token scores of each unit.

    Args:
        scores: Token scores (B, T).
        units: Unit numbers (B, T), -1 for none.
        how: ``sum``, or ``max``, which is only meaningful for unsigned scores.

    Returns:
        Unit scores (B, U), U the largest number of units in the batch (at least 1); 0 beyond the
        units of a text.

    Examples:
        >>> merge_by_unit(torch.tensor([[9.0, 1.0, 2.0, 5.0]]), torch.tensor([[-1, 0, 0, 1]]))
        tensor([[3., 5.]])
    """
    width = max(int(units.max()) + 1, 1)
    merged = scores.new_zeros(len(scores), width + 1)
    places = units.masked_fill(units < 0, width)
    if how == "sum":
        return merged.scatter_add(1, places, scores)[:, :width]
    return merged.scatter_reduce(1, places, scores, "amax", include_self=False)[:, :width]


def spread_by_unit(scores: Tensor, units: Tensor) -> Tensor:
    """Give each token an equal share of its unit's score, whose sum is the score again.

    Args:
        scores: Unit scores (B, U).
        units: Unit numbers (B, T), -1 for none.

    Returns:
        Token scores (B, T); 0 for tokens without a unit.

    Examples:
        >>> spread_by_unit(torch.tensor([[3.0, 5.0]]), torch.tensor([[-1, 0, 0, 1]]))
        tensor([[0.0000, 1.5000, 1.5000, 5.0000]])
    """
    sizes = merge_by_unit(torch.ones_like(units, dtype=scores.dtype), units)
    shares = scores[:, : sizes.shape[1]] / sizes.clamp(min=1)
    return shares.gather(1, units.clamp(min=0)).masked_fill(units < 0, 0)


def text_seed(ids: Tensor, *numbers: int) -> int:
    """Return a seed that depends only on a text's token ids (t,) and some numbers."""
    text = ",".join(map(str, [*numbers, *ids.tolist()]))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
