"""Curves of methods: means over texts while more is deleted, or more of the model is random."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bertx.rendering.curves import Role
from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import Array
from bertx.studies.findings import Cell
from bertx.studies.settings import Settings


@dataclass(frozen=True)
class MethodCurve:
    """The values of one method at P points, and their means.

    Attributes:
        data: The name of the run, or of the data set shared by several runs.
        group: The measure, or the group of texts it is averaged over.
        by: The operator that deletes units, or how the other models were made.
        method: The method.
        values: The values of N texts in S runs or draws (S, N, P); NaN where there is none.
        role: Whether this is a method, the random control, or the ceiling.
        dataset: The data set.
        steps: The names of the points (P); empty if they are numbers.
        means: The mean at each point with its interval (P).
        counts: The number of texts with a value in all S runs or draws, at each point (P).
    """

    data: str
    group: str
    by: str
    method: str
    values: Array
    role: Role = "method"
    dataset: str = ""
    steps: tuple[str, ...] = ()
    means: tuple[Interval, ...] = ()
    counts: tuple[int, ...] = ()

    def effect(self, points: int) -> Array:
        """Return the mean over the ``points`` points after the first one (S, N)."""
        return self.values[..., 1 : points + 1].mean(-1)


def with_means(
    curves: Sequence[MethodCurve], settings: Settings, lowest: float
) -> Iterator[MethodCurve]:
    """Add means, intervals and counts to curves.

    Args:
        curves: The curves.
        settings: The number of bootstrap draws, and their seed.
        lowest: The lowest possible value; the highest is 1.
    """
    # One matrix (S, N) for each point.
    points = [curve.values[..., p] for curve in curves for p in range(curve.values.shape[-1])]
    results = iter(bootstrap_means(points, 0.05, settings.resamples, settings.seed))
    for curve in curves:
        part = [next(results) for _ in range(curve.values.shape[-1])]
        means = [Interval(r.mean, max(r.low, lowest), min(r.high, 1.0)) for r in part]
        yield replace(curve, means=tuple(means), counts=tuple(r.count for r in part))


def grouped(curves: Sequence[MethodCurve], field: str) -> dict[str, list[MethodCurve]]:
    """Group curves by the value of a field, in order of appearance."""
    groups: dict[str, list[MethodCurve]] = {}
    for curve in curves:
        groups.setdefault(getattr(curve, field), []).append(curve)
    return groups


def cells(
    curves: Sequence[MethodCurve],
    key: Callable[[MethodCurve], tuple[Cell, ...]],
    columns: Mapping[str, int],
) -> Iterator[tuple[tuple[Cell, ...], str, Cell]]:
    """Yield the cells of a table with a row for each curve; see `pivot`.

    Args:
        curves: The curves.
        key: Returns the first cells of a curve's row.
        columns: The headings of the other columns, each with the point whose mean it shows.
    """
    for curve in curves:
        for column, point in columns.items():
            yield key(curve), column, str(curve.means[point])
