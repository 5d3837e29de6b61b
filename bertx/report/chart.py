"""Line charts for a page: coordinates in an SVG, formatted values, and a table of them."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, isfinite, isnan, log10
from typing import Any

from bertx.leaderboard.formatting import short

WIDTH, HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 12, 46
_MOST_PLACES = 120
"""Most places along a chart at which values can be read."""
_MOST_ROWS = 24
"""About the most rows of the table of a chart."""

Form = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Its name in the legend.
        points: x and y, sorted by x.
        band: The ends of the interval at each point; empty without intervals.
        note: A value beside the name in the legend, such as the area under the line.
        look: The class of its colour and stroke; see `bertx.rendering.curves.looks`.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    note: str = ""
    look: str = "c0 s0"


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        title: The heading.
        x: Label of the horizontal axis, such as "step".
        y: Label of the vertical axis.
        lines: The lines, in the order of the legend.
        alt: A description for readers who cannot see the chart.
        group: Charts of one group hide and show lines of one name together.
        x_form: Formats a place on the horizontal axis.
        y_form: Formats a value.
        y_range: The ends of the vertical axis; None for the range of the values.
        legend: What the notes in the legend are.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    alt: str = ""
    group: str = ""
    x_form: Form = field(default=lambda value: f"{value:,.0f}")
    y_form: Form = field(default=lambda value: short(value, ".3f"))
    y_range: tuple[float, float] | None = None
    legend: str = ""


def percent(value: float) -> str:
    """Format a share in percent."""
    return f"{100 * value:.0f} %"


def chart_contents(chart: Chart) -> dict[str, Any]:
    """Return a chart as a template draws it, with all coordinates and formatted values.

    The key ``read`` has the values for the script of the page: for each place along the chart its
    x coordinate, its label, and the y coordinate and formatted value of every line.
    """
    frame = _Frame.around(chart)
    places = _places([x for line in chart.lines for x, _ in line.points])
    return vars(chart) | {
        "width": WIDTH,
        "height": HEIGHT,
        "box": {"left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM},
        "x_ticks": _distinct((frame.x(t), chart.x_form(t)) for t in ticks(*frame.across, 5)),
        "y_ticks": [(frame.y(t), _tick(t)) for t in ticks(*frame.up, 5)],
        "lines": [_drawn(line, frame) for line in chart.lines],
        "table": _table(chart, places),
        "read": [_read(chart, frame, place) for place in places],
    }


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return about ``about`` round numbers between two numbers.

    Examples:
        >>> ticks(0.0, 1.0, 5), ticks(3, 128, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [50.0, 100.0])
    """
    rough = (high - low) / about
    unit = 10.0 ** floor(log10(rough))
    step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first = -floor(-low / step + 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, floor(high / step + 1e-9) + 1)]


def _distinct(marks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Drop ticks with the label of an earlier tick, such as fractions of steps."""
    places: dict[str, float] = {}
    for place, label in marks:
        places.setdefault(label, place)
    return [(place, label) for label, place in places.items()]


@dataclass(frozen=True)
class _Frame:
    across: tuple[float, float]
    up: tuple[float, float]

    @classmethod
    def around(cls, chart: Chart) -> "_Frame":
        xs = [x for line in chart.lines for x, _ in line.points]
        ys = [y for line in chart.lines for _, y in line.points]
        ys += [end for line in chart.lines for pair in line.band for end in pair]
        return cls(_span(xs, 0.0, 1.0), chart.y_range or _span(ys, 0.06))

    def x(self, value: float) -> float:
        low, high = self.across
        return round(_LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.up
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _span(values: Sequence[float], margin: float, alone: float = 0.0) -> tuple[float, float]:
    """Return the ends of an axis; around a single value ``alone``, or half of it if that is 0."""
    finite = [value for value in values if isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if low == high:
        half = alone or abs(low) / 2 or 0.5
        return low - half, high + half
    room = margin * (high - low)
    return low - room, high + room


def _tick(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if "e" not in text and 0 < abs(value) < 0.01:
        text = f"{value:.2e}"
    number, exponent, power = text.partition("e")
    return f"{float(number):g}e{int(power)}" if exponent else text


def _drawn(line: Line, frame: _Frame) -> dict[str, Any]:
    points = [(frame.x(x), frame.y(y)) for x, y in line.points if not isnan(y)]
    ends = [
        (frame.x(x), frame.y(low), frame.y(high))
        for (x, _), (low, high) in zip(line.points, line.band, strict=False)
        if not isnan(low) and not isnan(high)
    ]
    around = [(x, low) for x, low, _ in ends] + [(x, high) for x, _, high in reversed(ends)]
    return {
        "name": line.name,
        "note": line.note,
        "look": line.look,
        "path": _path(points),
        "band": f"{_path(around)}Z" if ends else "",
        "dots": points if len(points) == 1 else [],
    }


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))


def _places(xs: Sequence[float]) -> list[float]:
    """The places at which values can be read: those of the points, thinned out if many."""
    every = sorted(set(xs))
    if len(every) <= _MOST_PLACES:
        return every
    last = len(every) - 1
    return [every[round(i * last / (_MOST_PLACES - 1))] for i in range(_MOST_PLACES)]


def _read(chart: Chart, frame: _Frame, place: float) -> dict[str, Any]:
    indices = [_at(line, place) for line in chart.lines]
    return {
        "x": frame.x(place),
        "label": f"{chart.x} {chart.x_form(place)}",
        "y": [None if i is None else frame.y(line.points[i][1])
              for line, i in zip(chart.lines, indices, strict=True)],
        "values": [_value(chart, line, i) for line, i in zip(chart.lines, indices, strict=True)],
    }  # fmt: skip


def _at(line: Line, place: float) -> int | None:
    """The index of the point at a place, or of the last one before it; None if it is missing."""
    i = bisect_right([x for x, _ in line.points], place) - 1
    return i if i >= 0 and not isnan(line.points[i][1]) else None


def _value(chart: Chart, line: Line, i: int | None) -> str:
    """A formatted value with its interval, a dash without a value."""
    if i is None:
        return "–"
    value = chart.y_form(line.points[i][1])
    if not line.band or isnan(line.band[i][0]):
        return value
    low, high = map(chart.y_form, line.band[i])
    return f"{value} ({low} to {high})"


def _table(chart: Chart, places: Sequence[float]) -> dict[str, Any]:
    """The values as a table, thinned out to every n-th place and the last if there are many."""
    every = -(-len(places) // _MOST_ROWS) or 1
    kept = [x for i, x in enumerate(places) if i % every == 0 or i == len(places) - 1]
    rows = [
        (chart.x_form(x), [_value(chart, line, _at(line, x)) for line in chart.lines]) for x in kept
    ]
    return {"names": [line.name for line in chart.lines], "rows": rows}
