"""The words of a text: which tokens form each, and which characters it is made of."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from unicodedata import category, normalize

Span = tuple[int, int]
"""The characters start..end of a text, the end exclusive."""


def number_words(
    text: str,
    offsets: Sequence[Span],
    word_ids: Sequence[int | None],
    ranked: Sequence[bool],
) -> tuple[list[int], list[Span]]:
    """Put the tokens of a text together to words.

    A word is a run of tokens to which the tokenizer gives one word id, parted at white space where
    the tokenizer takes the whole text for one word. Tokens that share a character, as the bytes of
    an emoji do, are never parted, nor is a letter from its accents or a word at an invisible
    character, as byte-level tokenizers do.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens. They may overlap, be empty or begin with the
            space before a word.
        word_ids: The tokenizer's number of each token's word, None for none (T,).
        ranked: False for special tokens, which belong to no word and end one (T,).

    Returns:
        The number of each token's word, 0..U-1 from the left, -1 for none (T,), and the span of
        each word, without white space at its ends unless it is nothing else (U,). Spans are
        sorted, disjoint, and inside of the text.

    Examples:
        >>> offsets, ids = [(0, 0), (0, 2), (2, 6), (6, 9), (0, 0)], [None, 0, 0, 1, None]
        >>> number_words("unable to", offsets, ids, [False, True, True, True, False])
        ([-1, 0, 0, 1, -1], [(0, 6), (7, 9)])
    """
    numbers: list[int] = []
    spans: list[Span] = []
    before: int | None = None
    inside = False
    for (start, end), word, ranks in zip(offsets, word_ids, ranked, strict=True):
        if not ranks:
            numbers.append(-1)
        elif inside and _continues(text, spans[-1], start, word == before):
            spans[-1] = (min(spans[-1][0], start), max(spans[-1][1], end))
            numbers.append(len(spans) - 1)
        else:
            spans.append((start, end))
            numbers.append(len(spans) - 1)
        before, inside = word, ranks
    return numbers, disjoint(text, spans)


def number_pieces(
    text: str, offsets: Sequence[Span], ranked: Sequence[bool]
) -> tuple[list[int], list[Span]]:
    """Put the tokens of a text together to words as white space parts them, whatever is in them.

    A token belongs to the piece in which it begins, or to the next one if it begins with the space
    before it. Special tokens part a piece.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens.
        ranked: False for special tokens, which belong to no word (T,).

    Returns:
        As `number_words` has them: the number of each token's word (T,), and their spans (U,).

    Examples:
        >>> offsets = [(0, 3), (3, 4), (4, 5), (6, 10), (10, 11), (11, 14)]
        >>> number_pieces("don't well-off", offsets, [True] * 6)
        ([0, 0, 0, 1, 1, 1], [(0, 5), (6, 14)])
    """
    ends = [piece.end() for piece in re.finditer(r"\S+", text)]
    numbers: list[int] = []
    spans: list[Span] = []
    before: int | None = None
    for (start, end), ranks in zip(offsets, ranked, strict=True):
        if not ranks:
            numbers.append(-1)
            before = None
            continue
        # An empty token at the end of a piece belongs to it.
        piece = min((bisect_right if start < end else bisect_left)(ends, start), len(ends) - 1)
        if before is not None and piece <= before:
            spans[-1] = (min(spans[-1][0], start), max(spans[-1][1], end))
        else:
            spans.append((start, end))
            before = piece
        numbers.append(len(spans) - 1)
    return numbers, disjoint(text, spans)


def disjoint(text: str, spans: Sequence[Span]) -> list[Span]:
    """Trim spans by the white space at their ends, and give shared characters to the first.

    Accents that follow a span, and that the tokenizer has dropped, belong to it.

    Examples:
        >>> disjoint("a 😀!", [(0, 1), (1, 3), (2, 3), (3, 4)])
        [(0, 1), (2, 3), (3, 3), (3, 4)]
    """
    clear: list[Span] = []
    cursor = 0
    for place, (start, end) in enumerate(spans):
        following = spans[place + 1][0] if place + 1 < len(spans) else len(text)
        start = min(max(start, cursor), len(text))
        cursor = min(max(end, start), len(text))
        while start < cursor < following and category(text[cursor]).startswith("M"):
            cursor += 1
        clear.append(_trimmed(text, start, cursor))
    return clear


def _continues(text: str, span: Span, start: int, same: bool) -> bool:
    """Whether a token that begins at ``start`` belongs to the word that it follows."""
    first, end = span
    if start < end:
        return True
    goes_on = _clinging(text, span, start)
    if goes_on is not None:
        return goes_on
    # Its first character first: a slice for each token would be quadratic in a word's length.
    blank_so_far = start == end and not text[first : min(first + 1, end)].strip()
    blank_so_far = blank_so_far and not text[first:end].strip()
    # Spaces lie between the tokens, or a token begins or ends with one.
    parted = any(map(str.isspace, text[max(first, end - 1) : start + 1]))
    return same and (blank_so_far or not parted)


def _clinging(text: str, span: Span, start: int) -> bool | None:
    """Whether a word goes on at an accent or an invisible character; None at any other border.

    Byte-level tokenizers part letters from these, and so scripts that write vowels as accents, and
    join them to punctuation that follows.
    """
    first, end = span
    if not first < end == start < len(text):
        return None
    if _clings(text[start]):
        return not text[end - 1].isspace()
    base = next((char for char in reversed(text[first:end]) if not _clings(char)), "a")
    return text[start].isalnum() if _clings(text[end - 1]) and base.isalnum() else None


def _clings(char: str) -> bool:
    return category(char) in ("Mn", "Mc", "Me", "Cf")


def _trimmed(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    kept = piece.lstrip()
    if not kept:
        return start, end
    start += len(piece) - len(kept)
    return start, start + len(kept.rstrip())


def normal(word: str) -> str:
    """One spelling for all forms of a word that differ in case or in Unicode's choice of letters.

    Examples:
        >>> normal("Great"), normal("ﬁlm")
        ('great', 'film')
    """
    return normalize("NFKC", word).casefold().strip()
