"""Means over texts along a line of points: what is deleted, or which parts are random."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bertx.rendering.curves import Role
from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.correlations import Interval
from bertx.studies.findings import Cell
from bertx.studies.settings import Settings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """The values of one method at P points, and their means.

    Attributes:
        data: The name of the run, or of the data set of several runs.
        group: What is measured, or of which texts.
        by: What deleting a unit does, or how the other models came about.
        method: The method.
        signed: Whether its scores have a sign.
        values: Of N texts in S runs or draws (S, N, P); NaN where there is none.
        role: Whether it is a method, the control, or the ceiling.
        dataset: The data set.
        steps: Names of the points, where they have names (P).
        means: The mean at each point with its interval (P).
        counts: How many texts have a value in all S (P).
    """

    data: str
    group: str
    by: str
    method: str
    signed: bool
    values: Floats
    role: Role = "method"
    dataset: str = ""
    steps: tuple[str, ...] = ()
    means: tuple[Interval, ...] = ()
    counts: tuple[int, ...] = ()

    def effect(self, points: int) -> Floats:
        """Mean over so many points after the first one (S, N)."""
        return self.values[..., 1 : points + 1].mean(-1)


def with_means(lines: Sequence[Line], settings: Settings, lowest: float) -> Iterator[Line]:
    """Lines with their means.

    Args:
        lines: The lines.
        settings: How intervals are drawn.
        lowest: The lowest possible value; the highest is 1.
    """
    # One matrix (S, N) for each point.
    flat = [line.values[..., p] for line in lines for p in range(line.values.shape[-1])]
    results = iter(bootstrap_means(flat, 0.05, settings.resamples, settings.seed))
    for line in lines:
        part = [next(results) for _ in range(line.values.shape[-1])]
        means = [Interval(r.mean, max(r.low, lowest), min(r.high, 1.0)) for r in part]
        yield replace(line, means=tuple(means), counts=tuple(r.count for r in part))


def grouped(lines: Sequence[Line], field: str) -> dict[str, list[Line]]:
    """Those that have the same value of a field, in the order in which the values come."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(getattr(line, field), []).append(line)
    return groups


def cells(
    lines: Sequence[Line],
    key: Callable[[Line], tuple[Cell, ...]],
    heads: Mapping[str, int],
) -> Iterator[tuple[tuple[Cell, ...], str, Cell]]:
    """The cells of a table with a row for each line.

    Args:
        lines: The lines.
        key: What its row begins with.
        heads: The head of each other column, and the point whose mean is in it.
    """
    for line in lines:
        for head, point in heads.items():
            yield key(line), head, str(line.means[point])
