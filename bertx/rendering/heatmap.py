"""Heatmaps: a text with a score for each word, as a self-contained fragment of HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import chain
from math import isfinite, isnan

from bertx.errors import InputError
from bertx.rendering.colours import colours_of, scale

NOT_A_NUMBER = "not a number"
BLANK = "␣"
"""Printed for a word without visible characters."""

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
    """A text split into words, with a score for each.

    Attributes:
        words: Pieces of the original text, one per unit.
        scores: One per word; NaN is shown as such.
        signed: Whether positive scores speak for the explained class and negative scores against
            it; scores without a sign (at least 0) only say how much a word matters.
        gaps: The text before each word and after the last one: ``len(words) + 1``.
        marked: Which words belong to a human rationale; None without one.
    """

    words: Sequence[str]
    scores: Sequence[float]
    signed: bool
    gaps: Sequence[str]
    marked: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            InputError: If there is not one score and mark per word, or not one gap more.
        """
        count = len(self.words)
        marks = count if self.marked is None else len(self.marked)
        if (len(self.scores), len(self.gaps), marks) != (count, count + 1, count):
            raise InputError(
                f"heatmap: expected a score and a mark for each of {count} words, and one gap "
                f"more, got {len(self.scores)} scores, {marks} marks and {len(self.gaps)} gaps"
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
        """Split a text into words by character offsets; `text` of the result is the text again.

        White space at the ends of a span belongs to the gaps. Where spans overlap, as the bytes of
        one emoji do, the characters belong to the first of them.

        Args:
            text: The original text.
            spans: Start and end of each unit, from left to right.
            scores: One per unit.
            signed: See `Heatmap`.
            marked: See `Heatmap`.

        Raises:
            InputError: If a span lies outside the text, or the lengths differ.

        Examples:
            >>> heatmap = Heatmap.from_offsets("Not bad!", [(0, 3), (4, 7)], [0.5, -1.0], True)
            >>> heatmap.words, heatmap.gaps
            (('Not', 'bad'), ('', ' ', '!'))
        """
        words, gaps, cursor = [], [], 0
        for start, end in spans:
            if not 0 <= start <= end <= len(text):
                raise InputError(
                    f"span ({start}, {end}): expected a range within a text of {len(text)} "
                    "characters. Offsets and text must belong together."
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
        """The largest finite absolute score, to which colours are scaled; 1 if all are 0."""
        return max((abs(score) for score in self.scores if isfinite(score)), default=0.0) or 1.0

    @property
    def levels(self) -> list[float]:
        """Scores divided by `limit`: in [-1, 1], or NaN."""
        limit = self.limit
        return [s if isnan(s) else max(-1.0, min(1.0, s / limit)) for s in self.scores]

    @property
    def marks(self) -> Sequence[bool]:
        """For each word whether it is marked; False for all without a rationale."""
        return self.marked if self.marked is not None else [False] * len(self.words)

    def without_text(self) -> "Heatmap":
        """Replace the words by numbers from 1 on and keep the scores.

        Examples:
            >>> heatmap = Heatmap.from_offsets("Not bad!", [(0, 3), (4, 7)], [0.5, -1.0], True)
            >>> heatmap.without_text().text
            '1 2'
        """
        count = len(self.words)
        gaps = ("", *[" "] * (count - 1), "")[: count + 1]
        return replace(self, words=tuple(str(n + 1) for n in range(count)), gaps=gaps)

    def strongest(self, count: int) -> list[str]:
        """Return the words with the largest absolute scores, largest first, with their scores."""
        ranked = [i for i, score in enumerate(self.scores) if not isnan(score)]
        ranked.sort(key=lambda i: -abs(self.scores[i]))
        return [f"{visible(self.words[i])} {self.describe(i)}" for i in ranked[:count]]

    def describe(self, word: int) -> str:
        """Format the score of a word in three significant digits, with its sign if signed."""
        score = self.scores[word]
        if isnan(score):
            return NOT_A_NUMBER
        return f"{score:+.3g}" if self.signed else f"{score:.3g}"


def heatmap_html(heatmap: Heatmap) -> str:
    """Draw a heatmap as one ``<div>``.

    All styles are inline, with explicit colours of background and text, so it looks the same on
    light and dark pages; it has no script and loads nothing. Colours are scaled to the largest
    absolute score of the text. Hovering over a word shows its score. Text between the words, such
    as the tail of a truncated text, is dimmed.
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
    """Draw the legend of the colours of `heatmap_html` as one ``<div>``."""
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
    """Return the meaning of the two ends of the colours."""
    return ("against the class", "towards the class") if signed else ("0", "largest score")


def clipped(gap: str) -> str:
    """Return text without a score as it is printed: the beginning, if it is long."""
    if not is_text(gap) or len(gap) <= _TAIL:
        return printable(gap)
    return f"{printable(gap[:_TAIL])}…"


def printable(text: str) -> str:
    """Replace characters that no page can hold (NUL, controls, lone surrogates) by U+FFFD."""
    return _CONTROLS.sub("\ufffd", text)


def visible(word: str) -> str:
    """Return a word as it is printed: ``␣`` if it has no visible characters.

    Examples:
        >>> visible("film"), visible("")
        ('film', '␣')
    """
    word = printable(word)
    return word if any(c.isprintable() and not c.isspace() for c in word) else BLANK


def is_text(gap: str) -> bool:
    """Whether a gap has text without a score, not only white space."""
    return bool(gap.strip())


def _word_style(level: float, signed: bool) -> str:
    if isnan(level):
        colours = _HATCHED
    else:
        background, ink = colours_of(level, signed)
        colours = f"background:{background};color:{ink}"
    return f"{colours};padding:.12em .1em;border-radius:.22em"


def _gap_html(gap: str) -> str:
    if not is_text(gap):
        return escape(printable(gap))
    more = len(gap) - _TAIL
    title = "no score" if more <= 0 else f"no score, nor have the next {more} characters"
    return f'<span title="{title}" style="color:#6b6b6b">{escape(clipped(gap))}</span>'


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends, unless it has nothing else."""
    piece = text[start:end]
    word = piece.strip()
    if not word:
        return start, end
    start += len(piece) - len(piece.lstrip())
    return start, start + len(word)
