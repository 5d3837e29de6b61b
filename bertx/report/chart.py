"""A chart of lines as a page draws it: places in an SVG, and the words beside each of them."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, isfinite, isnan, log10
from typing import Any

from bertx.leaderboard.formatting import short

WIDTH, HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 12, 46
_PLACES = 120
"""Places along a chart at which values can be read."""
_ROWS = 24
"""Rows of the table of a chart at most."""

Form = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: What it is of.
        points: x and y, by x.
        band: The ends of the interval at each point; empty without one.
        note: What stands beside the name in the legend, such as the area below the line.
        look: The class of its colour and stroke; see `bertx.rendering.curves.looks`.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    note: str = ""
    look: str = "c0 s0"


@dataclass(frozen=True)
class Chart:
    """Lines with what belongs to them.

    Attributes:
        title: The heading.
        x: What the horizontal axis is, as in "step".
        y: What the vertical axis is.
        lines: The lines, in the order of the legend.
        alt: What is to be seen, for somebody who cannot see it.
        group: Charts of one group hide and show lines of one name together.
        x_form: How a place on the horizontal axis is written.
        y_form: How a value is written.
        y_range: The ends of the vertical axis; None for those of the values.
        legend: What the notes of the legend are.
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
    """A share in percent."""
    return f"{100 * value:.0f} %"


def chart_contents(chart: Chart) -> dict[str, Any]:
    """What a template draws: everything placed and written.

    The key ``read`` is what a script needs to show the values at a place: for each place its
    distance from the left, its name, and the height and the words of every line.
    """
    frame = _Frame.around(chart)
    places = _places([x for line in chart.lines for x, _ in line.points])
    return vars(chart) | {
        "width": WIDTH,
        "height": HEIGHT,
        "box": {"left": _LEFT, "right": WIDTH - _RIGHT, "top": _TOP, "bottom": HEIGHT - _BOTTOM},
        "x_ticks": _named((frame.x(t), chart.x_form(t)) for t in ticks(*frame.across, 5)),
        "y_ticks": [(frame.y(t), _tick(t)) for t in ticks(*frame.up, 5)],
        "lines": [_drawn(line, frame) for line in chart.lines],
        "table": _table(chart, places),
        "read": [_read(chart, frame, place) for place in places],
    }


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two.

    Examples:
        >>> ticks(0.0, 1.0, 5), ticks(3, 128, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [50.0, 100.0])
    """
    rough = (high - low) / about
    unit = 10.0 ** floor(log10(rough))
    step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first = -floor(-low / step + 1e-9)
    return [round(n * step, 12) + 0.0 for n in range(first, floor(high / step + 1e-9) + 1)]


def _named(marks: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Places with their names, each name once: between whole numbers there is none."""
    places: dict[str, float] = {}
    for place, name in marks:
        places.setdefault(name, place)
    return [(place, name) for name, place in places.items()]


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
    """The ends of an axis, `alone` to either side of a single value (half of it, if that is 0)."""
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
    """Where values can be read: where there are points, thinned out if these are many."""
    every = sorted(set(xs))
    if len(every) <= _PLACES:
        return every
    return [every[round(i * (len(every) - 1) / (_PLACES - 1))] for i in range(_PLACES)]


def _read(chart: Chart, frame: _Frame, place: float) -> dict[str, Any]:
    indices = [_at(line, place) for line in chart.lines]
    return {
        "x": frame.x(place),
        "label": f"{chart.x} {chart.x_form(place)}",
        "y": [None if i is None else frame.y(line.points[i][1])
              for line, i in zip(chart.lines, indices, strict=True)],
        "values": [_words(chart, line, i) for line, i in zip(chart.lines, indices, strict=True)],
    }  # fmt: skip


def _at(line: Line, place: float) -> int | None:
    """The point at a place, or the last one before it."""
    i = bisect_right([x for x, _ in line.points], place) - 1
    return i if i >= 0 and not isnan(line.points[i][1]) else None


def _words(chart: Chart, line: Line, i: int | None) -> str:
    if i is None:
        return "–"
    value = chart.y_form(line.points[i][1])
    if not line.band or isnan(line.band[i][0]):
        return value
    low, high = map(chart.y_form, line.band[i])
    return f"{value} ({low} to {high})"


def _table(chart: Chart, places: Sequence[float]) -> dict[str, Any]:
    """The values as a table, of many places every n-th and the last."""
    every = -(-len(places) // _ROWS) or 1
    kept = [x for i, x in enumerate(places) if i % every == 0 or i == len(places) - 1]
    rows = [
        (chart.x_form(x), [_words(chart, line, _at(line, x)) for line in chart.lines]) for x in kept
    ]
    return {"names": [line.name for line in chart.lines], "rows": rows}
