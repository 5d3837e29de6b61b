"""Batches from texts: token ids, words, offsets and marked rationales."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bertx.data.table import Spans
from bertx.errors import InputError
from bertx.models.encode import UnitTokenizer, inputs_of, padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Collator:
    """Turns examples into a batch of B texts, padded on the right to the longest, T tokens.

    The batch has ``input_ids``, ``attention_mask`` and, if the tokenizer makes them,
    ``token_type_ids``, each (B, T) and long; ``special_tokens_mask`` (B, T), True for padding and
    special tokens, also where the text itself spells one, but not for unknown words; ``word_ids``
    (B, T), the number of each token's word in its text, -1 for none (see
    `bertx.models.words.number_words`); ``offsets`` (B, T, 2), the
    characters of each token in its text; ``labels`` (B,); ``index`` (B,); ``text``, B strings;
    if any of the examples has a rationale, ``rationale`` (B, T), True for tokens that overlap
    theirs; and, if any of them lacks its text, ``error``, B strings or None, what is wrong. A text
    without a word has special tokens only.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Longest T; longer texts are cut, on the tokenizer's ``truncation_side``, before
            or after a whole word unless it is the only one. Special tokens count.

    Raises:
        InputError: If the tokenizer cannot pad, or ``max_length`` leaves no room for a word.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", max_length: int = 128) -> None:
        if tokenizer.pad_token_id is None:
            raise InputError(
                f"tokenizer {tokenizer.name_or_path!r}: expected a padding token to make batches "
                "with, but it has none. Set tokenizer.pad_token, or use an encoder's tokenizer."
            )
        special = tokenizer.num_special_tokens_to_add()
        if max_length <= special:
            raise InputError(
                f"max_length {max_length}: expected more than the {special} special tokens of "
                "each text. Raise `max_length`."
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._tokenize = UnitTokenizer(tokenizer, "word", max_length, counted=False)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of some examples (items of a `bertx.data.TextDataset`)."""
        readings = list(self._tokenize([item["text"] for item in items]))
        inputs = inputs_of(readings, self.tokenizer)
        batch: dict[str, Any] = {
            "input_ids": inputs.input_ids,
            "attention_mask": inputs.attention_mask,
            "special_tokens_mask": inputs.units < 0,
            "word_ids": inputs.units,
            "offsets": padded([one.around(one.offsets, (0, 0)) for one in readings], (0, 0)),
            "labels": torch.tensor([item["label"] for item in items]),
            "index": torch.tensor([item["index"] for item in items]),
            "text": [item["text"] for item in items],
        }
        if inputs.token_type_ids is not None:
            batch["token_type_ids"] = inputs.token_type_ids
        if any("error" in item for item in items):
            batch["error"] = [item.get("error") for item in items]
        if any("rationale" in item for item in items):
            marked = _overlap(batch["offsets"], [item.get("rationale", ()) for item in items])
            batch["rationale"] = marked & ~batch["special_tokens_mask"]
        return batch


def _overlap(offsets: Tensor, rationales: Sequence[Spans]) -> Tensor:
    """Whether each token shares a character with a span (B, T)."""
    marked = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    start, end = offsets.unbind(-1)
    for row, spans in enumerate(rationales):
        for first, last in spans:
            marked[row] |= (start[row] < last) & (end[row] > first) & (start[row] < end[row])
    return marked
