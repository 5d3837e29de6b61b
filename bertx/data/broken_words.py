"""What a cut has left of a word is taken away too, so that no batch has a part of a word.

The cut itself is the tokenizer's: see `bertx.data.collate.Collator`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from unicodedata import category

import torch
from tokenizers import Encoding
from torch import Tensor

from bertx.models.words import Span, number_words

Token = tuple[Span, int | None, bool]
"""The characters of a token, the tokenizer's number of its word, and whether it is no special one.
"""


def broken_word(text: str, encoding: Encoding, special: Set[int], left: bool) -> list[int]:
    """Which tokens of a truncated text belong to a word that goes on where it was cut off.

    Args:
        text: The whole text.
        encoding: Its T tokens that are left; those that were cut off are its overflow.
        special: Ids of the special tokens, which are of no word.
        left: Whether the beginning was cut off instead of the end.

    Returns:
        Their places in 0..T-1; none where nothing is cut off, or no other word is left.
    """
    rest = encoding.overflowing  # the nearest comes first
    if not rest:
        return []
    own = [place for place, added in enumerate(encoding.special_tokens_mask) if not added]
    kept = _tokens(encoding, special)
    if left:
        before = (token for part in rest for token in reversed(_tokens(part, special)))
        run, cut = _around(text, _as_far_as_needed(text, before), kept)
    else:
        run, cut = _around(text, reversed(kept), _tokens(rest[0], special)[:1])
    spans, words, ranked = zip(*run, strict=True)
    numbers, _ = number_words(text, spans, words, ranked)
    if not cut or numbers[cut - 1] != numbers[cut]:
        return []
    count = (numbers[cut:] if left else numbers[:cut]).count(numbers[cut])
    others = kept[count:] if left else kept[:-count]
    if not any(ranks for *_, ranks in others):
        return []
    return own[:count] if left else own[-count:]


def settle_first(offsets: Tensor, words: Tensor, place: int) -> None:
    """Put a space that begins a cut text where its word begins, as in the whole text.

    Byte-level tokenizers that leave spaces out of the characters of their tokens do not do so for
    the first token that is left.

    Args:
        offsets: The characters of each token (T, 2), changed in place.
        words: The tokenizer's number of each token's word (T,).
        place: The place of the first token of the text's own.
    """
    if place + 1 < len(words) and words[place] == words[place + 1]:
        start, end = offsets[place].tolist()
        if 0 < start == end:
            offsets[place] = offsets[place + 1, 0]


def drop_tokens(
    batch: Mapping[str, Tensor], places: Mapping[int, Sequence[int]], padding: Mapping[str, int]
) -> dict[str, Tensor]:
    """A batch of B texts, padded on the right to T tokens, without some of these.

    Args:
        batch: Its fields, each (B, T) or (B, T, ...), with ``attention_mask`` among them.
        places: The places of those tokens, by row.
        padding: What a field has where there is no token, if it is not 0.

    Returns:
        The fields, padded to the longest text that is left.
    """
    gone = torch.zeros_like(batch["attention_mask"])
    for row, own in places.items():
        gone[row, own] = 1
    order = gone.argsort(dim=1, stable=True)
    rows = torch.arange(len(gone)).unsqueeze(1)
    empty = gone[rows, order].bool()
    width = int((batch["attention_mask"] * (1 - gone)).sum(1).max())
    moved = {name: field[rows, order] for name, field in batch.items()}
    for name, field in moved.items():
        field[empty] = padding.get(name, 0)
    return {name: field[:, :width].contiguous() for name, field in moved.items()}


def _around(text: str, before: Iterable[Token], after: Sequence[Token]) -> tuple[list[Token], int]:
    """The tokens around a cut, as far as they may belong to one word.

    Args:
        text: The text.
        before: The tokens before the cut, the last one first.
        after: The tokens behind it.

    Returns:
        The tokens in the order of the text, and how many of them are before the cut.
    """
    run = [after[0]]
    for token in before:
        if _parted(text, token, run[-1]):
            break
        run.append(token)
    run.reverse()
    cut = len(run) - 1
    for token in after[1:]:
        if _parted(text, run[-1], token):
            break
        run.append(token)
    return run, cut


def _as_far_as_needed(text: str, before: Iterable[Token]) -> Iterator[Token]:
    """The tokens before a cut, the last one first, without those that say nothing of the rest.

    White space that begins behind the token before it is of a word of nothing else.
    """
    blank_from = -1
    for token in before:
        yield token
        (start, end), *_ = token
        if _settles(text, token) or end <= blank_from:
            return
        blank_from = start if text[start:end].isspace() else -1


def _tokens(encoding: Encoding, special: Set[int]) -> list[Token]:
    """The tokens of a text's own, without what the tokenizer puts around them."""
    every = zip(
        encoding.offsets, encoding.word_ids, encoding.ids, encoding.special_tokens_mask, strict=True
    )
    return [(span, word, token not in special) for span, word, token, added in every if not added]


def _parted(text: str, token: Token, following: Token) -> bool:
    """Whether two neighbours are of different words; False also where those before may matter."""
    (span, word, ranks), (other, other_word, also) = token, following
    if not (ranks and also):
        return True
    if not _settles(text, token):
        return False
    numbers, _ = number_words(text, (span, other), (word, other_word), (ranks, also))
    return numbers[0] != numbers[1]


def _settles(text: str, token: Token) -> bool:
    """Whether no token before this one matters to how those behind it are numbered.

    Of the word so far, numbering asks for its end and the last character that is no accent, none
    of the invisible ones, and whether it has any but white space: this token has them all.
    """
    (start, end), *_, ranks = token
    return not ranks or any(category(char)[0] in "LNPS" for char in text[start:end])
