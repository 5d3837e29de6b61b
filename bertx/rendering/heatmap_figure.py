"""Heatmaps drawn by matplotlib, for loggers that show pictures but no HTML, and for papers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isnan
from typing import TYPE_CHECKING
from unicodedata import bidirectional

from bertx.rendering.canvas import blank_figure, shortened, text_width
from bertx.rendering.colours import GREY, INK, ink_on, scale, shade
from bertx.rendering.heatmap import Heatmap, is_text, visible
from bertx.rendering.heatmap_page import HeatmapRow, methods_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# all lengths are in points
_WIDTH, _MARGIN, _NAMES = 660.0, 16.0, 136.0
_LINE, _BETWEEN, _HEADING, _LEGEND = 18.0, 5.0, 24.0, 30.0
_FONT, _SMALL, _PAD, _SPACE = 10.0, 9.0, 1.5, 3.5
_MOST_LINES, _LONGEST, _LONGEST_NAME = 6, 60, 25
_FAMILY = "DejaVu Sans"


@dataclass(frozen=True)
class _Box:
    """One word in its place: line, distance from the left and width; no level means no score."""

    word: str
    line: int
    left: float
    width: float
    level: float | None
    marked: bool


def heatmap_figure(rows: Sequence[HeatmapRow], dated: bool = True) -> "Figure":
    """Draw the rows one below the other, each method's words as coloured boxes.

    Texts wrap; after six lines they end in an ellipsis. Characters that the font lacks become □.

    Args:
        rows: The examples; about eight make a handy picture.
        dated: Whether the epoch and step of each are printed.

    Returns:
        A figure as high as its contents, which pyplot does not know of.
    """
    blocks = [[(name, _boxes(row, name)) for name in methods_of(rows)] for row in rows]
    height = 2 * _MARGIN + _LEGEND + sum(_height(block) for block in blocks)
    figure = blank_figure(_WIDTH / 72, height / 72, dpi=120)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    top = _MARGIN
    for row, block in zip(rows, blocks, strict=True):
        _draw_row(axes, row, block, top, dated)
        top += _height(block)
    _draw_legend(axes, rows, top + _LEGEND / 2)
    return figure


def _boxes(row: HeatmapRow, method: str) -> list[_Box]:
    if method not in row.heatmaps:
        return [_Box("–", 0, 0.0, _measure("–"), None, False)]
    width = _WIDTH - 2 * _MARGIN - _NAMES
    boxes = list(_flow(row.heatmaps[method], width))
    if _from_right(row.text):
        return [replace(box, left=width - box.left - box.width) for box in boxes]
    return boxes


def _flow(heatmap: Heatmap, width: float) -> Iterator[_Box]:
    """Break a heatmap into lines of at most ``width``."""
    line, left = 0, 0.0
    for word, level, marked in _pieces(heatmap):
        if word.isspace():
            left += _SPACE if left else 0.0
            continue
        size = _measure(word) + 2 * _PAD
        if left and left + size > width:
            line, left = line + 1, 0.0
        if line == _MOST_LINES:
            yield _Box("…", line - 1, width, 0.0, None, False)
            return
        yield _Box(word, line, left, size, level, marked)
        left += size


def _pieces(heatmap: Heatmap) -> Iterator[tuple[str, float | None, bool]]:
    """Words with their levels, and between them white space and text without a score."""
    yield from _gap(heatmap.gaps[0])
    for word, level, marked, gap in zip(
        heatmap.words, heatmap.levels, heatmap.marks, heatmap.gaps[1:], strict=True
    ):
        yield drawable(shortened(visible(word), _LONGEST)), level, marked
        yield from _gap(gap)


def _gap(gap: str) -> Iterator[tuple[str, float | None, bool]]:
    if is_text(gap):
        yield from (
            (" ", None, False),
            (drawable(shortened(gap.strip(), _LONGEST)), None, False),
            (" ", None, False),
        )
    elif gap:
        yield " ", None, False


def _height(block: Sequence[tuple[str, Sequence[_Box]]]) -> float:
    return _HEADING + sum(_LINE * _lines(boxes) + _BETWEEN for _, boxes in block) + _MARGIN


def _lines(boxes: Sequence[_Box]) -> int:
    return boxes[-1].line + 1 if boxes else 1


def _draw_row(
    axes: "Axes",
    row: HeatmapRow,
    block: Sequence[tuple[str, Sequence[_Box]]],
    top: float,
    dated: bool,
) -> None:
    verdict = {True: "✓ right", False: "✗ wrong", None: "? not labelled"}[row.right]
    gold = [f"gold {shortened(row.gold, _LONGEST)}"] if row.gold else []
    facts = [verdict, *gold, f"predicted {shortened(row.predicted, _LONGEST)}"]
    heading = "   ".join([*facts, f"probability {row.probability:.3f}"])
    _write(axes, _MARGIN, top + _HEADING / 2, heading, INK, weight="bold")
    when = f"epoch {row.epoch}, step {row.step}" if dated else ""
    _write(axes, _WIDTH - _MARGIN, top + _HEADING / 2, when, GREY, size=_SMALL, align="right")
    top += _HEADING
    for name, boxes in block:
        _write(axes, _MARGIN, top + _LINE / 2, shortened(name, _LONGEST_NAME), GREY, size=_SMALL)
        signed = name in row.heatmaps and row.heatmaps[name].signed
        for box in boxes:
            _draw_box(axes, box, signed, top + box.line * _LINE)
        top += _LINE * _lines(boxes) + _BETWEEN


def _draw_box(axes: "Axes", box: _Box, signed: bool, top: float) -> None:
    from matplotlib.patches import Rectangle

    left, ink = _MARGIN + _NAMES + box.left, GREY
    if box.level is not None:
        unknown = isnan(box.level)
        face = "#f4f4f4" if unknown else shade(box.level, signed)
        ink = INK if unknown else ink_on(face)
        patch = Rectangle((left, top + 1.5), box.width, _LINE - 3, facecolor=face, linewidth=0)
        if unknown:
            patch.set(hatch="/////", edgecolor="#cfcfcf")
        axes.add_patch(patch)
    if box.marked:
        ends = left + _PAD, left + box.width - _PAD
        axes.hlines(top + _LINE - 3.2, *ends, color=ink, linewidth=1.1)
    _write(axes, left + _PAD, top + _LINE / 2, box.word, ink)


def _draw_legend(axes: "Axes", rows: Sequence[HeatmapRow], middle: float) -> None:
    kinds = {heatmap.signed for row in rows for heatmap in row.heatmaps.values()}
    left = _MARGIN + _NAMES
    for signed in sorted(kinds, reverse=True):
        low, high = ("against", "towards the class") if signed else ("0", "largest score")
        left = _draw_bar(axes, signed, low, high, left, middle)


def _draw_bar(axes: "Axes", signed: bool, low: str, high: str, left: float, middle: float) -> float:
    """Draw one colour bar with its ends named; returns where the next one may begin."""
    from matplotlib.colors import LinearSegmentedColormap

    _write(axes, left, middle, low, GREY, size=_SMALL)
    start = left + _measure(low) + 2
    colours = LinearSegmentedColormap.from_list("scale", list(scale(signed)))
    extent = (start, start + 80, middle + 4, middle - 4)
    bounds = axes.get_xlim(), axes.get_ylim()
    axes.imshow([[i / 63 for i in range(64)]], cmap=colours, extent=extent, aspect="auto")
    axes.set(xlim=bounds[0], ylim=bounds[1])
    _write(axes, start + 86, middle, high, GREY, size=_SMALL)
    return start + 86 + _measure(high) + 20


def _write(
    axes: "Axes",
    left: float,
    middle: float,
    text: str,
    colour: str,
    size: float = _FONT,
    weight: str = "normal",
    align: str = "left",
) -> None:
    axes.text(
        left, middle, drawable(text), color=colour, fontsize=size, fontweight=weight, ha=align,
        va="center_baseline", family=_FAMILY, parse_math=False,
    )  # fmt: skip


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FAMILY)).get_charmap())


def drawable(text: str) -> str:
    """The text with □ for what the font lacks: matplotlib would warn of each."""
    return "".join(c if ord(c) in _glyphs() and c.isprintable() else "□" for c in text)


def _from_right(text: str) -> bool:
    """Whether the first letter with a direction runs from right to left."""
    directions = (bidirectional(c) for c in text)
    return next((d != "L" for d in directions if d in ("L", "R", "AL")), False)


def _measure(text: str) -> float:
    return text_width(text, family=_FAMILY, size=_FONT)
