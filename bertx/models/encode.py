"""Tokenization of texts into units: special tokens, words, and the truncation of long texts.

Training, explanations and metrics all use this module, so that they share their tokens and units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

import torch
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.models.inputs import UNKNOWN, Inputs, Unit
from bertx.models.words import Span, number_pieces, number_words, spans_of

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reading:
    """A tokenized text: special tokens such as ``[CLS]``, its t tokens, and ``[SEP]``.

    In a text that was read from a batch, all special tokens are among the t tokens.

    Attributes:
        text: The text.
        before, after: Ids of the special tokens that the tokenizer adds to the text.
        ids: Ids of the text's tokens (t,).
        units: The number of each token's unit, 0..U-1 from the left, -1 for special tokens (t,).
        offsets: The characters of each token (t,).
        segments: Token type ids of all tokens, special ones included; None if there are none.
        left_out: Number of units that were cut off or cut into because the text is too long; None
            if it is unknown.
        index: The number of the text.
        target: The class to explain, if it differs from the class for all texts.
        label: The class of the text, -100 if unknown.
        rationale: Which of the t tokens decide the label (t,); None if unknown.
        error: Why the text cannot be explained, if it is known to fail.
    """

    text: str
    before: tuple[int, ...]
    ids: tuple[int, ...]
    after: tuple[int, ...]
    units: tuple[int, ...]
    offsets: tuple[Span, ...]
    segments: tuple[int, ...] | None
    left_out: int | None = 0
    index: int = 0
    target: int | None = None
    label: int = UNKNOWN
    rationale: tuple[bool, ...] | None = None
    error: str | None = None

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The characters of each unit, sorted and disjoint (U,)."""
        return spans_of(self.text, self.units, self.offsets)

    @property
    def specials(self) -> int:
        """Number of special tokens that are added to the text."""
        return len(self.before) + len(self.after)

    @property
    def input_ids(self) -> list[int]:
        """Ids of all tokens, special ones included."""
        return [*self.before, *self.ids, *self.after]

    def __len__(self) -> int:
        return len(self.ids) + self.specials

    def around(self, values: Sequence[_T], filler: _T) -> list[_T]:
        """Return values of the text's tokens (t,), with a filler for each added special token."""
        return [*[filler] * len(self.before), *values, *[filler] * len(self.after)]

    def cut(self, start: int, stop: int) -> "Reading":
        """Return the text cut to its tokens start..stop; units are renumbered from 0."""
        if stop - start == len(self.ids):
            return self
        head, units = len(self.before), self.units[start:stop]
        first = min((unit for unit in units if unit >= 0), default=0)
        gone = {*self.units[:start], *self.units[stop:]} - {-1}
        segments = self.segments
        if segments is not None:
            kept = segments[head + start : head + stop]
            segments = (*segments[:head], *kept, *segments[head + len(self.ids) :])
        return replace(
            self,
            ids=self.ids[start:stop],
            units=tuple(max(unit - first, -1) for unit in units),
            offsets=self.offsets[start:stop],
            segments=segments,
            left_out=len(gone),
        )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the special tokens of a tokenizer and their ids.

    They have a role, such as ``cls_token``, or were added as special tokens. The token for unknown
    words stands for a word, so it is not special unless it has another role too, as in GPT-2, where
    one token has all roles.
    """
    roles = tokenizer.special_tokens_map
    named = [token for role, token in roles.items() if role != "unk_token" and token]
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    others = map(str, (*added, *tokenizer.extra_special_tokens))
    tokens = [*named, *(token for token in others if token != tokenizer.unk_token)]
    ids: Any = tokenizer.convert_tokens_to_ids(tokens)
    return dict(zip(tokens, ids, strict=True))


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the sorted ids of `special_tokens`."""
    return sorted({*special_tokens(tokenizer).values()})


