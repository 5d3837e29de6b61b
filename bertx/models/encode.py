"""The way from a text to its units: which tokens are special, and which of the others form a unit.

Everything that reads a text goes this way, so that what is explained, judged, planted, cut and
counted is the same everywhere.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bertx.models.inputs import Unit
from bertx.models.words import Span, disjoint, number_pieces, number_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """The special tokens of a tokenizer and their ids, without the one for unknown words.

    They have a role, such as that of [CLS], or were added as special ones. The one for unknown
    words stands for a word, unless it has another role besides, as in GPT-2, where one token has
    every role: then it is special.
    """
    roles = tokenizer.special_tokens_map
    named = [token for role, token in roles.items() if role != "unk_token" and token]
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    others = map(str, (*added, *tokenizer.extra_special_tokens))
    tokens = [*named, *(token for token in others if token != tokenizer.unk_token)]
    ids: Any = tokenizer.convert_tokens_to_ids(tokens)
    return dict(zip(tokens, ids, strict=True))


def special_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The ids of `special_tokens`, sorted."""
    return sorted({*special_tokens(tokenizer).values()})


def units_of(
    text: str,
    offsets: Sequence[Span],
    word_ids: Sequence[int | None],
    ranked: Sequence[bool],
    unit: Unit,
) -> tuple[list[int], list[Span]]:
    """Put the tokens of a text together to units.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens.
        word_ids: The tokenizer's number of each token's word, None for none (T,).
        ranked: False for special tokens, which belong to no unit (T,).
        unit: What a unit is.

    Returns:
        The number of each token's unit, 0..U-1 from the left, -1 for none (T,), and the characters
        of each unit, sorted and disjoint (U,).

    Examples:
        >>> units_of("unable", [(0, 2), (2, 6)], [0, 0], [True, True], "token")
        ([0, 1], [(0, 2), (2, 6)])
    """
    if unit == "whitespace":
        return number_pieces(text, offsets, ranked)
    if unit == "word":
        return number_words(text, offsets, word_ids, ranked)
    count = iter(range(len(ranked)))
    own = [span for span, ranks in zip(offsets, ranked, strict=True) if ranks]
    return [next(count) if ranks else -1 for ranks in ranked], disjoint(text, own)
