"""Whether a claim holds: what comparisons and intervals come to, and what would tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, inf, isfinite

import numpy as np

from bertx.statistics import Comparison, compare
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import Z95, Array
from bertx.studies import paper
from bertx.studies.findings import Answer
from bertx.studies.settings import Settings


@dataclass(frozen=True)
class Trial:
    """A comparison of two methods of which a claim says which is better.

    Attributes:
        where: What it was made on, such as the data set and the operator.
        winner: The method that is better if the claim holds.
        comparison: Its result.
    """

    where: str
    winner: str
    comparison: Comparison

    @property
    def answer(self) -> Answer:
        """Whether the result agrees with the claim."""
        if self.comparison.verdict == "too few examples":
            return "cannot tell"
        shown = self.comparison.verdict == "beats" and self.comparison.better == self.winner
        return "agree" if shown else "disagree"

    @property
    def evidence(self) -> str:
        """The difference of the two, positive where it agrees with the claim."""
        result = self.comparison
        sign = 1 if result.better == self.winner else -1
        low, high = sorted((sign * result.low, sign * result.high))
        difference = f"{sign * result.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        evidence = f"{self.where} {difference}, n = {result.count:,}"
        undecided = self.answer == "cannot tell"
        return f"{evidence} ({would_tell(result.needed)})" if undecided else evidence


def trials(
    asked: Sequence[tuple[str, str, Mapping[str, Array]]], relevant: float, settings: Settings
) -> list[Trial]:
    """Compare two methods each time, the lower values being better.

    Args:
        asked: For each comparison: what it is made on, the method that is better if the claim
            holds, and the values of both (S, N).
        relevant: The smallest difference that matters.
        settings: Draws of the bootstrap, at least, and what they follow from.
    """
    alpha = 0.05 / max(len(asked), 1)
    draws = max(settings.resamples, round(10 / alpha))  # so many that a small p-value is possible
    return [
        Trial(where, winner, *compare(
            values, False, relevant, alpha, resamples=draws, seed=settings.seed
        ))
        for where, winner, values in asked
    ]  # fmt: skip


def together(trials: Sequence[Trial]) -> Answer:
    """Whether a claim holds in all comparisons; one that fails is enough to disagree."""
    answers = {each.answer for each in trials} or {"cannot tell"}
    return min(answers, key=("disagree", "cannot tell", "agree").index)


def would_tell(needed: int | None) -> str:
    """How many texts would decide what so many could not.

    Examples:
        >>> would_tell(133), would_tell(5_000_000), would_tell(None)
        ('133 would tell', 'more than 1,000,000 would tell', 'no number would tell')
    """
    if needed is None:
        return "no number would tell"
    most = 1_000_000
    return f"more than {most:,} would tell" if needed > most else f"{needed:,} would tell"


def listed(trials: Sequence[Trial]) -> str:
    """The evidence of all."""
    return "; ".join(each.evidence for each in trials)


def joined(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    Examples:
        >>> joined(["a"]), joined(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return " and ".join([part for part in (", ".join(names[:-1]), *names[-1:]) if part])


_LIKELY = (Z95 + 0.8416212335729143) / Z95
"""A difference that is shown with a probability of 80 %, by the reach of its 95 % interval."""

_FEWEST = 4  # models from which their spread can be known


def texts_needed(difference: Interval, texts: int) -> int | None:
    """How many texts are likely to show a true difference as large as the one observed.

    Args:
        difference: The difference with its interval, which narrows with the root of their number.
        texts: How many there were.

    Returns:
        The number; None if none is enough, because the difference is 0 or unknown.

    Examples:
        >>> texts_needed(Interval(0.1, -0.1, 0.3), 100)
        818
    """
    reach = (difference.high - difference.low) / 2
    if not isfinite(reach) or difference.value == 0:
        return None
    return ceil(texts * (_LIKELY * reach / abs(difference.value)) ** 2)


def seeds_needed(differences: Array, draws: Array, models: int) -> float | None:
    """How many models are likely to show a true difference as large as the mean of all pairs.

    The variance over models is that of the jackknife, which leaves one of them out at a time; it
    narrows with their number. That over texts does not.

    Args:
        differences: The difference of each pair of models, in the order of `combinations` (P,).
        draws: Their mean in draws of the texts (R,).
        models: How many models there are.

    Returns:
        The number, infinite if none is enough on so many texts; None if it cannot be known, from
        fewer than four models: two have one pair, and three have three that share their models.
    """
    if models < _FEWEST:
        return None
    pairs = np.asarray(list(combinations(range(models), 2)))
    left = [differences[(pairs != model).all(1)].mean() for model in range(models)]
    over_models = (models - 1) * float(np.square(left - np.mean(left)).sum())  # times their number
    z = _LIKELY * Z95
    room = (float(differences.mean()) / z) ** 2 - float(np.var(draws, ddof=1))
    return max(2, ceil(over_models / room)) if room > 0 else inf


def texts_would_tell(texts: int) -> Callable[[str, Interval], str]:
    """Says how many texts would tell a difference that so many do not."""

    def would_tell(name: str, difference: Interval) -> str:
        count = texts_needed(difference, texts)
        many = "no number of" if count is None else f"about {count:,}"
        return f"{name}: {many} texts would tell"

    return would_tell


def all_positive(
    differences: Mapping[str, Interval], would_tell: Callable[[str, Interval], str]
) -> tuple[Answer, str]:
    """Whether differences are all above 0.

    Args:
        differences: Differences with their intervals, by name.
        would_tell: Says what would tell one that is neither above 0 nor below.

    Returns:
        The answer, and the differences in words, with what would tell if the answer is open.
    """
    evidence = "; ".join(f"{name} {interval}" for name, interval in differences.items())
    undecided = open_ones(differences)
    if below(differences):
        return "disagree", evidence
    if not undecided:
        return "agree", evidence
    needed = "; ".join(would_tell(name, differences[name]) for name in undecided)
    return "cannot tell", f"{evidence}. {needed}"


def below(differences: Mapping[str, Interval]) -> list[str]:
    """The names of those that are shown to be below 0."""
    return [name for name, interval in differences.items() if interval.high < 0]


def open_ones(differences: Mapping[str, Interval]) -> list[str]:
    """The names of those that are shown to be neither above 0 nor below."""
    return [name for name, own in differences.items() if not own.low > 0 and not own.high < 0]


def leagues(signed: Mapping[str, bool]) -> Iterator[tuple[str, list[str]]]:
    """Methods that are compared with each other: those with a sign, and those without one.

    Args:
        signed: Whether the scores of each method have a sign.
    """
    for sign, league in ((True, "signed"), (False, "unsigned")):
        if names := [name for name, with_sign in signed.items() if with_sign == sign]:
            yield league, names


def highest(means: Mapping[str, Interval]) -> str:
    """The name of the highest mean; NaN is the lowest."""
    return max(means, key=lambda name: np.nan_to_num(means[name].value, nan=-2.0))


def papers_methods(settings: Settings) -> tuple[list[str], str]:
    """The paper's methods that are computed as there: without a sign.

    Methods with a sign and methods without one are never compared.

    Args:
        settings: The methods of a study.

    Returns:
        Their names, and a note on the others.
    """
    computed = [name for name in paper.METHODS if name in settings.methods]
    unsigned = [name for name in computed if not settings.signed(name)]
    missing = [name for name in paper.METHODS if name not in computed]
    signed = [name for name in computed if name not in unsigned]
    notes = {
        "Not computed": missing,
        "Not compared, as it has a sign here and none in the paper": signed,
    }
    parts = [f"{why}: {', '.join(names)}." for why, names in notes.items() if names]
    return unsigned, " ".join(parts)
