"""Heatmaps as matplotlib figures, for loggers that show pictures but no HTML, and for papers."""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import bidirectional

from bertx.rendering.canvas import FONT, blank_figure, shortened, styled
from bertx.rendering.colours import GREY, INK, ink_on, shade
from bertx.rendering.heatmap import Heatmap, ends, is_text, visible
from bertx.rendering.heatmap_page import HeatmapRow, methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# all lengths are in points
_WIDTH, _MARGIN, _NAMES = 660.0, 16.0, 136.0
_START, _END = _MARGIN + _NAMES, _WIDTH - _MARGIN
_LINE, _BETWEEN, _HEADING = 18.0, 5.0, 24.0
_FONT, _SMALL, _PAD, _SPACE = 10.0, 9.0, 1.5, 3.5
_MOST_LINES, _LONGEST, _LONGEST_CLASS, _LONGEST_NAME = 6, 60, 20, 25
_DPI = 120


class _Word(NamedTuple):
    """A word or the text between two words; the level is None without a score."""

    text: str
    level: float | None = None
    marked: bool = False


@styled
def heatmap_figure(rows: Sequence[HeatmapRow], dated: bool = True) -> "Figure":
    """Draw rows below each other, with the words of each method as coloured boxes.

    Texts wrap; after six lines they end in an ellipsis. Characters that the font lacks become □.

    Args:
        rows: The examples; about eight make a handy picture.
        dated: Whether the epoch and step of each are printed.

    Returns:
        A figure as high as its contents, independent of pyplot.
    """
    figure = blank_figure(1, 1, _DPI)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    top, methods = _MARGIN, methods_of(rows)
    for row in rows:
        _draw_heading(axes, row, top + _HEADING / 2, dated)
        top += _HEADING
        for name in methods:
            label = shortened(name, _LONGEST_NAME)
            _write(axes, _MARGIN, top + _LINE / 2, label, color=GREY, fontsize=_SMALL)
            top = _draw_words(axes, row.heatmaps.get(name), top) + _BETWEEN
        top += _MARGIN
    signs = {heatmap.signed for row in rows for heatmap in row.heatmaps.values()}
    for place, signed in enumerate(sorted(signs, reverse=True)):
        _draw_scale(axes, signed, _START + 320 * place, top + _MARGIN)
    height = top + 3 * _MARGIN
    figure.set_size_inches(_WIDTH / 72, height / 72)
    axes.set(xlim=(0, _WIDTH), ylim=(height, 0), aspect="auto")
    return figure


def _draw_heading(axes: "Axes", row: HeatmapRow, middle: float, dated: bool) -> None:
    verdict = {True: "✓ right", False: "✗ wrong", None: "? not labelled"}[row.right]
    gold = [f"gold {shortened(row.gold, _LONGEST_CLASS)}"] if row.gold else []
    facts = [verdict, *gold, f"predicted {shortened(row.predicted, _LONGEST_CLASS)}"]
    heading = "   ".join([*facts, f"probability {row.probability:.3f}"])
    _write(axes, _MARGIN, middle, heading, weight="bold")
    if dated:
        when = f"epoch {row.epoch}, step {row.step}"
        _write(axes, _END, middle, when, color=GREY, fontsize=_SMALL, ha="right")


def _draw_words(axes: "Axes", heatmap: Heatmap | None, top: float) -> float:
    """Draw the words in lines below ``top``; return the bottom of the last line."""
    if heatmap is None:
        _write(axes, _START, top + _LINE / 2, "–", color=GREY)
        return top + _LINE
    from_right, line = _from_right(heatmap.text), 0
    for word, left, width, line in _flow(heatmap):
        place = _START + _END - left - width if from_right else left
        _draw_word(axes, word, heatmap.signed, place, width, top + line * _LINE)
    return top + (line + 1) * _LINE


def _draw_word(
    axes: "Axes", word: _Word, signed: bool, left: float, width: float, top: float
) -> None:
    from matplotlib.patches import Rectangle

    ink = GREY
    if word.level is not None:
        missing = isnan(word.level)
        face = "#f4f4f4" if missing else shade(word.level, signed)
        ink = INK if missing else ink_on(face)
        box = Rectangle((left, top + 1.5), width, _LINE - 3, facecolor=face, linewidth=0)
        if missing:
            box.set(hatch="/////", edgecolor="#cfcfcf")
        axes.add_artist(box)  # add_patch would compute limits, which are set below
    if word.marked:
        axes.hlines(top + _LINE - 3.2, left + _PAD, left + width - _PAD, color=ink, linewidth=1.1)
    _write(axes, left + _PAD, top + _LINE / 2, word.text, color=ink)


def _flow(heatmap: Heatmap) -> Iterator[tuple[_Word, float, float, int]]:
    """Yield words with their left edge, width and line; a long text ends in an ellipsis."""
    left, line = _START, 0
    for word in _words(heatmap):
        width = _width(word.text) + 2 * _PAD
        if left > _START and left + width > _END:
            if line + 1 == _MOST_LINES:
                yield _Word("…"), left, _width("…"), line
                return
            left, line = _START, line + 1
        if not word.text.isspace():
            yield word, left, width, line
            left += width
        elif left > _START:
            left += _SPACE


def _words(heatmap: Heatmap) -> Iterator[_Word]:
    """Yield words with their levels, and between them white space and text without a score."""
    yield from _between(heatmap.gaps[0])
    rest = zip(heatmap.words, heatmap.levels, heatmap.marks, heatmap.gaps[1:], strict=True)
    for word, level, marked, gap in rest:
        yield _Word(drawable(shortened(visible(word), _LONGEST)), level, marked)
        yield from _between(gap)


def _between(gap: str) -> Iterator[_Word]:
    """Yield the text of a gap, if it has any, with one space for white space at its ends."""
    if gap[:1].isspace():
        yield _Word(" ")
    if is_text(gap):
        yield _Word(drawable(shortened(gap.strip(), _LONGEST)))
        if gap[-1].isspace():
            yield _Word(" ")


def _draw_scale(axes: "Axes", signed: bool, left: float, middle: float) -> None:
    """Draw the scale of colours with the meaning of its ends."""
    from matplotlib.colors import to_rgb

    low, high = ends(signed)
    start = left + _width(low)
    colours = [to_rgb(shade(n / 40, signed)) for n in range(-40 if signed else 0, 41)]
    axes.imshow([colours], extent=(start, start + 80, middle + 4, middle - 4))
    for place, text in ((left, low), (start + 86, high)):
        _write(axes, place, middle, text, color=GREY, fontsize=_SMALL)


def _write(axes: "Axes", left: float, middle: float, text: str, **look: Any) -> None:
    look = {"fontsize": _FONT, "va": "center_baseline", **look}
    axes.text(left, middle, drawable(text), **look)


def drawable(text: str) -> str:
    """Replace characters that the font lacks by □: matplotlib would warn of each."""
    return "".join(c if ord(c) in _glyphs() and c.isprintable() else "□" for c in text)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def _from_right(text: str) -> bool:
    """Whether a text runs from right to left, by its first letter with a direction."""
    directions = (bidirectional(c) for c in text)
    return next((d != "L" for d in directions if d in ("L", "R", "AL")), False)


@lru_cache(maxsize=4096)
def _width(text: str) -> float:
    """The width of a word in points, at the resolution of the figure, as hinting depends on it."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=FONT, size=_FONT)
    width, _, _ = RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, font, False)
    return float(width) * 72 / _DPI
