"""Sequential comparison of methods, which stops as soon as the examples are sufficient.

Examples come in random order, and two methods may be compared after each of them. The intervals of
a confidence sequence hold for all numbers of examples simultaneously, so that any stopping rule is
valid. They are exact for Gaussian differences, and asymptotically valid for others by the central
limit theorem.

References:
    Anytime-Valid t-Tests and Confidence Sequences for Gaussian Means with Unknown Variance (Wang
    and Ramdas, 2024), https://arxiv.org/abs/2310.03722: the t-test martingale of a Gaussian
    mixture. Time-Uniform Central Limit Theory and Asymptotic Confidence Sequences (Waudby-Smith et
    al., 2024), https://arxiv.org/abs/2103.06476. Monitoring Clinical Trials: Conditional or
    Predictive Power? (Spiegelhalter, Freedman and Blackburn, 1986).
"""

from collections.abc import Mapping
from itertools import combinations
from math import log, nan
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from bertx.errors import InputError
from bertx.statistics.comparisons import MINIMUM, MOST, Comparison, Verdict, as_tables
from bertx.statistics.spread import Array

_EFFECT = 0.35
"""Standard deviation of the mixture, in standard deviations of a difference.

Intervals are valid for all mean differences, and narrowest for differences of about this size.
"""


def compare_in_order(
    values: Mapping[str, ArrayLike],
    higher_is_better: bool,
    relevant: float = 0.01,
    alpha: float = 0.05,
) -> list[Comparison]:
    """Compare every pair of methods example by example, until the pair is decided.

    The verdict on a pair is the first that applies after `MINIMUM` examples or more:

    1. "beats": the interval of the mean difference excludes 0;
    2. "no relevant difference": the interval is between -relevant and relevant;
    3. "too few examples": neither, after all examples.

    The intervals come from `confidence_sequence` at alpha / m for m pairs. All verdicts are
    simultaneously correct, for any stopping rule, with probability 1 - alpha.

    Args:
        values: Values of each method (N,) in the order in which the examples were drawn; NaN for
            examples without a value, which are ignored.
        higher_is_better: Whether a larger value is better.
        relevant: The smallest difference that matters, in the unit of the values.
        alpha: Probability of any wrong verdict.

    Returns:
        The m comparisons, in the order of ``values``. For a decided pair, all numbers are as of the
        decision, and ``count`` is the number of examples needed for it.

    Raises:
        InputError: If shapes differ, a value is infinite, or there are values of several seeds.
    """
    tables = as_tables(values)
    if any(len(table) > 1 for table in tables.values()):
        raise InputError(
            "expected values of one model (N,), got values of several seeds: a verdict on one "
            "model does not hold for another. Compare them on a fixed number of examples."
        )
    pairs = list(combinations(tables, 2))
    sign = 1 if higher_is_better else -1
    scale = _running_range(np.concatenate(list(tables.values()))) if tables else np.zeros(0)
    level = alpha / max(len(pairs), 1)
    return [
        _compare_pair(a, b, sign * (tables[a] - tables[b])[0], scale, relevant, level, len(pairs))
        for a, b in pairs
    ]


def confidence_sequence(
    differences: ArrayLike, alpha: float = 0.05, scale: ArrayLike = 0.0
) -> tuple[Array, Array]:
    """Compute confidence intervals of the mean after each example, valid simultaneously.

    After n differences with the standard deviation s, with g = 1 + 0.35² n and
    r = (g / alpha²)^(1/n), the mean plus and minus
    s / sqrt(n) · sqrt((n - 1) (r - 1) / (1 - r / g)).

    Args:
        differences: Paired differences in random order (N,).
        alpha: Probability that any of the intervals misses the mean.
        scale: Range of the values up to each example (N,). It is added to the variance as two more
            examples with differences of plus and minus half the range, because rare large values
            may not have occurred yet.

    Returns:
        Lower and upper ends (N,); infinite for too few differences.

    Examples:
        >>> low, high = confidence_sequence([0.3, 0.5, 0.4] * 10)
        >>> f"{low[9]:.2f} to {high[9]:.2f}, {low[29]:.2f} to {high[29]:.2f}"
        '0.15 to 0.63, 0.35 to 0.45'
    """
    mean, deviation = _running(np.asarray(differences, dtype=np.float64), scale)
    half = _half_widths(deviation, alpha)
    return mean - half, mean + half


def half_width(count: ArrayLike, alpha: float) -> Array:
    """Compute half the width of the intervals of a confidence sequence, in standard deviations.

    Args:
        count: Numbers of examples (K,).
        alpha: As in `confidence_sequence`.

    Returns:
        (K,), infinite for too few examples.
    """
    n = np.asarray(count, dtype=np.float64)
    grown = 1 + _EFFECT**2 * n
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratio = np.exp((np.log(grown) - 2 * log(alpha)) / n)
        half = np.sqrt((n - 1) * (ratio - 1) / (1 - ratio / grown) / n)
    return np.where((ratio < grown) & (n > 1), half, np.inf)