class UnitTokenizer:
    """Tokenizes texts, groups their tokens into units, and truncates long texts.

    Texts are cut on the tokenizer's ``truncation_side`` and, whatever the unit, between two words,
    so that explanations, metrics and training have the same tokens.

    Args:
        tokenizer: A fast tokenizer.
        unit: The kind of units.
        longest: Maximum number of tokens of a text, special tokens included; None to cut no text.
        between: The kind of units between which long texts are cut.
        counted: Whether `Reading.left_out` has to be right. If not, long texts are tokenized only
            as far as needed, and it may be too small.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        unit: Unit = "word",
        longest: int | None = None,
        between: Unit = "word",
        counted: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self._unit, self._longest, self._between = unit, longest, between
        self._left = tokenizer.truncation_side == "left"
        self._special = frozenset(special_ids(tokenizer))
        # A unit does not depend on later tokens, so one token more shows where a word ends.
        self._most = None if counted or self._left or longest is None else longest + 1
        self._segmented = "token_type_ids" in tokenizer.model_input_names

    def __call__(self, texts: Sequence[str]) -> Iterator[Reading]:
        """Yield the tokenized texts, in order."""
        encoded = self.tokenizer(
            list(texts),
            truncation=self._most is not None,
            max_length=self._most,
            padding=False,
            return_attention_mask=False,
            verbose=False,
        )
        return map(self._read, texts, encoded.encodings or ())

    def _read(self, text: str, encoding: Encoding) -> Reading:
        ids, segments = encoding.ids, encoding.type_ids
        places = [i for i, sequence in enumerate(encoding.sequence_ids) if sequence is not None]
        start, stop = (places[0], places[-1] + 1) if places else (len(ids), len(ids))
        offsets, words = encoding.offsets[start:stop], encoding.word_ids[start:stop]
        ranked = [i not in self._special for i in ids[start:stop]]
        units = units_of(text, offsets, words, ranked, self._unit)
        whole = Reading(
            text=text,
            before=tuple(ids[:start]),
            ids=tuple(ids[start:stop]),
            after=tuple(ids[stop:]),
            units=tuple(units),
            offsets=tuple(offsets),
            segments=tuple(segments) if self._segmented else None,
        )
        if self._longest is None or len(whole) <= self._longest:
            return whole
        if self._between != self._unit:
            units = units_of(text, offsets, words, ranked, self._between)
        return whole.cut(*kept_range(units, self._longest - whole.specials, self._left))


def kept_range(units: Sequence[int], room: int, left: bool = False) -> tuple[int, int]:
    """Return which tokens to keep of a text that is too long; a unit is only cut if it is alone.

    Args:
        units: The number of each token's unit, -1 for none (T,).
        room: Maximum number of tokens to keep, fewer than T.
        left: Whether the beginning is cut off instead of the end.

    Returns:
        Start and stop of the tokens that are kept.

    Examples:
        >>> kept_range([0, 1, 1, 2, 2, 3], 4), kept_range([0, 1, 1, 2, 2, 3], 4, left=True)
        ((0, 3), (3, 6))
    """
    order = units[::-1] if left else units
    kept, broken = room, order[room]
    if broken >= 0:
        while kept and order[kept - 1] == broken:
            kept -= 1
    if all(unit < 0 for unit in order[:kept]):
        kept = room
    return (len(units) - kept, len(units)) if left else (0, kept)


def units_of(
    text: str,
    offsets: Sequence[Span],
    word_ids: Sequence[int | None],
    ranked: Sequence[bool],
    unit: Unit,
) -> list[int]:
    """Number the units of a text, by token.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens.
        word_ids: The tokenizer's number of each token's word, None for none (T,).
        ranked: False for special tokens, which belong to no unit (T,).
        unit: The kind of units.

    Returns:
        The number of each token's unit, 0..U-1 from the left, -1 for none (T,).

    Examples:
        >>> units_of("unable", [(0, 2), (2, 6)], [0, 0], [True, True], "token")
        [0, 1]
    """
    if unit == "whitespace":
        return number_pieces(text, offsets, ranked)
    if unit == "word":
        return number_words(text, offsets, word_ids, ranked)
    number = count()
    return [next(number) if ranks else -1 for ranks in ranked]


def inputs_of(
    readings: Sequence[Reading],
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device | None = None,
) -> Inputs:
    """Return a batch of texts, padded on the right to the longest."""
    pad = int(tokenizer.pad_token_id or 0)
    segments = [reading.segments for reading in readings if reading.segments is not None]
    lengths = torch.tensor([len(reading) for reading in readings], device=device)
    ids = padded([reading.input_ids for reading in readings], pad, device)
    marks = [
        reading.around(reading.rationale or (False,) * len(reading.ids), False)
        for reading in readings
    ]
    marked = any(reading.rationale is not None for reading in readings)
    return Inputs(
        input_ids=ids,
        attention_mask=(torch.arange(ids.shape[1], device=device) < lengths[:, None]).long(),
        units=padded([reading.around(reading.units, -1) for reading in readings], -1, device),
        token_type_ids=padded(segments, 0, device) if len(segments) == len(readings) else None,
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=pad,
        labels=torch.tensor([reading.label for reading in readings], device=device),
        rationale=padded(marks, False, device) if marked else None,
    )


def padded(
    rows: Sequence[Sequence[Any]], filler: Any, device: torch.device | None = None
) -> Tensor:
    """Return rows of different lengths as one tensor (B, T), or (B, T, ...) for tuples."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], device=device)
