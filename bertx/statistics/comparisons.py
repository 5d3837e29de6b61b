"""Which of several methods is better: all pairs, corrected for their number.

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
from bertx.statistics.bootstrap import PairedResult, bootstrap_means
from bertx.statistics.spread import Array, checked, complete_examples, sample, summarize

Verdict = Literal["beats", "no difference shown", "no relevant difference", "too few examples"]

MINIMUM = 20
"""With fewer examples nothing is said: they do not show how differences spread."""

_MOST = 10**9  # examples that anybody could want to hear of


@dataclass(frozen=True)
class Comparison:
    """What can be said of two methods.

    Attributes:
        better: The method with the better mean.
        worse: The other one.
        difference: How much better on average, at least 0; NaN without common examples.
        low: Lower end of its interval of 1 - alpha, which is not corrected for other comparisons.
        high: Upper end.
        p: Two-sided p-value of a mean difference of 0.
        adjusted: The same after Holm's correction for all comparisons.
        count: Number of examples.
        detectable: The true difference that so many examples are likely to show, at the level of
            Holm's strictest step; NaN for fewer than two.
        needed: Number of examples that are likely to show a true difference as large as the one
            observed, at the same level; None if no number is (see `examples_needed`).
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
        """The examples needed, in words where no number of them is enough."""
        if self.needed is not None:
            return f"{self.needed:,}" if self.needed < _MOST else f"over {_MOST:,}"
        if self.count < 2:
            return "fewer than 2 in common"
        return "equal" if self.difference == 0 else "more seeds"


def holm(p: ArrayLike) -> Array:
    """Adjust p-values for their number: the chance of any false rejection stays below alpha.

    The k-th smallest of m p-values becomes the largest (m - j + 1) p_(j) of all j <= k, at most 1.
    This holds for dependent tests too.

    Args:
        p: p-values (m,).

    Returns:
        Adjusted p-values (m,) in the same order. Reject those that are at most alpha.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    steps = np.arange(len(given), 0, -1) * given[order]
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def examples_needed(differences: ArrayLike, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many examples are likely to show a true difference as large as the one observed.

    By the normal approximation, with quantiles z of the normal distribution, d the mean
    difference, v the variance of the examples' differences (of their means over seeds) and w the
    variance that a draw of seeds adds to the mean (0 for one seed),

        n = v / ((d / (z(1 - alpha/2) + z(power)))^2 - w) + z(1 - alpha/2)^2 / 2

    rounded up; the second term is Guenther's, for a variance that is estimated.

    Args:
        differences: Paired differences (N,) or (S, N); NaN where there are none.
        power: The probability that is meant by "likely".
        alpha: Level of the two-sided test.

    Returns:
        n, at least `MINIMUM`. None if no number of examples is enough, because d is 0 or seeds
        alone spread the mean so far, or if there are fewer than two differences.

    Raises:
        InputError: If differences have another shape, or one is infinite.

    Examples:
        >>> examples_needed([0.5, -0.3, 0.4, -0.2])  # 0.1667 / (0.1 / 2.80)^2 + 1.92
        133
    """
    table = complete_examples(checked(differences, "differences"))
    if table.shape[1] < 2:
        return None
    parts = sample(table[None])
    seeds = max(float(parts.seeds[0, 0] - parts.both[0, 0]), 0)
    room = (float(table.mean()) / _errors(alpha, power)) ** 2 - seeds
    if room <= 0:
        return None
    examples = (
        float(parts.examples[0, 0]) * table.shape[1] / room + _quantile(1 - alpha / 2) ** 2 / 2
    )
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

    1. "too few examples": fewer than `MINIMUM` have values of both methods;
    2. "beats": the p-value of `paired_bootstrap`, adjusted by `holm` for all pairs, is at most
       alpha;
    3. "too few examples": ``detectable`` is above ``relevant``, so that a difference that matters
       would often not have been shown;
    4. "no difference shown".

    Args:
        values: Values of each method (N,) or (S, N), all of one shape.
        higher_is_better: Whether a larger value is better.
        relevant: The smallest difference that matters, in the unit of the values.
        alpha: The chance of any false "beats" if the methods are equal.
        power: The probability that is meant by "likely" in `Comparison`.
        resamples: Draws of the bootstrap. Of m pairs, none beats the other for fewer than
            m / alpha.
        seed: What the draws follow from.

    Returns:
        The m comparisons, in the order of ``values``.

    Raises:
        InputError: If shapes differ, a value is infinite, or there are too few draws.
    """
    arrays = same_shape(values)
    pairs = list(combinations(arrays, 2))
    sign = 1 if higher_is_better else -1
    apart = [sign * (arrays[a] - arrays[b]) for a, b in pairs]
    results = bootstrap_means(apart, alpha, resamples, seed)
    level = alpha / max(len(pairs), 1)
    comparisons = []
    adjusted = holm([result.p for result in results]).tolist()
    for pair, differences, result, p in zip(pairs, apart, results, adjusted, strict=True):
        detectable = _detectable(differences, power, level)
        needed = examples_needed(differences, power, level)
        verdict = _verdict(result.count, p <= alpha, detectable > relevant)
        comparisons.append(_comparison(pair, result, p, detectable, needed, verdict))
    return comparisons


def _comparison(
    pair: tuple[str, str],
    result: PairedResult,
    adjusted: float,
    detectable: float,
    needed: int | None,
    verdict: Verdict,
) -> Comparison:
    turned = result.mean < 0
    return Comparison(
        better=pair[turned],
        worse=pair[not turned],
        difference=abs(result.mean),
        low=-result.high if turned else result.low,
        high=-result.low if turned else result.high,
        p=result.p,
        adjusted=adjusted,
        count=result.count,
        detectable=detectable,
        needed=needed,
        verdict=verdict,
    )


def _verdict(count: int, shown: bool, blind: bool) -> Verdict:
    if count < MINIMUM:
        return "too few examples"
    if shown:
        return "beats"
    return "too few examples" if blind else "no difference shown"


def _detectable(differences: Array, power: float, alpha: float) -> float:
    """The true mean difference (of S, N) that is shown with this power."""
    return _errors(alpha, power) * summarize(differences).se


def _errors(alpha: float, power: float) -> float:
    """How many standard errors a difference is that is shown with this power."""
    return _quantile(1 - alpha / 2) + _quantile(power)


def _quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)


def same_shape(values: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Values of each method as (S, N).

    Raises:
        InputError: If shapes differ, or a value is infinite.
    """
    shapes = {name: np.shape(given) for name, given in values.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"expected values of the same examples for all methods, got the shapes {shapes}. Keep "
            "the examples that all have."
        )
    return {name: checked(given, name) for name, given in values.items()}
