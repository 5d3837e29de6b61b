"""Figures of values with their intervals: dots for methods, and bars for words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from bertx.errors import InputError
from bertx.rendering.canvas import add_heading, blank_figure, shortened, styled
from bertx.rendering.colours import AGAINST, AMOUNT, BLACK, PALETTE, TOWARDS
from bertx.rendering.heatmap_figure import drawable
from bertx.statistics.correlations import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_PANEL, _ROW, _LINE, _FRAME, _LETTER = 2.55, 0.42, 0.185, 0.6, 0.085
_NARROWEST, _NARROWEST_OF_BARS = 5.5, 4.0
_MOST = 3  # panels in a row
_LONGEST, _LONGEST_WORD = 28, 16  # characters of names and words
_ZERO: dict[str, Any] = {"color": "#8a8a8a", "lw": 0.9}
_MARKERS = ("o", "s", "D", "^")
_OPEN: dict[str, Any] = {"ls": "", "marker": "o", "ms": 8, "mfc": "none", "mec": BLACK, "mew": 1.3}
"""The circles of published values."""

Bar = tuple[str, float, float]
"""A word, its mean score, and half of the width of its 95 % interval."""


@dataclass(frozen=True)
class Dot:
    """One value.

    Attributes:
        row: The row, such as a method.
        series: The series; it looks the same in all panels.
        mean: The value with its interval; NaN is not drawn.
        single: The values that it is the mean of, drawn small and faint.
    """

    row: str
    series: str
    mean: Interval
    single: Sequence[float] = ()


@dataclass(frozen=True)
class DotPanel:
    """One panel of a figure of dots.

    Attributes:
        title: Its heading.
        dots: The values, at most 1.
        published: Published values to compare with, by row.
    """

    title: str
    dots: Sequence[Dot]
    published: Sequence[tuple[str, float]] = field(default=())


@dataclass(frozen=True)
class WordBars:
    """One panel of a figure of words.

    Attributes:
        method: The method.
        signed: Whether scores have a sign.
        high: The words with the highest scores, the highest first.
        low: The words with the lowest scores, drawn further below, the lowest last.
    """

    method: str
    signed: bool
    high: Sequence[Bar]
    low: Sequence[Bar] = ()


@styled
def dots_figure(panels: Sequence[DotPanel], title: str, subtitle: str = "") -> "Figure":
    """Draw panels side by side with the same rows, in the order of their first dots.

    Args:
        panels: The panels.
        title: The heading.
        subtitle: Printed small below it.

    Returns:
        A figure with an Agg canvas, independent of pyplot: it need not be closed.

    Raises:
        InputError: If there is no dot.
    """
    dots = [dot for panel in panels for dot in panel.dots]
    if not dots:
        raise InputError("dots_figure: expected at least one value, got none")
    rows = list(dict.fromkeys(dot.row for dot in dots))
    series = list(dict.fromkeys(dot.series for dot in dots))
    names = [shortened(row, _LONGEST) for row in rows]
    width = _LETTER * max(map(len, names)) + _PANEL * len(panels)
    figure = blank_figure(max(width, _NARROWEST), _ROW * len(rows) + 2 * _FRAME)
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(every, panels, strict=True):
        _draw_dots(axes, panel, rows, series)
        axes.set_title(panel.title)
    every[0].set(ylim=(len(rows) - 0.5, -0.5))
    every[0].set_yticks(range(len(rows)), names)
    _legend(figure, series, any(panel.published for panel in panels))
    add_heading(figure, title, subtitle)
    return figure


def _draw_dots(axes: "Axes", panel: DotPanel, rows: Sequence[str], series: Sequence[str]) -> None:
    step = 0.7 / len(series)
    first = -(len(series) - 1) / 2 * step
    for dot in panel.dots:
        place = series.index(dot.series)
        y, look = rows.index(dot.row) + first + place * step, _look(place)
        axes.plot(dot.single, [y] * len(dot.single), **look, ls="", ms=3.2, alpha=0.35)
        axes.plot(dot.mean[1:], [y, y], color=look["color"], lw=1.6)
        axes.plot([dot.mean.value], [y], **look, ls="", ms=6)
    for row, value in panel.published:
        if row in rows:
            axes.plot([value], [rows.index(row) + first], **_OPEN)
    values = [x for dot in panel.dots for x in (*dot.mean, *dot.single) if isfinite(x)]
    low = min([0.0, *values])
    axes.set_xlim(low - 0.03, 1.03)
    if low < 0:
        axes.axvline(0, **_ZERO)
    for border in range(1, len(rows)):
        axes.axhline(border - 0.5, color="#e8e8e8", lw=0.8)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)


def _look(place: int) -> dict[str, Any]:
    colour, marker = PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]
    return {"color": colour, "marker": marker, "mew": 0}


def _legend(figure: "Figure", series: Sequence[str], published: bool) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **_look(place), ms=6, lw=1.6) for place in range(len(series))]
    names = list(series)
    if published:
        lines.append(Line2D([], [], **_OPEN))
        names.append("as published")
    figure.legend(lines, names, loc="outside lower left", ncols=len(names))


@styled
def word_bars_figure(panels: Sequence[WordBars], title: str, subtitle: str = "") -> "Figure":
    """Draw words as horizontal bars with whiskers, each panel on its own scale.

    As in heatmaps, red speaks for a class, blue against it, and violet is an amount without a
    direction.

    Args:
        panels: The panels.
        title: The heading.
        subtitle: Printed small below it.

    Returns:
        A figure with an Agg canvas, independent of pyplot: it need not be closed.

    Raises:
        InputError: If there is no panel.
    """
    if not panels:
        raise InputError("word_bars_figure: expected at least one panel, got none")
    rows = []
    for signed in (True, False):
        league = [panel for panel in panels if panel.signed == signed]
        rows += [league[start : start + _MOST] for start in range(0, len(league), _MOST)]
    heights = [max(map(_lines, row)) * _LINE + _FRAME for row in rows]
    columns = max(map(len, rows))
    width = columns * (_PANEL + _LETTER * _LONGEST_WORD / 2)
    figure = blank_figure(max(width, _NARROWEST_OF_BARS), sum(heights))
    every = figure.subplots(len(rows), columns, height_ratios=heights, squeeze=False)
    for row, places in zip(rows, every, strict=True):
        for panel, axes in zip(row, places, strict=False):
            _draw_bars(axes, panel, max(map(_lines, row)))
        for axes in places[len(row) :]:
            axes.remove()
    add_heading(figure, title, subtitle)
    return figure


def _lines(panel: WordBars) -> int:
    return len(panel.high) + len(panel.low) + bool(panel.low)


def _draw_bars(axes: "Axes", panel: WordBars, lines: int) -> None:
    words, means, widths = zip(*panel.high, *panel.low, strict=True)
    places = [i + bool(panel.low and i >= len(panel.high)) for i in range(len(words))]
    red, blue, violet = TOWARDS[-1], AGAINST[-1], AMOUNT[-2]
    colours = [red if mean >= 0 else blue for mean in means]
    if not panel.signed:
        colours = [violet] * len(words)
    whisker = {"ecolor": BLACK, "elinewidth": 1.0}
    axes.barh(places, means, height=0.72, color=colours, xerr=widths, error_kw=whisker)
    axes.set_yticks(places, [drawable(shortened(word, _LONGEST_WORD)) for word in words])
    axes.set_ylim(lines - 0.4, -0.6)
    axes.axvline(0, **_ZERO)
    axes.set_title(panel.method)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
