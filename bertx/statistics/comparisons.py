"""Comparison of all pairs of methods, corrected for multiple testing.

References:
    A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979). Sample Size Formulas for
    Normal Theory T Tests (Guenther, 1981).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import ceil, isfinite
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bertx.errors import InputError
from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.spread import (
    Array,
    as_table,
    complete_examples,
    observed_spread,
    summarize,
)

Verdict = Literal["beats", "no difference shown", "no relevant difference", "too few examples"]

MINIMUM = 20
"""Fewer examples allow no verdict, because they do not show the variance of differences."""

MOST = 10**9
"""Larger numbers of needed examples are not computed or shown exactly."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods.

    Attributes:
        better: The method with the better mean.
        worse: The other method.
        difference: Mean advantage of the better method, at least 0; NaN without common examples.
        low: Lower end of its confidence interval: from `compare` at the level 1 - alpha, not
            corrected for other comparisons; from `compare_in_order` at 1 - alpha / m for m
            comparisons.
        high: Upper end.
        p: Two-sided p-value of a mean difference of 0.
        adjusted: p-value after Holm's correction for all comparisons.
        count: Number of examples for which both methods have values.
        detectable: Smallest true difference that this number of examples is likely to show, at the
            level of Holm's strictest step; NaN for fewer than two. From `compare_in_order` half the
            width of the interval.
        needed: Number of examples likely to show a true difference as large as the observed one, at
            the same level; None if there is no such number (see `examples_needed`).
        verdict: See `compare`.
    """

    better: str
    worse: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float
    count: int
    detectable: float
    needed: int | None
    verdict: Verdict

    @property
    def need(self) -> str:
        """``needed`` as text, or the reason why no number of examples is enough."""
        if self.needed is not None:
            return f"{self.needed:,}" if self.needed < MOST else f"over {MOST:,}"
        if self.count < 2:
            return "fewer than 2 in common"
        return "equal" if self.difference == 0 else "more seeds"


def holm(p: ArrayLike) -> Array:
    """Adjust p-values by Holm's method, which controls the family-wise error rate.

    The k-th smallest of m p-values becomes max over j <= k of (m - j + 1) p_(j), at most 1. The
    tests may be dependent.

    Args:
        p: p-values (m,).

    Returns:
        Adjusted p-values (m,) in the same order. Reject hypotheses with values of at most alpha.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def examples_needed(differences: ArrayLike, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Estimate how many examples would show a true difference as large as the observed one.

    By the normal approximation, with quantiles z of the normal distribution, d the mean
    difference, v the variance of the differences between examples (averaged over seeds) and w the
    variance of the mean between seeds (0 for one seed),

        n = v / ((d / (z(1 - alpha/2) + z(power)))^2 - w) + z(1 - alpha/2)^2 / 2

    rounded up. The last term is Guenther's correction for an estimated variance.

    Args:
        differences: Paired differences (N,) or (S, N); NaN for missing values.
        power: Probability of showing the difference.
        alpha: Level of the two-sided test.

    Returns:
        n, at least `MINIMUM`. None if no number of examples is enough, because d is 0 or the
        variance between seeds is too large, or if there are fewer than two differences.

    Raises:
        InputError: If ``differences`` has another shape, or a difference is infinite.

    Examples:
        >>> examples_needed([0.5, -0.3, 0.4, -0.2])  # 0.1667 / (0.1 / 2.80)^2 + 1.92
        133
    """
    table = complete_examples(as_table(differences, "differences"))
    if table.shape[1] < 2:
        return None
    spread = observed_spread(table[None])
    between_seeds = max(float(spread.seeds[0, 0] - spread.both[0, 0]), 0)
    allowed = (float(table.mean()) / _detectable_errors(alpha, power)) ** 2 - between_seeds
    if allowed <= 0:
        return None
    variance = float(spread.examples[0, 0]) * table.shape[1]
    examples = variance / allowed + _quantile(1 - alpha / 2) ** 2 / 2
    return max(MINIMUM, ceil(examples)) if isfinite(examples) else None


def compare(
    values: Mapping[str, ArrayLike],
    higher_is_better: bool,
    relevant: float = 0.01,
    alpha: float = 0.05,
    power: float = 0.8,
    resamples: int = 9999,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every pair of methods on the same examples.

    The verdict is the first that applies:

    1. "too few examples": fewer than `MINIMUM` examples have values of both methods;
    2. "beats": the p-value of `paired_bootstrap`, adjusted by `holm` for all pairs, is at most
       alpha;
    3. "too few examples": ``detectable`` is greater than ``relevant``, so a relevant difference
       could easily be missed;
    4. "no difference shown".

    Args:
        values: Values of each method (N,) or (S, N), all of the same shape.
        higher_is_better: Whether a larger value is better.
        relevant: The smallest difference that matters, in the unit of the values.
        alpha: Probability of any false "beats" if the methods are equal.
        power: The probability meant by "likely" in `Comparison`.
        resamples: Number of bootstrap resamples. With m pairs, at least m / alpha are needed for
            any "beats".
        seed: Seed of the resampling.

    Returns:
        The m comparisons, in the order of ``values``.

    Raises:
        InputError: If shapes differ, a value is infinite, or ``resamples`` is too small.
    """
    tables = as_tables(values)
    pairs = list(combinations(tables, 2))
    sign = 1 if higher_is_better else -1
    differences = [sign * (tables[a] - tables[b]) for a, b in pairs]
    results = bootstrap_means(differences, alpha, resamples, seed)
    level = alpha / max(len(pairs), 1)
    errors = _detectable_errors(level, power)
    comparisons = []
    adjusted = holm([result.p for result in results]).tolist()
    for pair, table, result, p in zip(pairs, differences, results, adjusted, strict=True):
        detectable = errors * summarize(table).se
        swap = result.mean < 0
        comparisons.append(
            Comparison(
                better=pair[swap],
                worse=pair[not swap],
                difference=abs(result.mean),
                low=-result.high if swap else result.low,
                high=-result.low if swap else result.high,
                p=result.p,
                adjusted=p,
                count=result.count,
                detectable=detectable,
                needed=examples_needed(table, power, level),
                verdict=_verdict(result.count, p <= alpha, detectable > relevant),
            )
        )
    return comparisons


def _verdict(count: int, significant: bool, insensitive: bool) -> Verdict:
    if count < MINIMUM:
        return "too few examples"
    if significant:
        return "beats"
    return "too few examples" if insensitive else "no difference shown"


def _detectable_errors(alpha: float, power: float) -> float:
    """Return the difference that is shown with this power, in standard errors."""
    return _quantile(1 - alpha / 2) + _quantile(power)


def _quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def as_tables(values: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Return the values of each method as (S, N).

    Raises:
        InputError: If shapes differ, or a value is infinite.
    """
    shapes = {name: np.shape(array) for name, array in values.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"expected values of the same examples for all methods, got the shapes {shapes}. Keep "
            "the examples that all have."
        )
    return {name: as_table(array, name) for name, array in values.items()}
