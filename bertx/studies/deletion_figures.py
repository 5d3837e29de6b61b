"""The figures of word deletion: a panel for each data set and operator."""

from collections.abc import Mapping, Sequence
from math import nan

from bertx.models.inputs import noun
from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.studies.deleting import COUNT, SHARE, Points
from bertx.studies.deletion_curves import GROUPS, Curve, Group, ends
from bertx.studies.deletion_findings import published_points
from bertx.studies.findings import Picture
from bertx.studies.settings import Settings


def deletion_pictures(curves: Sequence[Curve], settings: Settings, points: Points) -> list[Picture]:
    """Accuracy over k and over shares, for texts at first right and at first wrong."""
    return [
        _picture([c for c in curves if c.group == group], group, by, settings, points)
        for group in GROUPS
        for by in (COUNT, SHARE)
        if any(c.group == group for c in curves) and (by == COUNT or points.shares)
    ]


def _picture(
    curves: Sequence[Curve], group: Group, by: str, settings: Settings, points: Points
) -> Picture:
    unit, places = noun(settings.unit), ends(points, by)
    operators = list(dict.fromkeys(c.operator for c in curves))
    data = list(dict.fromkeys(c.data for c in curves))
    rows = [
        [
            _panel([c for c in curves if (c.operator, c.data) == (operator, name)], by, places)
            for name in data
        ]
        for operator in operators
    ]
    if len(data) == 1:  # operators side by side
        rows = [[panel for row in rows for panel in row]]
    x = f"{unit}s deleted" if by == COUNT else f"share of {unit}s deleted"
    first = "right" if group == "right" else "wrong"
    title = f"Accuracy on texts at first {first}"
    best = "falls fast" if group == "right" else "rises"
    return Picture(
        f"{group}-by-{by}",
        f"{title}, over {x}",
        f"{title} while the highest ranked {unit}s are deleted, a panel for each of "
        f"{', '.join(data)} and each of the operators {', '.join(operators)}; one line a method "
        f"with its 95 % band. The better the ranking, the more the line {best}.",
        panels_figure(rows, Scale(x, "accuracy", share=by == SHARE), title),
    )


def _panel(curves: Sequence[Curve], by: str, places: Mapping[float, int]) -> LinePanel:
    lines = [
        PanelLine(
            name=c.method,
            x=list(places),
            mean=[c.accuracy[place].value for place in places.values()],
            low=_band(c, [c.accuracy[place].low for place in places.values()]),
            high=_band(c, [c.accuracy[place].high for place in places.values()]),
            role=c.role,
            published=[p for p in published_points(c) if by == COUNT and p[0] in places],
        )
        for c in curves
    ]
    texts = max(c.count for c in curves)
    searched = next((c.count for c in curves if c.role == "ceiling"), texts)
    note = f"{texts:,} texts" + (f", ceiling {searched:,}" if searched < texts else "")
    return LinePanel(f"{curves[0].data}, {curves[0].operator}", lines, note)


def _band(curve: Curve, ends: list[float]) -> list[float]:
    """One end of the band; none for so few texts that they do not show how answers spread."""
    return ends if curve.count >= MINIMUM else [nan] * len(ends)
