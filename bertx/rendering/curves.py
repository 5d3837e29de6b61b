"""Curves of deletion and insertion as a matplotlib figure, an SVG or a PNG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

from bertx.errors import InputError
from bertx.rendering.canvas import blank_figure, figure_svg
from bertx.rendering.colours import BLACK, GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from bertx.metrics.curve_metrics import Kind
    from bertx.models.inputs import Unit

Role = Literal["method", "floor", "ceiling"]
"""What made a ranking: a method, the random control, or the search for the best order."""

Stroke = str | tuple[float, tuple[float, ...]]
_STROKES: tuple[Stroke, ...] = ("-", "-.", (0, (5, 1, 1, 1, 1, 1)))
_FIXED: dict[Role, tuple[str, Stroke]] = {"floor": (GREY, "--"), "ceiling": (BLACK, ":")}
_WIDTH, _HEIGHT = 6.4, 3.6
_ENTRY = 0.22
"""Height of an entry of the legend, in inches like the two above."""
_BETTER: "dict[Kind, str]" = {"deletion": "lower", "insertion": "higher"}
_DONE: "dict[Kind, str]" = {"deletion": "deleted", "insertion": "inserted"}


@dataclass(frozen=True)
class Curve:
    """The mean curve of one method over all examples.

    Attributes:
        name: The method.
        fractions: The K shares of changed units, 0 to 1.
        mean: Mean probability of the explained class at each (K).
        low: Lower end of its interval (K).
        high: Upper end of its interval (K).
        auc: Area under the mean curve, 0 to 1.
        role: What it is; the floor is drawn grey and dashed, the ceiling black and dotted.
    """

    name: str
    fractions: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    auc: float
    role: Role = "method"

    def __post_init__(self) -> None:
        """Refuse parts of different lengths.

        Raises:
            InputError: If there are not K numbers in each.
        """
        lengths = [len(part) for part in (self.fractions, self.mean, self.low, self.high)]
        if len(set(lengths)) > 1:
            raise InputError(
                f"curve {self.name!r}: fractions, mean, low and high must have one length, got "
                f"{lengths}"
            )


def curves_figure(
    curves: Sequence[Curve],
    kind: "Kind",
    subtitle: str = "",
    unit: "Unit" = "word",
    note: str = "",
) -> "Figure":
    """Draw one line with its band per method.

    The axes are the same in every epoch, so that pictures can be compared. A method keeps the
    colour of its place in ``curves``; the legend is sorted from the best area to the worst.

    Args:
        curves: The curves, always in the same order.
        kind: What was done to the units.
        subtitle: Printed small beside the title, such as the epoch.
        unit: What was deleted or inserted.
        note: Printed small below the legend, such as what the model says of an empty text.

    Returns:
        A figure with an Agg canvas that pyplot does not know of: nothing to close.
    """
    height = max(_HEIGHT, _ENTRY * (len(curves) + note.count("\n") + 4))
    figure = blank_figure(_WIDTH, height, layout="constrained")
    axes = figure.add_subplot()
    drawn = zip(curves, looks([curve.role for curve in curves]), strict=True)
    lines = [_draw(axes, curve, *look) for curve, look in drawn]
    _dress(axes, kind, subtitle, unit)
    if lines:
        _legend(axes, curves, lines, kind)
    if note:
        said = axes.text(1.03, 0.0, note, fontsize=9, color=GREY, transform=axes.transAxes)
        said.set_parse_math(False)
    return figure


def curves_svg(
    curves: Sequence[Curve],
    kind: "Kind",
    subtitle: str = "",
    unit: "Unit" = "word",
    note: str = "",
) -> str:
    """Draw as `curves_figure` does and return the source of an SVG (the same for the same data)."""
    return figure_svg(curves_figure(curves, kind, subtitle, unit, note))


def looks(roles: Sequence[Role]) -> list[tuple[str, Stroke]]:
    """Colour and stroke of each line by its role; when the colours are used up, the next stroke."""
    found: list[tuple[str, Stroke]] = []
    used = 0
    for role in roles:
        if role != "method":
            found.append(_FIXED[role])
            continue
        stroke = _STROKES[used // len(PALETTE) % len(_STROKES)]
        found.append((PALETTE[used % len(PALETTE)], stroke))
        used += 1
    return found


def _draw(axes: "Axes", curve: Curve, colour: str, stroke: Stroke) -> "Line2D":
    axes.fill_between(curve.fractions, curve.low, curve.high, color=colour, alpha=0.14, lw=0)
    (line,) = axes.plot(
        curve.fractions,
        curve.mean,
        linestyle=stroke,
        color=colour,
        lw=2.2 if curve.role == "method" else 1.6,
        label=curve.name,
    )
    return line


def _dress(axes: "Axes", kind: "Kind", subtitle: str, unit: "Unit") -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    units = "tokens" if unit == "token" else "words"
    axes.set_xlabel(f"share of {units} {_DONE[kind]}", fontsize=11)
    axes.set_ylabel("probability of the explained class", fontsize=11)
    axes.tick_params(labelsize=10, length=0, pad=6)
    axes.grid(color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b5b5b5")
    axes.set_title(kind.capitalize(), loc="left", fontsize=13, fontweight="bold", pad=10)
    axes.set_title(subtitle, loc="right", fontsize=10, color=GREY, pad=10, parse_math=False)


def _legend(axes: "Axes", curves: Sequence[Curve], lines: Sequence["Line2D"], kind: "Kind") -> None:
    sign = 1 if kind == "deletion" else -1
    order = sorted(range(len(curves)), key=lambda i: _rank(curves[i].auc * sign))
    legend = axes.legend(
        [lines[i] for i in order],
        [f"{curves[i].auc:.3f}  {curves[i].name}" for i in order],
        title=f"area, {_BETTER[kind]} is better",
        title_fontsize=10,
        alignment="left",
        fontsize=10,
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
    )
    for label in legend.get_texts():
        label.set_parse_math(False)


def _rank(value: float) -> tuple[bool, float]:
    return (True, 0.0) if isnan(value) else (False, value)
