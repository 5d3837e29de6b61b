"""The texts of a batch as they are explained: their tokens, their words, and what is not there."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.callbacks.batches import collate
from bertx.callbacks.sample import Example
from bertx.explanation.reading import Reading
from bertx.models.encode import special_ids, units_of
from bertx.models.inputs import Inputs, Unit
from bertx.models.words import disjoint


def readings(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> list[Reading]:
    """N texts as their batch has them: its tokens, and not those that it has cut off."""
    if not examples:
        return []
    batch = collate([example.tokens for example in examples], int(tokenizer.pad_token_id))
    texts = [example.text for example in examples]
    units = Inputs.from_batch({**batch, "text": texts}, unit).units
    spans, counts = unit_spans(units, batch["offsets"]).tolist(), (units.amax(1) + 1).tolist()
    rows = zip(examples, units.tolist(), spans, counts, strict=True)
    return [
        _reading(example, own, places[:count], _left_out(example, count, tokenizer, unit))
        for example, own, places, count in rows
    ]


def unread(example: Example) -> Reading:
    """A text as its batch has it, without words: what is known of it where it cannot be read."""
    return _reading(example, [-1] * len(example.tokens["input_ids"]), [], 0)


def unit_spans(units: Tensor, offsets: Tensor) -> Tensor:
    """The characters of every unit.

    Args:
        units: Unit numbers (B, T), -1 for none.
        offsets: Start and end of every token (B, T, 2).

    Returns:
        Start of a unit's first token and end of its last (B, U, 2), U the largest number of units
        in the batch; 0 beyond a text's own.

    Examples:
        >>> offsets = torch.tensor([[[0, 0], [0, 2], [2, 6], [7, 9]]])
        >>> unit_spans(torch.tensor([[-1, 0, 0, 1]]), offsets).tolist()
        [[[0, 6], [7, 9]]]
    """
    width = max(int(units.max()) + 1, 0)
    places = units.masked_fill(units < 0, width)
    empty = offsets.new_zeros(len(units), width + 1)
    starts, ends = (
        empty.scatter_reduce(1, places, offsets[..., side], how, include_self=False)
        for side, how in enumerate(("amin", "amax"))
    )
    return torch.stack([starts, ends], -1)[:, :width]


def _reading(
    example: Example, units: list[int], spans: list[list[int]], left_out: int | None
) -> Reading:
    ids = example.tokens["input_ids"].tolist()
    segments = example.tokens.get("token_type_ids")
    return Reading(
        index=example.index,
        text=example.text,
        before=(),
        ids=tuple(ids),
        after=(),
        segments=tuple([0] * len(ids) if segments is None else segments.tolist()),
        units=tuple(units[: len(ids)]),
        spans=tuple(disjoint(example.text, [(start, end) for start, end in spans])),
        left_out=left_out,
    )


def _left_out(
    example: Example, count: int, tokenizer: PreTrainedTokenizerBase, unit: Unit
) -> int | None:
    """How many units of a text have no place in its tokens; None if it cannot be known."""
    text, offsets = example.text, example.tokens["offsets"]
    seen = offsets[offsets[:, 0] < offsets[:, 1]]
    if len(seen) and not (text[: int(seen.min())] + text[int(seen.max()) :]).strip():
        return 0
    if not tokenizer.is_fast:
        return None
    encoding = tokenizer([text], verbose=False).encodings[0]
    special = special_ids(tokenizer)
    ranked = [token not in special for token in encoding.ids]
    _, spans = units_of(text, encoding.offsets, encoding.word_ids, ranked, unit)
    return max(0, len(spans) - count)
