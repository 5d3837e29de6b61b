"""Values with their intervals as dots, one row for each method and one panel for each measure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

from bertx.errors import InputError
from bertx.rendering.canvas import Heading, blank_figure, shortened
from bertx.rendering.colours import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_PANEL, _ROW, _HEAD, _FOOT, _LEGEND, _EDGE = 2.3, 0.42, 1.0, 0.4, 0.35, 0.25
_MARKERS = ("o", "s", "D", "^")
_LONGEST = 28


@dataclass(frozen=True)
class Dot:
    """One value.

    Attributes:
        row: The row, such as a method.
        series: What it is of; it looks the same in all panels.
        value: The value; NaN is not drawn.
        low: Lower end of its interval.
        high: Upper end.
        single: What it is the mean of, drawn small and faint.
    """

    row: str
    series: str
    value: float
    low: float
    high: float
    single: Sequence[float] = ()


@dataclass(frozen=True)
class DotPanel:
    """One panel.

    Attributes:
        title: Its heading.
        dots: The values.
        published: Values that others have published, by row.
        low: Where the axis begins,
        high: and where it ends.
    """

    title: str
    dots: Sequence[Dot]
    published: Sequence[tuple[str, float]] = field(default=())
    low: float = 0.0
    high: float = 1.0


def dots_figure(
    panels: Sequence[DotPanel], title: str, subtitle: str = "", rows: Sequence[str] = ()
) -> "Figure":
    """Draw panels side by side that share their rows.

    Args:
        panels: The panels.
        title: The heading.
        subtitle: Printed small below it.
        rows: The rows from the top; by default in the order in which the dots have them.

    Returns:
        A figure with an Agg canvas that pyplot does not know of: nothing to close.

    Raises:
        InputError: If there is no dot.
    """
    dots = [dot for panel in panels for dot in panel.dots]
    if not dots:
        raise InputError("dots_figure: expected at least one value, got none")
    rows = list(dict.fromkeys([*rows, *(dot.row for dot in dots)]))
    series = list(dict.fromkeys(dot.series for dot in dots))
    margin = 0.085 * max(min(len(row), _LONGEST) for row in rows) + _EDGE
    body = _ROW * len(rows)
    width = margin + len(panels) * (_PANEL + _EDGE)
    heading = Heading(title, subtitle, width)
    height = _HEAD + heading.more + body + _FOOT + _LEGEND
    figure = blank_figure(width, height)
    for number, panel in enumerate(panels):
        left = margin + number * (_PANEL + _EDGE)
        place = (left / width, (_FOOT + _LEGEND) / height, _PANEL / width, body / height)
        axes = figure.add_axes(place)
        _draw(axes, panel, rows, series)
        _dress(axes, panel, rows, named=number == 0)
    _legend(figure, series, any(panel.published for panel in panels), height)
    heading.draw(figure)
    return figure


def _draw(axes: "Axes", panel: DotPanel, rows: Sequence[str], series: Sequence[str]) -> None:
    step = 0.7 / max(len(series), 1)
    for dot in panel.dots:
        place = series.index(dot.series)
        y = rows.index(dot.row) + (place - (len(series) - 1) / 2) * step
        colour, marker = _look(place)
        axes.plot(
            dot.single, [y] * len(dot.single), ls="", marker=marker, ms=3.2, color=colour,
            alpha=0.35, mew=0,
        )  # fmt: skip
        if isfinite(dot.low) and isfinite(dot.high):
            axes.plot([dot.low, dot.high], [y, y], color=colour, lw=1.6, solid_capstyle="butt")
        axes.plot([dot.value], [y], ls="", marker=marker, ms=6, color=colour, mew=0)
    for row, value in panel.published:
        if row in rows:
            y = rows.index(row) - (len(series) - 1) / 2 * step
            axes.plot([value], [y], ls="", marker="o", ms=8, mfc="none", mec="#222222", mew=1.3)


def _look(place: int) -> tuple[str, str]:
    return PALETTE[place % len(PALETTE)], _MARKERS[place % len(_MARKERS)]


def _dress(axes: "Axes", panel: DotPanel, rows: Sequence[str], named: bool) -> None:
    known = [x for dot in panel.dots for x in (dot.value, dot.low, *dot.single) if isfinite(x)]
    low = min(panel.low, *known) if known else panel.low
    axes.set_xlim(low - 0.03, panel.high + 0.03)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    shown = [shortened(row, _LONGEST) for row in rows]
    axes.set_yticks(range(len(rows)), shown if named else [""] * len(rows), fontsize=9.5)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    for border in range(1, len(rows)):
        axes.axhline(border - 0.5, color="#e8e8e8", lw=0.8)
    if low < 0:
        axes.axvline(0, color="#8a8a8a", lw=0.9)
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(labelsize=9, length=0, pad=4)
    axes.tick_params(axis="y", labelsize=9.5)
    axes.grid(axis="x", color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b5b5b5")
    axes.set_title(panel.title, loc="left", fontsize=10.5, pad=6, parse_math=False)


def _legend(figure: "Figure", series: Sequence[str], published: bool, height: float) -> None:
    from matplotlib.lines import Line2D

    lines = []
    for place in range(len(series)):
        colour, marker = _look(place)
        lines.append(Line2D([], [], color=colour, marker=marker, ms=6, lw=1.6, mew=0))
    names = list(series)
    if published:
        lines.append(Line2D([], [], ls="", marker="o", ms=8, mfc="none", mec="#222222", mew=1.3))
        names.append("as published")
    legend = figure.legend(
        lines, names, loc="lower left", bbox_to_anchor=(0.005, 0.05 / height), frameon=False,
        fontsize=9.5, ncols=len(names), handlelength=2.0, columnspacing=1.8,
    )  # fmt: skip
    for label in legend.get_texts():
        label.set_parse_math(False)
