"""Correlations between methods as a matplotlib figure: one coloured cell for each two."""

from collections.abc import Sequence
from math import isnan
from textwrap import fill
from typing import TYPE_CHECKING

from bertx.errors import InputError
from bertx.rendering.canvas import blank_figure, shortened, text_width
from bertx.rendering.colours import GREY, ink_on, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_CELL, _HEAD, _LINE, _EDGE, _NARROWEST = 0.6, 0.62, 0.17, 0.15, 3.2
_LONGEST = 24


def matrix_figure(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    title: str,
    subtitle: str = "",
    note: str = "",
) -> "Figure":
    """Draw the correlations of each two of M methods as coloured cells with their numbers.

    A value has the same colour in every figure: red at 1, white at 0, blue at -1. The diagonal is
    empty; a cell without a value has a dash.

    Args:
        names: Names of the methods (M).
        values: Their correlations (M, M), each in [-1, 1]; NaN where there is none.
        title: The heading.
        subtitle: Printed small below it, such as the epoch.
        note: Printed small below the cells.

    Returns:
        A figure as large as its contents, with an Agg canvas that pyplot does not know of.

    Raises:
        InputError: If there are not M rows of M values.
    """
    if any(len(part) != len(names) for part in (values, *values)):
        raise InputError(
            f"a matrix of {len(names)} names needs as many rows and columns, got rows of "
            f"{[len(row) for row in values]} values"
        )
    shown = [shortened(name, _LONGEST) for name in names]
    margin = max([text_width(name, size=10) for name in shown], default=0.0) / 72 + 2 * _EDGE
    side = _CELL * len(shown)
    heading = max(text_width(title, size=13, weight="bold"), text_width(subtitle, size=10)) / 72
    width = max(margin + max(side, heading) + _EDGE, _NARROWEST)
    foot = fill(note, int(12 * width))
    below = margin + _LINE * len(foot.splitlines())
    height = _HEAD + side + below
    figure = blank_figure(width, height)
    axes = figure.add_axes((margin / width, below / height, side / width, side / height))
    _fill(axes, values)
    _dress(axes, shown)
    left, top = margin / width, 1 - 0.34 / height
    figure.text(left, top, title, fontsize=13, fontweight="bold", parse_math=False)
    figure.text(left, top - 0.2 / height, subtitle, fontsize=10, color=GREY, parse_math=False)
    figure.text(_EDGE / width, _EDGE / height / 2, foot, fontsize=9, color=GREY, parse_math=False)
    return figure


def _fill(axes: "Axes", values: Sequence[Sequence[float]]) -> None:
    from matplotlib.patches import Rectangle

    for row, numbers in enumerate(values):
        for column, value in enumerate(numbers):
            if row == column:
                continue
            colour = shade(0.0 if isnan(value) else value, signed=True)
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor="white", lw=1.5))
            axes.text(
                column, row, _number(value),
                ha="center", va="center", fontsize=10, color=ink_on(colour),
            )  # fmt: skip


def _number(value: float) -> str:
    return "–" if isnan(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _dress(axes: "Axes", names: Sequence[str]) -> None:
    places, end = range(len(names)), len(names) - 0.5
    axes.set(xlim=(-0.5, end), ylim=(end, -0.5))
    axes.set_xticks(places, names, fontsize=10, rotation=90, parse_math=False)
    axes.set_yticks(places, names, fontsize=10, parse_math=False)
    axes.tick_params(length=0, pad=6)
    axes.spines[:].set_visible(False)
