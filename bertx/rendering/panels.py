"""Small multiples: lines with bands in a grid of panels that share their axes and one legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from bertx.errors import InputError
from bertx.rendering.canvas import add_heading, blank_figure, shortened, styled
from bertx.rendering.colours import GREY
from bertx.rendering.curves import Role, draw_line, looks
from bertx.statistics.correlations import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# in inches
_WIDTH, _HEIGHT, _LEGEND = 2.7, 2.6, 2.3
_TICK, _ENTRY = 0.075, 0.21
_LONGEST = 28
_OPEN: dict[str, Any] = {"ls": "", "marker": "o", "ms": 5, "mfc": "white", "mew": 1.4}
"""The circles of published values."""


@dataclass(frozen=True)
class PanelLine:
    """One line with its band.

    Attributes:
        name: Its name; a line of one name looks the same in all panels.
        x: The x of each value (K); its place from 0 on if the axis has names.
        means: The values with their intervals (K); NaN for a missing value.
        role: What it is; the floor is drawn grey and dashed, the ceiling black and dotted.
        published: Published points (x, y) to compare with, drawn as open circles.
    """

    name: str
    x: Sequence[float]
    means: Sequence[Interval]
    role: Role = "method"
    published: Sequence[tuple[float, float]] = ()

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            InputError: If there are not as many means as x.
        """
        if len(self.x) != len(self.means):
            raise InputError(
                f"line {self.name!r}: expected as many means as x, got {len(self.means)} and "
                f"{len(self.x)}"
            )


@dataclass(frozen=True)
class LinePanel:
    """One panel.

    Attributes:
        title: Its heading.
        lines: The lines.
        note: Printed small below the heading, such as the number of texts.
        places: Names along the x axis, if it has names instead of numbers.
    """

    title: str
    lines: Sequence[PanelLine]
    note: str = ""
    places: Sequence[str] = ()


@dataclass(frozen=True)
class Scale:
    """The axes of all panels.

    Attributes:
        x: Label of the x axis.
        y: Label of the y axis.
        bottom: The smallest y.
        top: The largest y.
        share: Whether x is a share from 0 to 1, printed in percent.
    """

    x: str
    y: str
    bottom: float = 0.0
    top: float = 1.0
    share: bool = False


@styled
def panels_figure(rows: Sequence[Sequence[LinePanel]], scale: Scale, title: str) -> "Figure":
    """Draw rows of panels with one legend.

    Args:
        rows: The panels; panels of a column have the same x axis, and rows may differ in length.
        scale: Their axes.
        title: The heading.

    Returns:
        A figure with an Agg canvas, independent of pyplot: it need not be closed.

    Raises:
        InputError: If there is no panel.
    """
    if not any(rows):
        raise InputError("panels_figure: expected at least one panel, got none")
    columns = max(map(len, rows))
    every = [line for row in rows for panel in row for line in panel.lines]
    styles = looks({line.name: line.role for line in every})
    figure = blank_figure(*_size(rows, len(styles)))
    entries: dict[str, Line2D] = {}
    for number, row in enumerate(rows):
        for place, panel in enumerate(row):
            axes = figure.add_subplot(len(rows), columns, number * columns + place + 1)
            for line in panel.lines:
                entries.setdefault(line.name, _draw(axes, line, styles[line.name]))
            _dress(axes, panel, scale)
            lowest = number == len(rows) - 1 or place >= len(rows[number + 1])
            axes.tick_params(labelleft=place == 0, labelbottom=lowest)
            axes.set_ylabel(scale.y if place == 0 else "")
            axes.set_xlabel(scale.x if lowest else "")
    add_heading(figure, title)
    _legend(
        figure, [(name, entries[name]) for name in styles], any(line.published for line in every)
    )
    return figure


def _size(rows: Sequence[Sequence[LinePanel]], entries: int) -> tuple[float, float]:
    names = (len(place) for panel in rows[-1] for place in panel.places)
    height = len(rows) * _HEIGHT + _TICK * max(names, default=0)
    return _WIDTH * max(map(len, rows)) + _LEGEND, max(height, _ENTRY * (entries + 2))


def _draw(axes: "Axes", line: PanelLine, look: str) -> "Line2D":
    mean, low, high = zip(*line.means, strict=True)
    drawn = draw_line(axes, line.x, line.means, look)
    colour = drawn.get_color()
    if sum(map(isfinite, mean)) == 1:
        drawn.set(marker="o", markersize=5)
        axes.vlines(line.x, low, high, color=colour, lw=1.5)
    for x, y in line.published:
        axes.plot(x, y, **_OPEN, mec=colour, zorder=4, clip_on=False)
    return drawn


def _dress(axes: "Axes", panel: LinePanel, scale: Scale) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_ylim(scale.bottom, scale.top)
    if panel.places:
        axes.set_xlim(-0.3, len(panel.places) - 0.7)
        axes.set_xticks(range(len(panel.places)), panel.places, rotation=90)
    else:
        values = [x for line in panel.lines for x in line.x]
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=not scale.share))
        if len(set(values)) == 1:
            axes.set_xticks(values[:1])
        elif values:
            axes.set_xlim(min(values), max(values))
        if scale.share:
            axes.xaxis.set_major_formatter(PercentFormatter(1))
    if scale.bottom < 0:
        axes.axhline(0, color="#8a8a8a", lw=0.9, zorder=1)
    axes.set_title(panel.title, pad=16)
    axes.text(0, 1.03, panel.note, fontsize=8.5, color=GREY, transform=axes.transAxes)


def _legend(figure: "Figure", entries: Sequence[tuple[str, "Line2D"]], published: bool) -> None:
    from matplotlib.lines import Line2D

    lines = [line for _, line in entries]
    names = [shortened(name, _LONGEST) for name, _ in entries]
    if published:
        lines.append(Line2D([], [], **_OPEN, mec=GREY))
        names.append("as published")
    figure.legend(lines, names, loc="outside right upper", handlelength=2.6)
