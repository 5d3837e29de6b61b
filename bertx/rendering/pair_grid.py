"""A grid of pairs: distributions on the diagonal, points below it, correlations above."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from bertx.errors import InputError
from bertx.rendering.canvas import Heading, blank_figure, shortened
from bertx.rendering.colours import PALETTE, ink_on, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_CELL, _GAP, _LEFT, _HEAD, _FOOT, _EDGE = 1.55, 0.1, 0.62, 0.85, 0.55, 0.2
_LEAST = 4.6
_LONGEST = 18
_BINS = 24

Said = tuple[float, str]
"""A correlation, and what is printed below it."""


def pair_grid_figure(
    values: Mapping[str, Sequence[float]],
    correlations: Mapping[tuple[str, str], Said],
    title: str,
    subtitle: str = "",
) -> "Figure":
    """Draw each two of several series of the same W things against each other.

    Args:
        values: The series by name, (W,) each.
        correlations: What each pair comes to, by the names in the order of ``values``: the cell
            above the diagonal has its colour, red at 1, white at 0, blue at -1.
        title: The heading.
        subtitle: Printed small below it.

    Returns:
        A figure with an Agg canvas that pyplot does not know of: nothing to close.

    Raises:
        InputError: If there are fewer than two series, or they differ in length.
    """
    names, lengths = list(values), {len(own) for own in values.values()}
    if len(names) < 2 or len(lengths) > 1:
        raise InputError(
            f"pair_grid_figure: expected two series or more of one length, got {len(names)} of the "
            f"lengths {sorted(lengths)}"
        )
    side = len(names) * (_CELL + _GAP)
    width = max(_LEFT + side + _EDGE, _LEAST)
    heading = Heading(title, subtitle, width)
    head = _HEAD + heading.more
    height = head + side + _FOOT
    figure = blank_figure(width, height)
    for row in range(len(names)):
        for column in range(len(names)):
            left = _LEFT + column * (_CELL + _GAP)
            bottom = height - head - (row + 1) * (_CELL + _GAP) + _GAP
            place = (left / width, bottom / height, _CELL / width, _CELL / height)
            _draw(figure.add_axes(place), row, column, values, correlations)
    heading.draw(figure)
    return figure


def _draw(
    axes: "Axes",
    row: int,
    column: int,
    values: Mapping[str, Sequence[float]],
    correlations: Mapping[tuple[str, str], Said],
) -> None:
    names = list(values)
    limits = _limits([x for own in values.values() for x in own])
    mine, other = names[row], names[column]
    if row == column:
        _histogram(axes, values[mine], limits)
    elif row > column:
        _points(axes, values[other], values[mine], limits)
    else:
        _cell(axes, correlations[mine, other])
    _dress(axes, row, column, names)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    edge = 0.05 * (high - low or 1.0)
    return low - edge, high + edge


def _histogram(axes: "Axes", values: Sequence[float], limits: tuple[float, float]) -> None:
    axes.hist(values, bins=_BINS, range=limits, color=PALETTE[0], alpha=0.75, lw=0)
    axes.set_xlim(limits)
    axes.margins(y=0.25)


def _points(
    axes: "Axes", x: Sequence[float], y: Sequence[float], limits: tuple[float, float]
) -> None:
    axes.scatter(x, y, s=7, color=PALETTE[0], alpha=0.45, linewidths=0)
    slope, start = _line(x, y)
    ends = np.asarray([min(x), max(x)])
    axes.plot(ends, start + slope * ends, color=PALETTE[1], lw=1.8)
    axes.set(xlim=limits, ylim=limits)
    if limits[0] < 0 < limits[1]:
        axes.axhline(0, color="#d0d0d0", lw=0.8, zorder=0)
        axes.axvline(0, color="#d0d0d0", lw=0.8, zorder=0)


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and start of the regression of y on x."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = ((a - a.mean()) ** 2).sum()
    slope = float(((a - a.mean()) * (b - b.mean())).sum() / spread) if spread else 0.0
    return slope, float(b.mean() - slope * a.mean())


def _cell(axes: "Axes", said: Said) -> None:
    value, below = said
    colour = shade(0.0 if isnan(value) else value, signed=True)
    ink = ink_on(colour)
    axes.set_facecolor(colour)
    number = "–" if isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
    axes.text(
        0.5, 0.56, number, ha="center", va="center", fontsize=16, color=ink,
        transform=axes.transAxes,
    )  # fmt: skip
    axes.text(
        0.5, 0.3, below, ha="center", va="center", fontsize=8, color=ink, transform=axes.transAxes,
        parse_math=False,
    )  # fmt: skip


def _dress(axes: "Axes", row: int, column: int, names: Sequence[str]) -> None:
    last = row == len(names) - 1
    axes.tick_params(labelsize=8, length=0, pad=3)
    axes.locator_params(nbins=3)
    axes.spines[:].set_color("#c8c8c8")
    if row < column:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return
    if row == column:
        axes.set_yticks([])
        axes.text(
            0.06, 0.94, shortened(names[row], _LONGEST), ha="left", va="top", fontsize=9.5,
            fontweight="bold", transform=axes.transAxes, parse_math=False,
        )  # fmt: skip
    if not last:
        axes.set_xticklabels([])
    if column > 0:
        axes.set_yticklabels([])
