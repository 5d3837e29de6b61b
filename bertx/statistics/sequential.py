"""Which of several methods is better, with as few examples as that takes.

Examples come in random order, and after each of them it may be asked whether two methods are told
apart: the intervals of a confidence sequence hold after all examples at once, so that one may look
as often as one likes and stop when one likes. They are exact for Gaussian differences, and for
others as the central limit theorem makes them so.

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
from bertx.statistics.comparisons import MINIMUM, Comparison, Verdict, same_shape
from bertx.statistics.spread import Array

_EFFECT = 0.35
"""Standard deviation of the mixture, in standard deviations of a difference: intervals are
narrowest for mean differences of about that size, and hold for all."""

_MOST = 10**9


def compare_in_order(
    values: Mapping[str, ArrayLike],
    higher_is_better: bool,
    relevant: float = 0.01,
    alpha: float = 0.05,
) -> list[Comparison]:
    """Compare every pair of methods example by example, until it is decided.

    The verdict on each pair is the first that holds after `MINIMUM` examples or more:

    1. "beats": the interval of the mean difference excludes 0;
    2. "no relevant difference": it lies between -relevant and relevant;
    3. "too few examples": neither, after all of them.

    The intervals are those of `confidence_sequence` at alpha / m for m pairs: all verdicts are
    right at once, whenever one stops, with probability 1 - alpha.

    Args:
        values: Values of each method (N,) in the order in which the examples were drawn; NaN for
            one without a value, which does not count.
        higher_is_better: Whether a larger value is better.
        relevant: The smallest difference that matters, in the unit of the values.
        alpha: The chance of any wrong verdict.

    Returns:
        The m comparisons, in the order of ``values``. Of a decided pair, everything is as it was
        when it was decided: ``count`` is the number of examples that took.

    Raises:
        InputError: If shapes differ, a value is infinite, or values are of several seeds.
    """
    given = same_shape(values)
    if any(len(rows) > 1 for rows in given.values()):
        raise InputError(
            "expected values of one model (N,), got those of several seeds: what decides one does "
            "not decide another. Compare them on a fixed number of examples."
        )
    pairs = list(combinations(given, 2))
    sign = 1 if higher_is_better else -1
    scale = _scale(np.concatenate(list(given.values()))) if given else np.zeros(0)
    level = alpha / max(len(pairs), 1)
    return [
        _compared(a, b, sign * (given[a] - given[b])[0], scale, relevant, level, len(pairs))
        for a, b in pairs
    ]


def confidence_sequence(
    differences: ArrayLike, alpha: float = 0.05, scale: ArrayLike = 0.0
) -> tuple[Array, Array]:
    """Intervals of the mean after each example, which all hold at once.

    After n differences of standard deviation s, with g = 1 + 0.35² n and r = (g / alpha²)^(1/n),
    their mean plus and minus s / sqrt(n) times the root of (n - 1) (r - 1) / (1 - r / g).

    Args:
        differences: Paired differences in random order (N,).
        alpha: The chance that any of the intervals misses the mean.
        scale: How far values lie apart, up to each example (N,). As if two more examples had been
            seen that differ by half of it, one either way: what is rare and large need not have
            come yet.

    Returns:
        The lower and the upper ends (N,); infinite while there are too few differences.

    Examples:
        >>> low, high = confidence_sequence([0.3, 0.5, 0.4] * 10)
        >>> f"{low[9]:.2f} to {high[9]:.2f}, {low[29]:.2f} to {high[29]:.2f}"
        '0.15 to 0.63, 0.35 to 0.45'
    """
    mean, deviation = _running(np.asarray(differences, dtype=np.float64), scale)
    half = _half(deviation, alpha)
    return mean - half, mean + half


def reach(count: ArrayLike, alpha: float) -> Array:
    """Half the width of an interval of a confidence sequence, in standard deviations.

    Args:
        count: Numbers of examples.
        alpha: As in `confidence_sequence`.

    Returns:
        As many, infinite where there are too few examples.
    """
    n = np.asarray(count, dtype=np.float64)
    grown = 1 + _EFFECT**2 * n
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratio = np.exp((np.log(grown) - 2 * log(alpha)) / n)
        half = np.sqrt((n - 1) * (ratio - 1) / (1 - ratio / grown) / n)
    return np.where((ratio < grown) & (n > 1), half, np.inf)


def chance_of_verdict(
    difference: float, half: float, count: int, of: int, relevant: float, alpha: float
) -> float:
    """How likely an open comparison is to be decided by the last example.

    The predictive power: the mean of all ``of`` differences, given that of the first ``count``, is
    normal about it with the variance s² (1 / count - 1 / of).

    Args:
        difference: The mean difference so far.
        half: Half the width of its interval.
        count: The number of examples so far.
        of: The number of all examples.
        relevant: The smallest difference that matters.
        alpha: The level of the comparison.

    Returns:
        0 to 1; 1 while so few examples allow no interval, and 0 if none are left.
    """
    if count >= of:
        return 0.0
    deviation = half / float(reach(count, alpha)) if count > 1 else nan
    if not 0 < deviation < np.inf:
        return 1.0
    last = NormalDist(abs(difference), deviation * (1 / count - 1 / of) ** 0.5)
    end = deviation * float(reach(of, alpha))
    within = max(relevant - end, 0.0)
    beyond = last.cdf(-end) + 1 - last.cdf(end)
    return beyond + last.cdf(within) - last.cdf(-within)


def _compared(
    a: str,
    b: str,
    apart: Array,
    scale: Array,
    relevant: float,
    level: float,
    pairs: int,
) -> Comparison:
    """The comparison of two methods by their differences, a's advantage, in order."""
    valid = ~np.isnan(apart)
    mean, deviation = _running(apart[valid], scale[valid])
    half = _half(deviation, level)
    half[: MINIMUM - 1] = np.inf
    beats, same = np.abs(mean) > half, np.abs(mean) + half < relevant
    decided = np.flatnonzero(beats | same)
    place = int(decided[0]) if len(decided) else len(mean) - 1
    if place < 0:
        return Comparison(a, b, nan, nan, nan, 1.0, 1.0, 0, nan, None, "too few examples")
    verdict: Verdict = "too few examples"
    if len(decided):
        verdict = "beats" if beats[place] else "no relevant difference"
    turned = mean[place] < 0
    difference, width = abs(float(mean[place])), float(half[place])
    p = _p_value(mean[: place + 1], deviation[: place + 1])
    needed = place + 1 if len(decided) else _needed(difference, deviation[place], relevant, level)
    return Comparison(
        better=b if turned else a,
        worse=a if turned else b,
        difference=difference,
        low=difference - width,
        high=difference + width,
        p=p,
        adjusted=min(1.0, pairs * p),
        count=place + 1,
        detectable=width,
        needed=needed,
        verdict=verdict,
    )


