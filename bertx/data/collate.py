"""Batches from texts: token ids, words, offsets and marked rationales."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bertx.data.table import Spans
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class Collator:
    """Turns examples into a batch of B texts, padded on the right to the longest, T tokens.

    The batch has ``input_ids``, ``attention_mask`` and, if the tokenizer makes them,
    ``token_type_ids``, each (B, T) and long; ``special_tokens_mask`` (B, T), True for padding and
    special tokens, also where the text itself spells one, but not for unknown words; ``word_ids``
    (B, T), the number of each token's word in its text, -1 for none; ``offsets`` (B, T, 2), the
    characters of each token in its text; ``labels`` (B,); ``index`` (B,); ``text``, B strings;
    and, if any of the examples has a rationale, ``rationale`` (B, T), True for tokens that overlap
    theirs.

    Args:
        tokenizer: A fast tokenizer with a padding token.
        max_length: Longest T; longer texts are cut. Special tokens count.

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
                "each text. Raise --data.max_length."
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._special_ids = torch.tensor(sorted(special_tokens(tokenizer).values()))

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of some examples (items of a `bertx.data.TextDataset`)."""
        texts = [item["text"] for item in items]
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=self.max_length,
            padding="longest",
            padding_side="right",
            return_attention_mask=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping")
        batch = dict(encoded)
        batch["special_tokens_mask"] = self._special(batch["input_ids"], batch["attention_mask"])
        batch["word_ids"] = _word_ids(encoded, len(texts))
        batch["offsets"] = offsets
        batch["labels"] = torch.tensor([item["label"] for item in items])
        batch["index"] = torch.tensor([item["index"] for item in items])
        batch["text"] = texts
        if any("rationale" in item for item in items):
            marked = _overlap(offsets, [item.get("rationale", ()) for item in items])
            batch["rationale"] = marked & ~batch["special_tokens_mask"]
        return batch

    def _special(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.isin(input_ids, self._special_ids) | (attention_mask == 0)


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """The special tokens and their ids, without the one for unknown words.

    A token that is both (as in GPT-2, where one token has every role) is special.
    """
    roles = tokenizer.special_tokens_map
    tokens = [str(token) for role, token in roles.items() if role != "unk_token" and token]
    tokens += map(str, tokenizer.extra_special_tokens)
    vocabulary = tokenizer.get_vocab()
    return {token: vocabulary[token] for token in tokens}


def _word_ids(encoded: "BatchEncoding", texts: int) -> Tensor:
    words = [encoded.word_ids(text) for text in range(texts)]
    return torch.tensor([[-1 if word is None else word for word in row] for row in words])


def _overlap(offsets: Tensor, rationales: Sequence[Spans]) -> Tensor:
    """Whether each token shares a character with a span (B, T)."""
    marked = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    start, end = offsets.unbind(-1)
    for row, spans in enumerate(rationales):
        for first, last in spans:
            marked[row] |= (start[row] < last) & (end[row] > first) & (start[row] < end[row])
    return marked