def chance_of_verdict(
    difference: float, half: float, count: int, total: int, relevant: float, alpha: float
) -> float:
    """Compute the probability that an open comparison is decided by the last example.

    This is the predictive power: given the mean of the first ``count`` differences, the mean of all
    ``total`` differences is normally distributed around it with variance
    s² (1 / count - 1 / total).

    Args:
        difference: Mean difference so far.
        half: Half the width of its interval.
        count: Number of examples so far.
        total: Number of all examples.
        relevant: The smallest difference that matters.
        alpha: Level of the comparison.

    Returns:
        In [0, 1]; 1 if there are too few examples for an interval, and 0 if no examples are left.
    """
    if count >= total:
        return 0.0
    deviation = half / float(half_width(count, alpha)) if count > 1 else nan
    if not 0 < deviation < np.inf:
        return 1.0
    last = NormalDist(abs(difference), deviation * (1 / count - 1 / total) ** 0.5)
    end = deviation * float(half_width(total, alpha))
    within = max(relevant - end, 0.0)
    beyond = last.cdf(-end) + 1 - last.cdf(end)
    return beyond + last.cdf(within) - last.cdf(-within)


def _compare_pair(
    a: str,
    b: str,
    differences: Array,
    scale: Array,
    relevant: float,
    level: float,
    pairs: int,
) -> Comparison:
    """Compare two methods by their differences (N,), the advantage of a, in order."""
    valid = ~np.isnan(differences)
    mean, deviation = _running(differences[valid], scale[valid])
    half = _half_widths(deviation, level)
    half[: MINIMUM - 1] = np.inf
    beats, same = np.abs(mean) > half, np.abs(mean) + half < relevant
    decided = np.flatnonzero(beats | same)
    last = int(decided[0]) if len(decided) else len(mean) - 1
    if last < 0:
        return Comparison(a, b, nan, nan, nan, 1.0, 1.0, 0, nan, None, "too few examples")
    verdict: Verdict = "too few examples"
    if len(decided):
        verdict = "beats" if beats[last] else "no relevant difference"
    swap = mean[last] < 0
    difference, width = abs(float(mean[last])), float(half[last])
    p = _p_value(mean[: last + 1], deviation[: last + 1])
    needed = last + 1 if len(decided) else _needed(difference, deviation[last], relevant, level)
    return Comparison(
        better=b if swap else a,
        worse=a if swap else b,
        difference=difference,
        low=difference - width,
        high=difference + width,
        p=p,
        adjusted=min(1.0, pairs * p),
        count=last + 1,
        detectable=width,
        needed=needed,
        verdict=verdict,
    )


def _half_widths(deviation: Array, alpha: float) -> Array:
    """Compute half the width of the interval after each example (N,), infinite without variance."""
    factor = half_width(np.arange(1, len(deviation) + 1), alpha)
    with np.errstate(invalid="ignore"):
        return np.where(deviation > 0, deviation * factor, np.inf)


def _running(values: Array, scale: ArrayLike) -> tuple[Array, Array]:
    """Compute mean and standard deviation of the first n values, for each n (N,)."""
    count = np.arange(1, len(values) + 1)
    centre = values.mean() if len(values) else 0.0  # avoids cancellation of squares
    centred = values - centre
    mean = np.cumsum(centred) / count
    squares = np.maximum(np.cumsum(centred**2) - count * mean**2, 0)
    extra = np.asarray(scale, dtype=np.float64) ** 2 / 2
    return centre + mean, np.sqrt((squares + extra) / np.maximum(count - 1, 1))


def _running_range(values: Array) -> Array:
    """Compute the range of the values (M, N) up to each example (N,); -inf before the first."""
    valid = ~np.isnan(values)
    highest = np.where(valid, values, -np.inf).max(0)
    lowest = np.where(valid, values, np.inf).min(0)
    return np.maximum.accumulate(highest) - np.minimum.accumulate(lowest)


def _p_value(mean: Array, deviation: Array) -> float:
    """Return 1 / the maximum of the t-test martingale, a p-value for any stopping rule."""
    count = np.arange(1, len(mean) + 1, dtype=np.float64)
    grown = 1 + _EFFECT**2 * count
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, count * (mean / deviation) ** 2 / np.maximum(count - 1, 1))
        growth = np.log1p(t) - np.log1p(t / grown)
    growth = np.where(np.isinf(t), np.log(grown), growth)
    logs = (count * growth - np.log(grown)) / 2
    logs[: MINIMUM - 1] = 0.0
    return float(np.exp(-max(logs.max(), 0.0)))


def _needed(difference: float, deviation: float, relevant: float, alpha: float) -> int | None:
    """Estimate when a pair is decided if mean and standard deviation do not change."""
    target = max(difference, relevant - difference)
    counts = np.unique(np.geomspace(MINIMUM, MOST, 2000).astype(np.int64))
    enough = np.flatnonzero(deviation * half_width(counts, alpha) < target)
    return int(counts[enough[0]]) if len(enough) else None
