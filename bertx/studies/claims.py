"""Verdicts on claims: what comparisons and intervals show, and how much data would decide."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, inf, isfinite

import numpy as np

from bertx.statistics import Comparison, compare
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import Z95, Array
from bertx.studies import paper
from bertx.studies.findings import ClaimVerdict
from bertx.studies.settings import Settings


@dataclass(frozen=True)
class ClaimTest:
    """A comparison of two methods that tests a claim about which of them is better.

    Attributes:
        where: What the methods are compared on, such as the data set and the operator.
        winner: The method that is better if the claim holds.
        comparison: The result.
    """

    where: str
    winner: str
    comparison: Comparison

    @property
    def verdict(self) -> ClaimVerdict:
        """Whether the result agrees with the claim."""
        if self.comparison.verdict == "too few examples":
            return "cannot tell"
        shown = self.comparison.verdict == "beats" and self.comparison.better == self.winner
        return "agree" if shown else "disagree"

    @property
    def evidence(self) -> str:
        """The difference of the two methods, positive where it agrees with the claim."""
        result = self.comparison
        sign = 1 if result.better == self.winner else -1
        low, high = sorted((sign * result.low, sign * result.high))
        difference = f"{sign * result.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        evidence = f"{self.where} {difference}, n = {result.count:,}"
        undecided = self.verdict == "cannot tell"
        return f"{evidence} ({needed_to_decide(result.needed)})" if undecided else evidence


def compare_pairs(
    pairs: Sequence[tuple[str, str, Mapping[str, Array]]], relevant: float, settings: Settings
) -> list[ClaimTest]:
    """Compare pairs of methods, corrected for the number of pairs; lower values are better.

    Args:
        pairs: For each comparison: what it is made on, the method that is better if the claim
            holds, and the values (S, N) of both methods.
        relevant: The smallest difference that matters.
        settings: The least number of bootstrap draws, and their seed.
    """
    alpha = 0.05 / max(len(pairs), 1)
    draws = max(settings.resamples, round(10 / alpha))  # enough for a p-value below alpha
    tests = []
    for where, winner, values in pairs:
        (comparison,) = compare(values, False, relevant, alpha, resamples=draws, seed=settings.seed)
        tests.append(ClaimTest(where, winner, comparison))
    return tests


def overall(tests: Sequence[ClaimTest]) -> ClaimVerdict:
    """Return whether a claim holds in all comparisons; a single failure is enough to disagree."""
    verdicts = {test.verdict for test in tests} or {"cannot tell"}
    return min(verdicts, key=("disagree", "cannot tell", "agree").index)


def needed_to_decide(needed: int | None) -> str:
    """Say how many texts would decide an open comparison.

    Examples:
        >>> needed_to_decide(133)
        '133 texts would be needed to decide'
        >>> needed_to_decide(5_000_000)
        'more than 1,000,000 texts would be needed to decide'
        >>> needed_to_decide(None)
        'cannot be decided with any number of texts'
    """
    if needed is None:
        return "cannot be decided with any number of texts"
    most = 1_000_000
    count = f"more than {most:,}" if needed > most else f"{needed:,}"
    return f"{count} texts would be needed to decide"


def evidence_of(tests: Sequence[ClaimTest]) -> str:
    """List the evidence of all comparisons."""
    return "; ".join(test.evidence for test in tests)


def joined(names: Sequence[str]) -> str:
    """Join names as in a sentence.

    Examples:
        >>> joined(["a"]), joined(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return " and ".join([part for part in (", ".join(names[:-1]), *names[-1:]) if part])


def listed(intervals: Mapping[str, Interval], separator: str = ", ") -> str:
    """List values with their intervals, each after its name."""
    return separator.join(f"{name} {interval}" for name, interval in intervals.items())


_LIKELY = (Z95 + 0.8416212335729143) / Z95
"""A difference shown with 80 % probability, relative to half the width of its 95 % interval."""

_FEWEST = 4  # the fewest models from which their spread can be estimated


def texts_needed(difference: Interval, texts: int) -> int | None:
    """Estimate how many texts would show a true difference as large as the observed one.

    Args:
        difference: The difference. Its interval narrows with the square root of the number of
            texts.
        texts: The number of texts it was observed on.

    Returns:
        The number for which the probability is 80 %; None if no number is enough, because the
        difference is 0 or unknown.

    Examples:
        >>> texts_needed(Interval(0.1, -0.1, 0.3), 100)
        818
    """
    reach = (difference.high - difference.low) / 2
    if not isfinite(reach) or difference.value == 0:
        return None
    return ceil(texts * (_LIKELY * reach / abs(difference.value)) ** 2)


def seeds_needed(differences: Array, draws: Array, models: int) -> float | None:
    """Estimate how many models would show a true difference as large as the mean over all pairs.

    The variance over models is the jackknife's, which leaves out one model at a time. It falls
    with the number of models; the variance over texts does not.

    Args:
        differences: The difference of each pair of models, in the order of `combinations` (P,).
        draws: Their mean in bootstrap draws of the texts (R,).
        models: The number of models.

    Returns:
        The number for which the probability is 80 %, infinite if no number is enough on this many
        texts; None with fewer than four models, from which it cannot be estimated: two have a
        single pair, and the three pairs of three models share their models.
    """
    if models < _FEWEST:
        return None
    pairs = np.asarray(list(combinations(range(models), 2)))
    without = [differences[(pairs != model).all(1)].mean() for model in range(models)]
    over_models = (models - 1) * float(np.square(without - np.mean(without)).sum())  # × models
    z = _LIKELY * Z95
    room = (float(differences.mean()) / z) ** 2 - float(np.var(draws, ddof=1))
    return max(2, ceil(over_models / room)) if room > 0 else inf


def texts_to_decide(texts: int, name: str, difference: Interval) -> str:
    """Say how many texts would decide a difference that ``texts`` texts leave open."""
    count = texts_needed(difference, texts)
    if count is None:
        return f"{name}: cannot be decided with any number of texts"
    return f"{name}: about {count:,} texts would be needed to decide"


def all_positive(
    differences: Mapping[str, Interval], needed: Callable[[str, Interval], str]
) -> tuple[ClaimVerdict, str]:
    """Return whether all differences are above 0.

    Args:
        differences: Differences with their intervals, by name.
        needed: Says how much data would decide a difference whose interval includes 0.

    Returns:
        The verdict, and the evidence in words, with what is needed if the verdict is open.
    """
    evidence = listed(differences, "; ")
    if negative(differences):
        return "disagree", evidence
    names = undecided(differences)
    if not names:
        return "agree", evidence
    return "cannot tell", f"{evidence}. {'; '.join(needed(n, differences[n]) for n in names)}"


def negative(differences: Mapping[str, Interval]) -> list[str]:
    """Return the names of the differences whose interval is below 0."""
    return [name for name, interval in differences.items() if interval.high < 0]


def undecided(differences: Mapping[str, Interval]) -> list[str]:
    """Return the names of the differences whose interval includes 0 or is unknown."""
    return [name for name, (_, low, high) in differences.items() if not low > 0 and not high < 0]


def leagues(methods: Iterable[str], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Split methods into the two groups that are compared: with and without signed scores.

    Yields:
        ``signed`` or ``unsigned``, and the group's methods; an empty group is left out.
    """
    every = list(methods)
    for sign, league in ((True, "signed"), (False, "unsigned")):
        if names := [name for name in every if settings.signed(name) == sign]:
            yield league, names


def highest(means: Mapping[str, Interval]) -> str:
    """Return the name of the highest mean; NaN is the lowest."""
    return max(means, key=lambda name: np.nan_to_num(means[name].value, nan=-2.0))


def papers_methods(settings: Settings) -> tuple[list[str], str]:
    """Return the paper's methods that the study computes as the paper does: without a sign.

    Methods with a sign and methods without one are never compared.

    Returns:
        Their names, and a note on the paper's other methods.
    """
    computed = [name for name in paper.METHODS if name in settings.methods]
    unsigned = [name for name in computed if not settings.signed(name)]
    missing = [name for name in paper.METHODS if name not in computed]
    signed = [name for name in computed if name not in unsigned]
    notes = {
        "Not computed": missing,
        "Not compared, because signed here but not in the paper": signed,
    }
    parts = [f"{why}: {', '.join(names)}." for why, names in notes.items() if names]
    return unsigned, " ".join(parts)
