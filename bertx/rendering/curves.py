"""Deletion and insertion curves: as figures, and in the files of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from bertx.errors import InputError
from bertx.rendering.canvas import blank_figure, figure_svg, styled
from bertx.rendering.colours import BLACK, GREY, PALETTE
from bertx.rendering.files import Cell, append_scores, write_whole
from bertx.statistics.correlations import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from bertx.metrics.curve_metrics import Kind
    from bertx.models.inputs import Unit

Role = Literal["method", "floor", "ceiling"]
"""The origin of a ranking: a method, the random control, or the search for the best order."""

Stroke = str | tuple[float, tuple[float, ...]]
_STROKES: tuple[Stroke, ...] = ("-", "-.", (0, (5, 1, 1, 1, 1, 1)))
STYLES: dict[str, tuple[str, Stroke]] = {
    "floor": (GREY, "--"),
    "ceiling": (BLACK, ":"),
    **{
        f"c{c} s{s}": (colour, stroke)
        for s, stroke in enumerate(_STROKES)
        for c, colour in enumerate(PALETTE)
    },
}
"""Colour and stroke of a line by its look; the style sheets of pages have the same names."""
_WIDTH, _HEIGHT = 6.4, 3.6
_ENTRY = 0.22  # height of an entry of the legend, in inches like the two above
BETTER: dict[str, str] = {"deletion": "lower", "insertion": "higher"}
DONE: dict[str, str] = {"deletion": "deleted", "insertion": "inserted"}


@dataclass(frozen=True)
class Curve:
    """The mean curve of one method over all examples.

    Attributes:
        name: The method.
        fractions: The K shares of changed units, 0 to 1.
        means: Mean probability of the explained class at each, with its interval (K).
        auc: Area under the mean curve, 0 to 1.
        role: What it is; the floor is drawn grey and dashed, the ceiling black and dotted.
    """

    name: str
    fractions: Sequence[float]
    means: Sequence[Interval]
    auc: float
    role: Role = "method"

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            InputError: If there are not as many means as fractions.
        """
        if len(self.fractions) != len(self.means):
            raise InputError(
                f"curve {self.name!r}: expected as many means as fractions, got {len(self.means)} "
                f"and {len(self.fractions)}"
            )

    @property
    def points(self) -> list[tuple[float, float, float, float]]:
        """Fraction, mean, and lower and upper end of its interval, point by point (K)."""
        return [(x, *mean) for x, mean in zip(self.fractions, self.means, strict=True)]


@styled
def curves_figure(
    curves: Sequence[Curve],
    kind: "Kind",
    subtitle: str = "",
    unit: "Unit" = "word",
    note: str = "",
) -> "Figure":
    """Draw one line with its band per method.

    The axes are the same in every epoch, so pictures can be compared. A method keeps the colour of
    its place in ``curves``; the legend is sorted from the best area to the worst.

    Args:
        curves: The curves, always in the same order.
        kind: Whether units were deleted or inserted.
        subtitle: Printed small beside the title, such as the epoch.
        unit: What was deleted or inserted.
        note: Printed small below the legend, such as the probabilities of an empty text.

    Returns:
        A figure with an Agg canvas, independent of pyplot: it need not be closed.
    """
    from matplotlib.ticker import PercentFormatter

    height = max(_HEIGHT, _ENTRY * (len(curves) + note.count("\n") + 4))
    axes = blank_figure(_WIDTH, height).add_subplot()
    styles = looks({curve.name: curve.role for curve in curves})
    lines = [draw_line(axes, c.fractions, c.means, styles[c.name]) for c in curves]
    units = "tokens" if unit == "token" else "words"
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=f"share of {units} {DONE[kind]}")
    axes.set_ylabel("probability of the explained class")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(kind.capitalize(), fontsize=13, fontweight="bold", pad=10)
    axes.set_title(subtitle, loc="right", fontsize=10, color=GREY, pad=10)
    if lines:
        _legend(axes, curves, lines, kind)
    axes.text(1.03, 0.0, note, fontsize=9, color=GREY, transform=axes.transAxes)
    return cast("Figure", axes.figure)


def write_curves(
    folder: Path,
    curves: "Mapping[Kind, Sequence[Curve]]",
    epoch: int,
    step: int,
    unit: "Unit" = "word",
    note: str = "",
) -> "dict[Kind, Figure]":
    """Write a picture per kind, and append every point of every curve to a table.

    The files are ``curves/deletion_step=00063.svg``, ``deletion.svg``, a copy of the latest, and
    the table ``curves.csv`` of epoch, step, kind, method, fraction, mean, low and high.

    Args:
        folder: The folder; created if it is missing.
        curves: The curves of each kind.
        epoch: The epoch.
        step: The optimizer step.
        unit: What was deleted or inserted.
        note: Printed beside the curves.

    Returns:
        The figures of each kind.
    """
    when = f"epoch {epoch}, step {step}"
    figures = {kind: curves_figure(lines, kind, when, unit, note) for kind, lines in curves.items()}
    for kind, figure in figures.items():
        picture = figure_svg(figure)
        write_whole(folder / "curves" / f"{kind}_step={step:05d}.svg", picture)
        write_whole(folder / f"{kind}.svg", picture)
    columns = ("epoch", "step", "kind", "method", "fraction", "mean", "low", "high")
    rows: list[dict[str, Cell]] = [
        dict(zip(columns, (epoch, step, kind, curve.name, *point), strict=True))
        for kind, lines in curves.items()
        for curve in lines
        for point in curve.points
    ]
    append_scores(folder / "curves.csv", rows)
    return figures


def looks(roles: Mapping[str, Role]) -> dict[str, str]:
    """Return the look of each name by its role; after the last colour comes the next stroke."""
    methods = [name for name, role in roles.items() if role == "method"]
    count = len(PALETTE)
    places = {name: f"c{i % count} s{i // count % len(_STROKES)}" for i, name in enumerate(methods)}
    return {name: places.get(name, role) for name, role in roles.items()}


def draw_line(axes: "Axes", x: Sequence[float], means: Sequence[Interval], look: str) -> "Line2D":
    """Draw a line with its band; floors and ceilings are thinner than methods."""
    mean, low, high = zip(*means, strict=True)
    colour, stroke = STYLES[look]
    method = look not in ("floor", "ceiling")
    axes.fill_between(x, low, high, color=colour, alpha=0.14 if method else 0.08, lw=0)
    (line,) = axes.plot(x, mean, ls=stroke, color=colour, lw=2.1 if method else 1.6)
    return line


def _legend(axes: "Axes", curves: Sequence[Curve], lines: Sequence["Line2D"], kind: "Kind") -> None:
    sign = 1 if kind == "deletion" else -1
    order = sorted(range(len(curves)), key=lambda i: (isnan(curves[i].auc), curves[i].auc * sign))
    axes.legend(
        [lines[i] for i in order],
        [f"{curves[i].auc:.3f}  {curves[i].name}" for i in order],
        title=f"area, {BETTER[kind]} is better",
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
    )
