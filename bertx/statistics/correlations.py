"""Correlations along the last axis, ignoring missing values, and their confidence intervals.

Functions of two arrays (..., W) return one number for each pair of rows (...). NaN marks a missing
value; the pair of values is then ignored. The result is NaN if one of the rows is constant.
"""

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from bertx.errors import check_positive
from bertx.statistics.spread import Z95, Array


class Interval(NamedTuple):
    """A value and its 95 % confidence interval.

    Attributes:
        value: The value.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the value with its interval.

        Examples:
            >>> str(Interval(0.5, 0.25, 0.7))
            '0.50 [0.25, 0.70]'
        """
        return f"{self:.2f}"

    def __format__(self, spec: str) -> str:
        """Return the value with its interval, all in a format such as ``.3f``.

        Examples:
            >>> f"{Interval(0.5, 0.25, 0.7):.3f}"
            '0.500 [0.250, 0.700]'
        """
        spec = spec or ".2f"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def pearson(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute Pearson's r.

    Examples:
        >>> float(pearson([1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 2.0, 9.0]).round(3))
        0.866
    """
    a, b = _paired(a, b)
    return _cosine(_centred(a), _centred(b))


def spearman(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute Spearman's rho: Pearson's r of the ranks, with mean ranks for ties."""
    a, b = _paired(a, b)
    return pearson(_ranks(a), _ranks(b))


def kendall(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute Kendall's tau-b."""
    a, b = _paired(a, b)
    rows = zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), strict=True)
    taus = [_tau(x[~np.isnan(x)], y[~np.isnan(y)]) for x, y in rows]
    return np.asarray(taus).reshape(a.shape[:-1])


def overlap(a: ArrayLike, b: ArrayLike, k: int) -> Array:
    """Compute the share of the k highest values in common; ties are broken from the left.

    NaN for k or fewer values, which always have all of them in common.

    Raises:
        InputError: If ``k`` is less than 1.
    """
    check_positive(k=k)
    a, b = _paired(a, b)
    common = (_top(a, k) & _top(b, k)).sum(-1)
    return np.where((~np.isnan(a)).sum(-1) > k, common / k, nan)


def auc(scores: ArrayLike, positive: ArrayLike) -> Array:
    """Compute the area under the ROC curve.

    It is the probability that a random positive item has a higher score than a random negative one,
    counting ties as one half.

    Args:
        scores: (..., W); NaN for missing values.
        positive: True for positive items (W,).

    Returns:
        In [0, 1] (...); NaN if there are no positive or no negative items.
    """
    values, is_positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    valid = ~np.isnan(values)
    positives, negatives = (valid & is_positive).sum(-1), (valid & ~is_positive).sum(-1)
    rank_sum = np.where(valid & is_positive, _ranks(values), 0.0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def fisher_interval(value: float, draws: ArrayLike) -> Interval:
    """Compute the confidence interval of a correlation from bootstrap resamples.

    Fisher's z of the value, plus and minus 1.96 standard deviations of Fisher's z of the resamples.
    Percentiles of the resamples would be too low: mean scores of words are noisier if texts are
    repeated, and noise weakens correlations.

    Args:
        value: The correlation.
        draws: The correlation in each resample (R,); NaN where it is not defined.
    """
    with np.errstate(invalid="ignore"):
        centre = np.arctanh(np.clip(value, -_ALMOST_ONE, _ALMOST_ONE))
        spread = _deviation(np.arctanh(np.clip(draws, -_ALMOST_ONE, _ALMOST_ONE)))
    low, high = np.tanh([centre - Z95 * spread, centre + Z95 * spread])
    return Interval(float(value), min(float(low), value), max(float(high), value))


def normal_interval(
    value: float, draws: ArrayLike, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """Return a value plus and minus 1.96 standard deviations of bootstrap resamples.

    Args:
        value: The value.
        draws: The value in each resample (R,); NaN where it is not defined.
        lowest: Smallest possible value.
        highest: Largest possible value.
    """
    reach = Z95 * _deviation(draws)
    return Interval(
        float(value), float(max(value - reach, lowest)), float(min(value + reach, highest))
    )


def over_pairs(values: ArrayLike, pairs: Sequence[tuple[int, int]], seeds: Array) -> Array:
    """Average over pairs of models, in bootstrap resamples of texts and models.

    Args:
        values: The value of each of P pairs in each resample (P, R).
        pairs: Indices of the two models of each pair.
        seeds: How often each of S models occurs in each resample (R, S).

    Returns:
        (R,); NaN for a resample of a single model.
    """
    table = np.asarray(values, dtype=np.float64)
    weights = np.stack([seeds[:, i] * seeds[:, j] for i, j in pairs])
    weights = np.where(np.isnan(table), 0.0, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(table * weights, 0) / weights.sum(0)


_ALMOST_ONE = 1 - 1e-12


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Broadcast both arrays, with NaN where one of them is NaN."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    missing = np.isnan(a) | np.isnan(b)
    return np.where(missing, nan, a), np.where(missing, nan, b)


def _top(values: Array, k: int) -> NDArray[np.bool_]:
    """Select the k highest values of each row (..., W)."""
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), -1, kind="stable")
    selected = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(selected, order[..., :k], True, -1)
    return selected


def _centred(values: Array) -> Array:
    valid = ~np.isnan(values)
    count = np.maximum(valid.sum(-1, keepdims=True), 1)
    filled = np.where(valid, values, 0.0)
    # Constant rows become exactly 0, although their mean may be rounded.
    highest = np.where(valid, values, -np.inf).max(-1, keepdims=True)
    lowest = np.where(valid, values, np.inf).min(-1, keepdims=True)
    centred = filled - filled.sum(-1, keepdims=True) / count
    return np.where(valid & (highest != lowest), centred, 0.0)


def _cosine(a: Array, b: Array) -> Array:
    # Divide by the largest value first, because squares of small scores would underflow.
    with np.errstate(invalid="ignore"):
        a, b = (x / np.abs(x).max(-1, keepdims=True) for x in (a, b))
        return np.clip((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1)), -1, 1)


def _ranks(values: Array) -> Array:
    """Rank the values of each row from 1, keeping NaN."""
    valid = ~np.isnan(values)
    ranks = stats.rankdata(np.where(valid, values, np.inf), axis=-1)
    return np.where(valid, ranks, nan)


def _tau(a: Array, b: Array) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return nan
    # Avoids the exact p-value, which is not used and takes longer than tau.
    return float(stats.kendalltau(a, b, method="asymptotic").statistic)


def _deviation(draws: ArrayLike) -> float:
    valid = np.asarray(draws, dtype=np.float64)
    valid = valid[~np.isnan(valid)]
    return float(valid.std(ddof=1)) if len(valid) > 1 else nan
