"""The words of a text: the tokens and the characters of each."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from unicodedata import category, normalize

Span = tuple[int, int]
"""The characters start..end of a text, the end exclusive."""


def number_words(
    text: str,
    offsets: Sequence[Span],
    word_ids: Sequence[int | None],
    ranked: Sequence[bool],
) -> list[int]:
    """Number the words of a text, by token.

    A word is a run of tokens with the same word id from the tokenizer. If the tokenizer takes the
    whole text for one word, white space separates words. Never separated are tokens that share a
    character (the bytes of an emoji), a letter and its accents, and the parts of a word around an
    invisible character. The number of a token does not depend on the tokens after it.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens. They may overlap, be empty or begin with the
            space before a word.
        word_ids: The tokenizer's number of each token's word, None for none (T,).
        ranked: False for special tokens, which belong to no word and end the current one (T,).

    Returns:
        The number of each token's word, 0..U-1 from the left, -1 for none (T,).

    Examples:
        >>> offsets, ids = [(0, 0), (0, 2), (2, 6), (6, 9), (0, 0)], [None, 0, 0, 1, None]
        >>> number_words("unable to", offsets, ids, [False, True, True, True, False])
        [-1, 0, 0, 1, -1]
    """
    numbers: list[int] = []
    last = -1
    span: Span | None = None
    before: int | None = None
    for (start, end), word, ranks in zip(offsets, word_ids, ranked, strict=True):
        if not ranks:
            span = None
        elif span is not None and _continues(text, span, start, word == before):
            span = (min(span[0], start), max(span[1], end))
        else:
            span, last = (start, end), last + 1
        numbers.append(last if ranks else -1)
        before = word
    return numbers


def number_pieces(text: str, offsets: Sequence[Span], ranked: Sequence[bool]) -> list[int]:
    """Number the words of a text as separated by white space, by token.

    A token belongs to the word in which it begins, or to the next word if it begins with the space
    before it. Special tokens end a word. The number of a token does not depend on the tokens after
    it.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens.
        ranked: False for special tokens, which belong to no word (T,).

    Returns:
        The number of each token's word, 0..U-1 from the left, -1 for none (T,).

    Examples:
        >>> offsets = [(0, 3), (3, 4), (4, 5), (6, 10), (10, 11), (11, 14)]
        >>> number_pieces("don't well-off", offsets, [True] * 6)
        [0, 0, 0, 1, 1, 1]
    """
    ends = [piece.end() for piece in re.finditer(r"\S+", text)]
    numbers: list[int] = []
    last = -1
    before: int | None = None
    for (start, end), ranks in zip(offsets, ranked, strict=True):
        if not ranks:
            numbers.append(-1)
            before = None
            continue
        # An empty token at the end of a piece belongs to that piece.
        piece = min((bisect_right if start < end else bisect_left)(ends, start), len(ends) - 1)
        if before is None or piece > before:
            before, last = piece, last + 1
        numbers.append(last)
    return numbers


def spans_of(text: str, units: Sequence[int], offsets: Sequence[Span]) -> tuple[Span, ...]:
    """Return the characters of each unit, trimmed of white space unless it has nothing else.

    Args:
        text: The original text.
        units: The number of each token's unit, 0..U-1 from the left, -1 for none (T,).
        offsets: The characters of each token (T,).

    Returns:
        Sorted, disjoint spans within the text (U,).

    Examples:
        >>> spans_of("unable to", [-1, 0, 0, 1], [(0, 0), (0, 2), (2, 6), (6, 9)])
        ((0, 6), (7, 9))
    """
    spans: dict[int, Span] = {}
    for unit, (start, end) in zip(units, offsets, strict=True):
        if unit >= 0:
            first, last = spans.get(unit, (start, end))
            spans[unit] = (min(first, start), max(last, end))
    return tuple(disjoint(text, list(spans.values())))


def disjoint(text: str, spans: Sequence[Span]) -> list[Span]:
    """Trim white space from spans, and assign shared characters to the first span.

    Accents after a span that the tokenizer has dropped belong to that span.

    Examples:
        >>> disjoint("a 😀!", [(0, 1), (1, 3), (2, 3), (3, 4)])
        [(0, 1), (2, 3), (3, 3), (3, 4)]
    """
    trimmed: list[Span] = []
    cursor = 0
    for (start, end), (next_start, _) in pairwise([*spans, (len(text), len(text))]):
        start = min(max(start, cursor), len(text))
        cursor = min(max(end, start), len(text))
        limit = min(next_start, len(text))
        while start < cursor < limit and category(text[cursor]).startswith("M"):
            cursor += 1
        trimmed.append(_trimmed(text, start, cursor))
    return trimmed


def _continues(text: str, span: Span, start: int, same: bool) -> bool:
    """Return whether a token that begins at ``start`` continues the word at ``span``."""
    first, end = span
    if start < end:
        return True
    joined = _joined_by_mark(text, span, start)
    if joined is not None:
        return joined
    if not same:
        return False
    # The first character is checked before all: a slice per token is quadratic in a word's length.
    blank = start == end and not text[first : min(first + 1, end)].strip()
    blank = blank and not text[first:end].strip()
    # White space may be between the tokens, at the end of one or at the start of the next.
    separated = any(map(str.isspace, text[max(first, end - 1) : start + 1]))
    return blank or not separated


def _joined_by_mark(text: str, span: Span, start: int) -> bool | None:
    """Return whether a word continues at an accent or invisible character; None without one.

    Byte-level tokenizers separate letters from these, and thereby scripts that write vowels as
    accents. They also join them to the punctuation that follows.
    """
    first, end = span
    if not first < end == start < len(text):
        return None
    if text[start].isascii() and text[end - 1].isascii():
        return None  # neither is such a character
    if _is_mark(text[start]):
        return not text[end - 1].isspace()
    base = next((char for char in reversed(text[first:end]) if not _is_mark(char)), "a")
    return text[start].isalnum() if _is_mark(text[end - 1]) and base.isalnum() else None


def _is_mark(char: str) -> bool:
    return category(char) in ("Mn", "Mc", "Me", "Cf")


def _trimmed(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    kept = piece.lstrip()
    if not kept:
        return start, end
    start += len(piece) - len(kept)
    return start, start + len(kept.rstrip())


def normal(word: str) -> str:
    """Return a word normalized to NFKC and case-folded.

    Examples:
        >>> normal("Great"), normal("ﬁlm")
        ('great', 'film')
    """
    return normalize("NFKC", word).casefold().strip()
