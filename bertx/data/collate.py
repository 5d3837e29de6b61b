"""Batches from texts: token ids, words, offsets and marked rationales."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bertx.data.broken_words import broken_word, drop_tokens, settle_first
from bertx.data.table import Spans
from bertx.errors import InputError
from bertx.models.encode import special_ids
from bertx.models.words import number_words

if TYPE_CHECKING:
    from tokenizers import Encoding
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
        self._special_ids = torch.tensor(special_ids(tokenizer))
        self._padding = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
            "word_ids": -1,
        }

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
        fields = dict(encoded)
        found = [encoded.word_ids(row) for row in range(len(texts))]
        words = [[-1 if word is None else word for word in row] for row in found]
        fields["word_ids"] = torch.tensor(words)
        fields["offsets"] = fields.pop("offset_mapping")
        batch: dict[str, Any] = {**self._whole_words(fields, texts, encoded.encodings or [])}
        batch["special_tokens_mask"] = self._special(batch["input_ids"], batch["attention_mask"])
        batch["word_ids"] = _word_ids(batch, texts)
        batch["labels"] = torch.tensor([item["label"] for item in items])
        batch["index"] = torch.tensor([item["index"] for item in items])
        batch["text"] = texts
        if any("error" in item for item in items):
            batch["error"] = [item.get("error") for item in items]
        if any("rationale" in item for item in items):
            marked = _overlap(batch["offsets"], [item.get("rationale", ()) for item in items])
            batch["rationale"] = marked & ~batch["special_tokens_mask"]
        return batch

    def _whole_words(
        self, fields: dict[str, Tensor], texts: Sequence[str], encodings: Sequence["Encoding"]
    ) -> dict[str, Tensor]:
        """The fields of a batch without what the cut has left of a word."""
        special, left = set(self._special_ids.tolist()), self.tokenizer.truncation_side == "left"
        full = (fields["attention_mask"].sum(1) == self.max_length).nonzero().flatten().tolist()
        for row in full if left else ():
            first = encodings[row].special_tokens_mask.index(0)
            settle_first(fields["offsets"][row], fields["word_ids"][row], first)
        places = {row: broken_word(texts[row], encodings[row], special, left) for row in full}
        return drop_tokens(fields, places, self._padding) if any(places.values()) else fields

    def _special(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.isin(input_ids, self._special_ids) | (attention_mask == 0)


def _word_ids(batch: Mapping[str, Tensor], texts: Sequence[str]) -> Tensor:
    """The number of each token's word (B, T), -1 for none, from those that the tokenizer gives."""
    words, offsets, ranked = batch["word_ids"], batch["offsets"], ~batch["special_tokens_mask"]
    for row in _doubtful(words, texts, ranked, offsets):
        own = (offsets[row].tolist(), words[row].tolist(), ranked[row].tolist())
        words[row] = torch.tensor(number_words(texts[row], *own)[0])
    return words


def _doubtful(words: Tensor, texts: Sequence[str], ranked: Tensor, offsets: Tensor) -> list[int]:
    """The rows whose words may be others than those of the tokenizer.

    `number_words` takes half as long as tokenizing, and few texts of most tokenizers need it: those
    with a word that has white space in it, tokens of two words that share a character, or
    characters that words cling to, none of which is in ASCII.
    """
    reach = int(offsets.amax()) + 1  # of a text that is cut the rest may be long
    known = [text[:reach].encode() if text.isascii() else b"" for text in texts]
    codes = [torch.frombuffer(bytearray(row + b" "), dtype=torch.uint8) for row in known]
    blank = pad_sequence(codes, batch_first=True, padding_value=32) <= 32
    start, end = offsets.clamp(max=blank.shape[1] - 1).unbind(-1)
    first, last = start[:, 1:], end[:, :-1]
    neighbours = ranked[:, 1:] & ranked[:, :-1]
    same = words[:, 1:] == words[:, :-1]
    spaced = blank.gather(1, first) | blank.gather(1, (last - 1).clamp(min=0)) | (first != last)
    odd = (neighbours & torch.where(same, spaced, first < last)).any(1)
    odd |= (ranked & (start == end)).any(1)
    return [row for row, text in enumerate(texts) if odd[row] or not text.isascii()]


def _overlap(offsets: Tensor, rationales: Sequence[Spans]) -> Tensor:
    """Whether each token shares a character with a span (B, T)."""
    marked = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    start, end = offsets.unbind(-1)
    for row, spans in enumerate(rationales):
        for first, last in spans:
            marked[row] |= (start[row] < last) & (end[row] > first) & (start[row] < end[row])
    return marked
