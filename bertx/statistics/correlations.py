"""Correlations along the last axis, of pairs that are both known, and their intervals.

Each function takes two arrays (..., W) and gives (...): as many correlations as there are rows. NaN
marks what is unknown: such a place counts in neither. NaN comes out where one side is constant.
"""

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bertx.errors import InputError
from bertx.statistics.spread import Z95, Array


class Interval(NamedTuple):
    """A value and its 95 % interval.

    Attributes:
        value: The value.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The value with its interval.

        Examples:
            >>> str(Interval(0.5, 0.25, 0.7))
            '0.50 [0.25, 0.70]'
        """
        return f"{self:.2f}"

    def __format__(self, form: str) -> str:
        """The value with its interval, each in a form such as ``.3f``.

        Examples:
            >>> f"{Interval(0.5, 0.25, 0.7):.3f}"
            '0.500 [0.250, 0.700]'
        """
        form = form or ".2f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


def pearson(a: ArrayLike, b: ArrayLike) -> Array:
    """Pearson's r.

    Examples:
        >>> float(pearson([1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 2.0, 9.0]).round(3))
        0.866
    """
    return _cosine(*map(_centred, _paired(a, b)))


def spearman(a: ArrayLike, b: ArrayLike) -> Array:
    """Spearman's rho: Pearson's r of ranks, equal scores having their mean rank."""
    return pearson(*map(_ranks, _paired(a, b)))


def kendall(a: ArrayLike, b: ArrayLike) -> Array:
    """Kendall's tau-b."""
    one, other = _paired(a, b)
    rows = zip(one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1]), strict=True)
    taus = [_tau(x[~np.isnan(x)], y[~np.isnan(y)]) for x, y in rows]
    return np.asarray(taus).reshape(one.shape[:-1])


def overlap(a: ArrayLike, b: ArrayLike, k: int) -> Array:
    """Share of the k highest that both have in common; of equal ones the first counts.

    NaN where k or fewer are known: there it says nothing.

    Raises:
        InputError: If k is below 1.
    """
    if k < 1:
        raise InputError(f"k must be at least 1 (the highest alone), got {k}")
    one, other = _paired(a, b)
    top = [np.argsort(-np.where(np.isnan(x), -np.inf, x), -1, kind="stable") for x in (one, other)]
    chosen = np.zeros((2, *one.shape), dtype=bool)
    for number, order in enumerate(top):
        np.put_along_axis(chosen[number], order[..., :k], True, -1)
    enough = (~np.isnan(one)).sum(-1) > k
    return np.where(enough, (chosen[0] & chosen[1]).sum(-1) / k, nan)


def auc(scores: ArrayLike, positive: ArrayLike) -> Array:
    """Probability that one of the positives has a higher score than one of the others.

    Args:
        scores: (..., W); NaN where unknown.
        positive: Which are positive (W,).

    Returns:
        Area under the ROC curve, equal scores counting half (...); NaN without both kinds.
    """
    values, positives = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    valid = ~np.isnan(values)
    inside, outside = (valid & positives).sum(-1), (valid & ~positives).sum(-1)
    total = np.where(valid & positives, _ranks(values), 0.0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (total - inside * (inside + 1) / 2) / (inside * outside)


def fisher_interval(value: float, draws: ArrayLike) -> Interval:
    """The interval of a correlation from what it is in draws of the bootstrap.

    Fisher's z of the value, plus and minus 1.96 standard deviations of that of the draws. Their
    percentiles would lie too low: means of words are noisier in texts that are drawn twice, and
    noise weakens any correlation.

    Args:
        value: The correlation.
        draws: The same in each draw (R,); NaN where it has none.
    """
    with np.errstate(invalid="ignore"):
        centre = np.arctanh(np.clip(value, -_ALMOST, _ALMOST))
        spread = _deviation(np.arctanh(np.clip(draws, -_ALMOST, _ALMOST)))
    low, high = np.tanh([centre - Z95 * spread, centre + Z95 * spread])
    return Interval(float(value), min(float(low), value), max(float(high), value))


def normal_interval(
    value: float, draws: ArrayLike, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """A value plus and minus 1.96 standard deviations of the draws of the bootstrap.

    Args:
        value: The value.
        draws: The same in each draw (R,); NaN where it has none.
        lowest: Least possible value.
        highest: Largest possible value.
    """
    reach = Z95 * _deviation(draws)
    return Interval(
        float(value), float(max(value - reach, lowest)), float(min(value + reach, highest))
    )


def over_pairs(values: ArrayLike, pairs: Sequence[tuple[int, int]], seeds: Array) -> Array:
    """The mean over pairs of models, in draws of the bootstrap over texts and over models.

    Args:
        values: What each of P pairs comes to in each draw of texts, P times (R,).
        pairs: The numbers of the two models of each pair.
        seeds: How often each of S models is drawn in each draw (R, S).

    Returns:
        (R,); NaN in a draw that has one model alone.
    """
    table = np.asarray(values, dtype=np.float64)
    weights = np.stack([seeds[:, i] * seeds[:, j] for i, j in pairs])
    weights = np.where(np.isnan(table), 0.0, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(table * weights, 0) / weights.sum(0)


_ALMOST = 1 - 1e-12


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Both, with NaN where one of them has it."""
    one, other = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    unknown = np.isnan(one) | np.isnan(other)
    return np.where(unknown, nan, one), np.where(unknown, nan, other)


def _centred(values: Array) -> Array:
    valid = ~np.isnan(values)
    count = np.maximum(valid.sum(-1, keepdims=True), 1)
    filled = np.where(valid, values, 0.0)
    # Constant rows are exactly constant, as their mean may not be.
    span = np.where(valid, values, -np.inf).max(-1, keepdims=True) == np.where(
        valid, values, np.inf
    ).min(-1, keepdims=True)
    return np.where(valid & ~span, filled - filled.sum(-1, keepdims=True) / count, 0.0)


def _cosine(a: Array, b: Array) -> Array:
    # By their sizes first: squares of small scores would underflow.
    with np.errstate(invalid="ignore"):
        a, b = (x / np.abs(x).max(-1, keepdims=True) for x in (a, b))
        return np.clip((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1)), -1, 1)


def _ranks(values: Array) -> Array:
    """Ranks from 1 of what is known, NaN elsewhere."""
    valid = ~np.isnan(values)
    ranks = stats.rankdata(np.where(valid, values, np.inf), axis=-1)
    return np.where(valid, ranks, nan)


def _tau(a: Array, b: Array) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan
    # The exact p-value, which nobody asked for, would take longer than tau.
    return float(stats.kendalltau(a, b, method="asymptotic").statistic)


def _deviation(draws: ArrayLike) -> float:
    valid = np.asarray(draws, dtype=np.float64)
    valid = valid[~np.isnan(valid)]
    return float(valid.std(ddof=1)) if len(valid) > 1 else nan
