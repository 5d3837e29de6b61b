"""One text with one score per word, as a fragment of HTML that stands on its own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import chain
from math import isfinite, isnan

from bertx.errors import InputError
from bertx.rendering.colours import ink_on, scale, shade

NOT_A_NUMBER = "not a number"
BLANK = "␣"
"""Stands for a word without a visible character."""

_TAIL = 200
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_HATCHED = "background:repeating-linear-gradient(45deg,#d5d5d5 0 3px,#f4f4f4 3px 6px);color:#000"
_UNDERLINE = ";text-decoration:underline .1em;text-underline-offset:.1em"
_BOX = (
    "background:#fff;color:#000;padding:.45em .6em;border-radius:.4em;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font:15px/1.75 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"
)
_LEGEND = (
    "display:flex;flex-wrap:wrap;align-items:center;gap:.5em;background:#fff;color:#444;"
    "padding:.35em .75em;border-radius:.4em;"
    "font:12px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"
)


@dataclass(frozen=True)
class Heatmap:
    """A text cut into words, with a score for each.

    Attributes:
        words: Pieces of the original text, one per unit.
        scores: One per word; NaN is shown as such.
        signed: True where a positive score speaks for the explained class and a negative one
            against it; False where a score (at least 0) only says how much.
        gaps: The text before each word and after the last one: ``len(words) + 1``.
        marked: Which words a human rationale names, if there is one.
    """

    words: Sequence[str]
    scores: Sequence[float]
    signed: bool
    gaps: Sequence[str]
    marked: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        """Refuse parts of different lengths.

        Raises:
            InputError: If there is not one score and mark per word, or not one gap more.
        """
        count = len(self.words)
        marks = count if self.marked is None else len(self.marked)
        if (len(self.scores), len(self.gaps), marks) != (count, count + 1, count):
            raise InputError(
                f"a heatmap of {count} words needs as many scores and marks and one gap more, got "
                f"{len(self.scores)} scores, {marks} marks, {len(self.gaps)} gaps"
            )

    @classmethod
    def from_offsets(
        cls,
        text: str,
        spans: Sequence[tuple[int, int]],
        scores: Sequence[float],
        signed: bool,
        marked: Sequence[bool] | None = None,
    ) -> "Heatmap":
        """Cut a text into words by character offsets; `text` of the result is the text again.

        White space at the ends of a span is left to the gaps. Where spans overlap, as the bytes of
        one emoji do, the characters go to the first of them.

        Args:
            text: The original text.
            spans: Start and end of each unit, from the left.
            scores: One per unit.
            signed: See `Heatmap`.
            marked: See `Heatmap`.

        Raises:
            InputError: If a span lies outside of the text, or the lengths differ.

        Examples:
            >>> heatmap = Heatmap.from_offsets("Not bad!", [(0, 3), (4, 7)], [0.5, -1.0], True)
            >>> heatmap.words, heatmap.gaps
            (('Not', 'bad'), ('', ' ', '!'))
        """
        words, gaps, cursor = [], [], 0
        for start, end in spans:
            if not 0 <= start <= end <= len(text):
                raise InputError(
                    f"span ({start}, {end}) is not inside of a text of {len(text)} characters; "
                    "offsets and text must belong together"
                )
            start, end = _trimmed(text, max(start, cursor), max(end, cursor))
            gaps.append(text[cursor:start])
            words.append(text[start:end])
            cursor = end
        numbers = tuple(float(score) for score in scores)
        return cls(tuple(words), numbers, signed, (*gaps, text[cursor:]), marked)

    @property
    def text(self) -> str:
        """The whole text."""
        rest = chain.from_iterable(zip(self.words, self.gaps[1:], strict=True))
        return self.gaps[0] + "".join(rest)

    @property
    def limit(self) -> float:
        """The largest finite absolute score, to which the colours are scaled; 1 if all are 0."""
        return max((abs(score) for score in self.scores if isfinite(score)), default=0.0) or 1.0

    @property
    def levels(self) -> list[float]:
        """Scores divided by `limit`: in [-1, 1], or NaN."""
        limit = self.limit
        return [s if isnan(s) else max(-1.0, min(1.0, s / limit)) for s in self.scores]

    @property
    def marks(self) -> Sequence[bool]:
        """Which words are marked; none without a rationale."""
        return self.marked if self.marked is not None else [False] * len(self.words)

    def without_text(self) -> "Heatmap":
        """The same scores, with numbers from 1 in place of the words.

        Examples:
            >>> heatmap = Heatmap.from_offsets("Not bad!", [(0, 3), (4, 7)], [0.5, -1.0], True)
            >>> heatmap.without_text().text
            '1 2'
        """
        count = len(self.words)
        gaps = ("", *[" "] * (count - 1), "")[: count + 1]
        return replace(self, words=tuple(str(n + 1) for n in range(count)), gaps=gaps)

    def strongest(self, count: int) -> list[str]:
        """The words with the largest absolute scores, largest first, each with its score."""
        ranked = [i for i, score in enumerate(self.scores) if not isnan(score)]
        ranked.sort(key=lambda i: -abs(self.scores[i]))
        return [f"{visible(self.words[i])} {self.describe(i)}" for i in ranked[:count]]

    def describe(self, word: int) -> str:
        """The score of a word in three significant digits, with its sign if it has a meaning."""
        score = self.scores[word]
        if isnan(score):
            return NOT_A_NUMBER
        return f"{score:+.3g}" if self.signed else f"{score:.3g}"


def heatmap_html(heatmap: Heatmap) -> str:
    """Draw a heatmap as one ``<div>``.

    All styles are inline, with explicit colours for paper and ink, so that it looks the same on
    light and dark pages; there is no script and nothing is loaded. Colours are scaled to the
    largest absolute score of the text. Hovering over a word shows its score. Text between the
    words, such as the tail of a truncated text, is dimmed.
    """
    levels, marks = heatmap.levels, heatmap.marks
    body = [_gap_html(heatmap.gaps[0])]
    for i, word in enumerate(heatmap.words):
        title = heatmap.describe(i) + (", human rationale" if marks[i] else "")
        style = _word_style(levels[i], heatmap.signed) + (_UNDERLINE if marks[i] else "")
        body.append(f'<span title="{title}" style="{style}">{escape(visible(word))}</span>')
        body.append(_gap_html(heatmap.gaps[i + 1]))
    strongest = ", ".join(heatmap.strongest(3)) or "none"
    label = escape(f"Scores of the words, largest first: {strongest}")
    return (
        f'<div role="figure" dir="auto" aria-label="{label}" style="{_BOX}">{"".join(body)}</div>'
    )


def legend_html(signed: bool) -> str:
    """Draw what the colours of `heatmap_html` mean, as one ``<div>`` in the same manner."""
    low, high = ends(signed)
    bar = (
        f"width:8em;height:.8em;border-radius:.2em;border:1px solid #ccc;"
        f"background:linear-gradient(90deg,{','.join(scale(signed))})"
    )
    return (
        f'<div dir="ltr" style="{_LEGEND}"><span>{low}</span>'
        f'<span role="presentation" style="{bar}"></span><span>{high}</span></div>'
    )


def ends(signed: bool) -> tuple[str, str]:
    """What the two ends of the colours mean."""
    return ("against the class", "towards the class") if signed else ("0", "largest score")


def clipped(gap: str) -> str:
    """Text without a score as it is printed: of a long one the beginning."""
    if not is_text(gap) or len(gap) <= _TAIL:
        return printable(gap)
    return f"{printable(gap[:_TAIL])}…"


def printable(text: str) -> str:
    """The text with U+FFFD in place of what no page can hold (NUL, controls, lone surrogates)."""
    return _CONTROLS.sub("\ufffd", text)


def visible(word: str) -> str:
    """What to print for a word, also if it is blank: white space, zero-width characters, nothing.

    Examples:
        >>> visible("film"), visible("")
        ('film', '␣')
    """
    word = printable(word)
    return word if any(c.isprintable() and not c.isspace() for c in word) else BLANK


def is_text(gap: str) -> bool:
    """Whether a gap holds more than white space: text without a score."""
    return bool(gap.strip())


def _word_style(level: float, signed: bool) -> str:
    if isnan(level):
        colours = _HATCHED
    else:
        background = shade(level, signed)
        colours = f"background:{background};color:{ink_on(background)}"
    return f"{colours};padding:.12em .1em;border-radius:.22em"


def _gap_html(gap: str) -> str:
    if not is_text(gap):
        return escape(printable(gap))
    more = len(gap) - _TAIL
    title = "no score" if more <= 0 else f"no score, nor have the next {more} characters"
    return f'<span title="{title}" style="color:#6b6b6b">{escape(clipped(gap))}</span>'


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    word = piece.strip()
    if not word:
        return start, end
    start += len(piece) - len(piece.lstrip())
    return start, start + len(word)