def _half(deviation: Array, alpha: float) -> Array:
    """Half the width of the interval after each example (N,), infinite where nothing spreads."""
    factor = reach(np.arange(1, len(deviation) + 1), alpha)
    with np.errstate(invalid="ignore"):
        return np.where(deviation > 0, deviation * factor, np.inf)


def _running(values: Array, scale: ArrayLike) -> tuple[Array, Array]:
    """Mean and standard deviation of the first n values (N,), for each n."""
    count = np.arange(1, len(values) + 1)
    centre = values.mean() if len(values) else 0.0  # near the means, so that squares do not cancel
    apart = values - centre
    mean = np.cumsum(apart) / count
    squares = np.maximum(np.cumsum(apart**2) - count * mean**2, 0)
    extra = np.asarray(scale, dtype=np.float64) ** 2 / 2
    return centre + mean, np.sqrt((squares + extra) / np.maximum(count - 1, 1))


def _scale(values: Array) -> Array:
    """How far the values (M, N) up to each example lie apart (N,); -inf before the first."""
    valid = ~np.isnan(values)
    highest = np.where(valid, values, -np.inf).max(0)
    lowest = np.where(valid, values, np.inf).min(0)
    return np.maximum.accumulate(highest) - np.minimum.accumulate(lowest)


def _p_value(mean: Array, deviation: Array) -> float:
    """One by the largest value of the t-test martingale: valid whenever one stops."""
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
    """After how many examples a pair is decided if mean and standard deviation stay."""
    target = max(difference, relevant - difference)
    counts = np.unique(np.geomspace(MINIMUM, _MOST, 2000).astype(np.int64))
    enough = np.flatnonzero(deviation * reach(counts, alpha) < target)
    return int(counts[enough[0]]) if len(enough) else None
