"""Batches of texts: token ids, words, offsets and rationales."""

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
    """Makes a batch of B texts, padded on the right to the longest, T tokens.

    The batch has:

    - ``input_ids``, ``attention_mask`` and, if the tokenizer makes them, ``token_type_ids``, each
      (B, T) and long;
    - ``special_tokens_mask`` (B, T), True for padding and special tokens, also for special tokens
      that the text spells out, but not for unknown words;
    - ``word_ids`` (B, T), the number of each token's word in its text, -1 for none (see
      `bertx.models.words.number_words`);
    - ``offsets`` (B, T, 2), the characters of each token in its text;
    - ``labels`` (B,), ``index`` (B,) and ``text``, B strings;
    - ``rationale`` (B, T) if an example has one, True for tokens that overlap the rationale of
      their text;
    - ``error`` if a text is missing: B strings, or None where there is no error.

    A text without a word has special tokens only.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Maximum number of tokens T, special ones included. Longer texts are cut between
            two words, on the tokenizer's ``truncation_side``; only a single word may be cut itself.

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
        """Return the batch of items of a `bertx.data.TextDataset`."""
        readings = list(self._tokenize([item["text"] for item in items]))
        inputs = inputs_of(readings, self.tokenizer)
        batch: dict[str, Any] = {
            "input_ids": inputs.input_ids,
            "attention_mask": inputs.attention_mask,
            "special_tokens_mask": inputs.units < 0,
            "word_ids": inputs.units,
            "offsets": padded([each.around(each.offsets, (0, 0)) for each in readings], (0, 0)),
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
    """Return whether each token overlaps a span of its text (B, T)."""
    marked = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    start, end = offsets.unbind(-1)
    for row, spans in enumerate(rationales):
        for first, last in spans:
            marked[row] |= (start[row] < last) & (end[row] > first) & (start[row] < end[row])
    return marked
