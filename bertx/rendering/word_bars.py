"""Words with their mean scores as bars, one panel for each method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertx.errors import InputError
from bertx.rendering.canvas import Heading, blank_figure, shortened
from bertx.rendering.heatmap_figure import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR, AGAINST, AMOUNT = "#b2182b", "#2166ac", "#6a51a3"
"""The deep ends of the colours of heatmaps."""

# in inches
_PANEL, _LINE, _HEAD, _EDGE, _FOOT, _NAMES = 2.1, 0.185, 0.95, 0.3, 0.35, 0.95
_MOST = 3
_LONGEST = 16

Bar = tuple[str, float, float]
"""A word, its mean score, and half of the width of its 95 % interval."""


@dataclass(frozen=True)
class WordBars:
    """One panel.

    Attributes:
        method: The method.
        signed: Whether scores speak for and against.
        high: The highest words, from the top.
        low: The lowest ones, further below, the lowest last.
    """

    method: str
    signed: bool
    high: Sequence[Bar]
    low: Sequence[Bar] = ()


def word_bars_figure(panels: Sequence[WordBars], title: str, subtitle: str = "") -> "Figure":
    """Draw words as horizontal bars with whiskers; each panel has a scale of its own.

    Red speaks for a class, blue against it, violet is an amount without a direction, as in
    heatmaps.

    Args:
        panels: The panels.
        title: The heading.
        subtitle: Printed small below it.

    Returns:
        A figure with an Agg canvas that pyplot does not know of: nothing to close.

    Raises:
        InputError: If there is no panel.
    """
    if not panels:
        raise InputError("word_bars_figure: expected at least one panel, got none")
    rows = _rows(panels)
    heights = [max(map(_lines, row)) * _LINE for row in rows]
    width = max(map(len, rows)) * (_PANEL + _NAMES) + _EDGE
    heading = Heading(title, subtitle, width)
    head = _HEAD + heading.more
    height = head + sum(heights) + len(rows) * (_FOOT + _EDGE)
    figure = blank_figure(width, height)
    bottom = height - head
    for row, body in zip(rows, heights, strict=True):
        bottom -= body
        for column, panel in enumerate(row):
            left = column * (_PANEL + _NAMES) + _NAMES
            place = (left / width, bottom / height, _PANEL / width, body / height)
            _draw(figure.add_axes(place), panel, body / _LINE)
        bottom -= _FOOT + _EDGE
    heading.draw(figure)
    return figure


def _rows(panels: Sequence[WordBars]) -> list[list[WordBars]]:
    """At most three in a row, signed ones and others apart."""
    leagues = [[panel for panel in panels if panel.signed == signed] for signed in (True, False)]
    return [own[at : at + _MOST] for own in leagues for at in range(0, len(own), _MOST)]


def _lines(panel: WordBars) -> int:
    return len(panel.high) + len(panel.low) + bool(panel.low)


def _draw(axes: "Axes", panel: WordBars, lines: float) -> None:
    bars = [*panel.high, *panel.low]
    below = len(panel.high) if panel.low else len(bars)
    for number, (_, mean, reach) in enumerate(bars):
        place = number + (number >= below)
        colour = AMOUNT if not panel.signed else FOR if mean >= 0 else AGAINST
        axes.barh(place, mean, height=0.72, color=colour, lw=0)
        axes.plot([mean - reach, mean + reach], [place, place], color="#222222", lw=1.0)
    places = [number + (number >= below) for number in range(len(bars))]
    names = [_short(word) for word, _, _ in bars]
    axes.set_yticks(places, names, fontsize=9, parse_math=False)
    axes.set_ylim(lines - 0.4, -0.6)
    axes.axvline(0, color="#8a8a8a", lw=0.8)
    axes.set_title(panel.method, loc="left", fontsize=10.5, pad=5, parse_math=False)
    axes.tick_params(labelsize=8.5, length=0, pad=3)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b5b5b5")


def _short(word: str) -> str:
    return drawable(shortened(word, _LONGEST))
