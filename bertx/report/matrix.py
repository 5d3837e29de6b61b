"""Correlations between methods as a matplotlib figure: one coloured cell for each two."""

from collections.abc import Sequence
from math import isnan
from textwrap import fill
from typing import TYPE_CHECKING

from bertx.errors import InputError
from bertx.report.colours import ink_on, shade
from bertx.report.curves import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# in inches
_CELL, _LETTER, _LINE, _EDGE, _NARROWEST = 0.6, 0.085, 0.18, 0.25, 3.4
_DPI = 150
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if any(len(part) != len(names) for part in (values, *values)):
        raise InputError(
            f"a matrix of {len(names)} names needs as many rows and columns, got rows of "
            f"{[len(row) for row in values]} values"
        )
    shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    margin = _LETTER * max(map(len, shown), default=0) + _EDGE
    side = margin + _CELL * len(shown)
    width = max(side, margin + _LETTER * max(len(subtitle), int(1.4 * len(title))), _NARROWEST)
    foot = fill(note, int(width / _LETTER))
    height = side + _LINE * (4 + len(foot.splitlines()))
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _fill(axes, values)
    _dress(axes, shown)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26, parse_math=False)
    axes.annotate(
        subtitle, (0, 1), (0, 9), "axes fraction", "offset points",
        fontsize=10, color=GREY, parse_math=False,
    )  # fmt: skip
    figure.supxlabel(foot, x=0.02, ha="left", fontsize=9, color=GREY, parse_math=False)
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
    axes.set(xlim=(-0.5, end), ylim=(end, -0.5), aspect="equal", anchor="NW")
    axes.set_xticks(places, names, fontsize=10, rotation=90, parse_math=False)
    axes.set_yticks(places, names, fontsize=10, parse_math=False)
    axes.tick_params(length=0, pad=6)
    axes.spines[:].set_visible(False)
