"""Pairwise correlations of methods or data sets: as a matrix, or as a grid with scatter plots."""

from collections.abc import Mapping, Sequence
from math import isnan
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from bertx.errors import InputError
from bertx.rendering.canvas import add_heading, blank_figure, shortened, styled
from bertx.rendering.colours import GREY, PALETTE, colours_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_CELL, _LETTER, _LINE, _NARROWEST = 0.6, 0.09, 0.17, 3.2
_PANEL, _LEAST = 1.65, 4.6
_LONGEST, _LONGEST_OF_PANEL = 24, 18
_BINS = 24

Labelled = tuple[float, str]
"""A correlation and the text printed below it."""


@styled
def matrix_figure(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    title: str,
    subtitle: str = "",
    note: str = "",
) -> "Figure":
    """Draw the pairwise correlations of M methods as coloured cells with their numbers.

    A value has the same colour in every figure: red at 1, white at 0, blue at -1. The diagonal is
    empty; a cell without a value has a dash.

    Args:
        names: Names of the methods (M).
        values: Their correlations (M, M), each in [-1, 1]; NaN for a missing value.
        title: The heading.
        subtitle: Printed small below it, such as the epoch.
        note: Printed small below the cells.

    Returns:
        A figure as large as its contents, with an Agg canvas, independent of pyplot.

    Raises:
        InputError: If there are not M rows of M values.
    """
    if any(len(part) != len(names) for part in (values, *values)):
        raise InputError(
            f"matrix_figure: expected {len(names)} rows of {len(names)} values, one for each name, "
            f"got rows of {[len(row) for row in values]} values"
        )
    shown = [shortened(name, _LONGEST) for name in names]
    side = _CELL * len(shown) + _LETTER * max(map(len, shown), default=0) + 0.4
    width = max(side, _NARROWEST)
    foot = fill(note, int(12 * width))
    figure = blank_figure(width, side + _LINE * foot.count("\n"))
    axes = figure.add_subplot(aspect="equal")
    for row, column in np.ndindex(len(shown), len(shown)):
        if row != column:
            _cell(axes, row, column, values[row][column])
    end = len(shown) - 0.5
    axes.set(xlim=(-0.5, end), ylim=(end, -0.5))
    axes.set_xticks(range(len(shown)), shown, rotation=90)
    axes.set_yticks(range(len(shown)), shown)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    add_heading(figure, title, subtitle)
    figure.supxlabel(foot, x=0.03, ha="left", fontsize=9, color=GREY)
    return figure


def _cell(axes: "Axes", row: int, column: int, value: float) -> None:
    from matplotlib.patches import Rectangle

    colour, ink = colours_of(0.0 if isnan(value) else value, signed=True)
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white", lw=1.5))
    axes.text(column, row, _number(value), ha="center", va="center", color=ink)


@styled
def pair_grid_figure(
    values: Mapping[str, Sequence[float]],
    correlations: Mapping[tuple[str, str], Labelled],
    title: str,
    subtitle: str = "",
) -> "Figure":
    """Draw a grid of scatter plots of several series of W values.

    Distributions are on the diagonal, points below it, correlations above.

    Args:
        values: The series by name, (W,) each.
        correlations: The correlation of each pair, with its names in the order of ``values``. It
            colours the cell above the diagonal: red at 1, white at 0, blue at -1.
        title: The heading.
        subtitle: Printed small below it.

    Returns:
        A figure with an Agg canvas, independent of pyplot: it need not be closed.

    Raises:
        InputError: If there are fewer than two series, or they differ in length.
    """
    names, lengths = list(values), {len(series) for series in values.values()}
    if len(names) < 2 or len(lengths) > 1:
        raise InputError(
            f"pair_grid_figure: expected at least two series of one length, got {len(names)} of "
            f"lengths {sorted(lengths)}"
        )
    side = max(len(names) * _PANEL + 0.6, _LEAST)
    figure = blank_figure(side, side)
    every = [x for series in values.values() for x in series]
    edge = 0.05 * (max(every) - min(every) or 1.0)
    limits = min(every) - edge, max(every) + edge
    grid = figure.subplots(len(names), len(names))
    for (row, column), axes in np.ndenumerate(grid):
        name, other = names[row], names[column]
        axes.grid(False)
        axes.spines[:].set(visible=True, color="#c8c8c8")
        if row < column:
            _fill(axes, correlations[name, other])
            continue
        axes.set_xlim(limits)
        axes.locator_params(nbins=3)
        if row == column:
            _histogram(axes, values[name], name)
        else:
            _points(axes, values[other], values[name])
        axes.tick_params(labelsize=8, labelbottom=name == names[-1], labelleft=column == 0)
    add_heading(figure, title, subtitle)
    return figure


def _histogram(axes: "Axes", values: Sequence[float], name: str) -> None:
    axes.hist(values, bins=_BINS, range=axes.get_xlim(), color=PALETTE[0], alpha=0.75, lw=0)
    axes.margins(y=0.25)
    axes.set_yticks([])
    axes.text(
        0.06, 0.94, shortened(name, _LONGEST_OF_PANEL), va="top", fontsize=9.5, fontweight="bold",
        transform=axes.transAxes,
    )  # fmt: skip


def _points(axes: "Axes", x: Sequence[float], y: Sequence[float]) -> None:
    """Draw points with their regression line, and lines at zero."""
    axes.scatter(x, y, s=7, color=PALETTE[0], alpha=0.45, linewidths=0)
    ends = np.asarray([min(x), max(x)])
    if ends[0] < ends[1]:
        slope, start = np.polyfit(x, y, 1)
        axes.plot(ends, start + slope * ends, color=PALETTE[1], lw=1.8)
    axes.set_ylim(axes.get_xlim())
    axes.axhline(0, color="#d0d0d0", lw=0.8, zorder=0)
    axes.axvline(0, color="#d0d0d0", lw=0.8, zorder=0)


def _fill(axes: "Axes", correlation: Labelled) -> None:
    value, below = correlation
    colour, ink = colours_of(0.0 if isnan(value) else value, signed=True)
    axes.set(facecolor=colour, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for y, text, size in ((0.56, _number(value), 16), (0.3, below, 8)):
        axes.text(0.5, y, text, ha="center", va="center", fontsize=size, color=ink)


def _number(value: float) -> str:
    return "–" if isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
