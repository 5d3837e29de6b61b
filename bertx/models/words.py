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
) -> list[int]:
    """Put the tokens of a text together to words.

    A word is a run of tokens to which the tokenizer gives one word id, parted at white space where
    the tokenizer takes the whole text for one word. Tokens that share a character, as the bytes of
    an emoji do, are never parted, nor is a letter from its accents or a word at an invisible
    character, as byte-level tokenizers do. What follows a token never matters to its number.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens. They may overlap, be empty or begin with the
            space before a word.
        word_ids: The tokenizer's number of each token's word, None for none (T,).
        ranked: False for special tokens, which belong to no word and end one (T,).

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
    """Put the tokens of a text together to words as white space parts them, whatever is in them.

    A token belongs to the piece in which it begins, or to the next one if it begins with the space
    before it. Special tokens part a piece. What follows a token never matters to its number.

    Args:
        text: The original text.
        offsets: The characters of each of T tokens.
        ranked: False for special tokens, which belong to no word (T,).

    Returns:
        As `number_words` has it: the number of each token's word (T,).

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
        # An empty token at the end of a piece belongs to it.
        piece = min((bisect_right if start < end else bisect_left)(ends, start), len(ends) - 1)
        if before is None or piece > before:
            before, last = piece, last + 1
        numbers.append(last)
    return numbers


def spans_of(text: str, units: Sequence[int], offsets: Sequence[Span]) -> tuple[Span, ...]:
    """The characters of each unit, without white space at its ends unless it is nothing else.

    Args:
        text: The original text.
        units: The number of each token's unit, 0..U-1 from the left, -1 for none (T,).
        offsets: The characters of each token (T,).

    Returns:
        Spans that are sorted, disjoint, and inside of the text (U,).

    Examples:
        >>> spans_of("unable to", [-1, 0, 0, 1], [(0, 0), (0, 2), (2, 6), (6, 9)])
        ((0, 6), (7, 9))
    """
    spans: dict[int, Span] = {}
    for unit, (start, end) in zip(units, offsets, strict=True):
        if unit >= 0:
            first, last = spans.get(unit, (start, end))
            spans[unit] = (min(first, start), max(last, end))
    return tuple(disjoint(text, [*spans.values()]))


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
        following = min([start for start, _ in spans[place + 1 : place + 2]] + [len(text)])
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
    if not same:
        return False
    # Its first character first: a slice for each token would be quadratic in a word's length.
    blank_so_far = start == end and not text[first : min(first + 1, end)].strip()
    blank_so_far = blank_so_far and not text[first:end].strip()
    # Spaces lie between the tokens, or a token begins or ends with one.
    parted = any(map(str.isspace, text[max(first, end - 1) : start + 1]))
    return blank_so_far or not parted


def _clinging(text: str, span: Span, start: int) -> bool | None:
    """Whether a word goes on at an accent or an invisible character; None at any other border.

    Byte-level tokenizers part letters from these, and so scripts that write vowels as accents, and
    join them to punctuation that follows.
    """
    first, end = span
    if not first < end == start < len(text):
        return None
    if text[start].isascii() and text[end - 1].isascii():
        return None  # which none of them is
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
