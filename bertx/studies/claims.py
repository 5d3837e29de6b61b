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
    """A comparison that a claim foretells.

    Attributes:
        where: On what it was made, such as the data set and the operator.
        winner: The method that is better if the claim holds.
        found: The comparison.
    """

    where: str
    winner: str
    found: Comparison

    @property
    def answer(self) -> Answer:
        """Whether it came as foretold."""
        if self.found.verdict == "too few examples":
            return "cannot tell"
        shown = self.found.verdict == "beats" and self.found.better == self.winner
        return "agree" if shown else "disagree"

    @property
    def evidence(self) -> str:
        """How far the two are apart, positive where it came as foretold."""
        found = self.found
        sign = 1 if found.better == self.winner else -1
        ends = sorted((sign * found.low, sign * found.high))
        told = (
            f"{self.where} {sign * found.difference:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}], "
            f"n = {found.count:,}"
        )
        if self.answer != "cannot tell":
            return told
        return f"{told} ({would_tell(found.needed)})"


def trial(
    where: str,
    winner: str,
    values: Mapping[str, Array],
    of: int,
    relevant: float,
    resamples: int,
    seed: int,
) -> Trial:
    """Compare two methods, the lower values being better.

    Args:
        where: On what.
        winner: The method that is better if the claim holds.
        values: Values of both (S, N).
        of: Number of comparisons that are made, by which the level is corrected.
        relevant: The smallest difference that matters.
        resamples: Draws of the bootstrap, at least.
        seed: What they follow from.
    """
    alpha = 0.05 / of
    draws = max(resamples, round(10 / alpha))  # so many that a small p-value is possible
    [found] = compare(values, False, relevant, alpha, resamples=draws, seed=seed)
    return Trial(where, winner, found)


def together(answers: Sequence[Answer]) -> Answer:
    """What follows for a claim about all of them: one that fails is enough to disagree.

    Examples:
        >>> together(["agree", "cannot tell"]), together(["agree", "disagree", "cannot tell"])
        ('cannot tell', 'disagree')
    """
    for answer in ("disagree", "cannot tell"):
        if answer in answers:
            return answer
    return "agree" if answers else "cannot tell"


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
    return "; ".join(one.evidence for one in trials)


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
    """Says of a difference that rests on so many texts how many would tell."""

    def told(name: str, difference: Interval) -> str:
        count = texts_needed(difference, texts)
        many = "no number of" if count is None else f"about {count:,}"
        return f"{name}: {many} texts would tell"

    return told


def all_positive(
    differences: Mapping[str, Interval], would_tell: Callable[[str, Interval], str]
) -> tuple[Answer, str]:
    """Whether differences are all above 0.

    Args:
        differences: Differences with their intervals, by what they are called.
        would_tell: Says of one that is not told what would tell it.

    Returns:
        The answer, and the differences in words; with what would tell, if it is not told.
    """
    said = "; ".join(f"{name} {own}" for name, own in differences.items())
    if all(own.low > 0 for own in differences.values()):
        return "agree", said
    if below(differences):
        return "disagree", said
    needed = [would_tell(name, differences[name]) for name in open_ones(differences)]
    return "cannot tell", f"{said}. {'; '.join(needed)}"


def below(differences: Mapping[str, Interval]) -> list[str]:
    """The names of those that are shown to be below 0."""
    return [name for name, own in differences.items() if own.high < 0]


def open_ones(differences: Mapping[str, Interval]) -> list[str]:
    """The names of those that are shown to be neither above 0 nor below."""
    return [name for name, own in differences.items() if not own.low > 0 and not own.high < 0]


def leagues(signed: Mapping[str, bool]) -> Iterator[tuple[str, list[str]]]:
    """Methods that are compared with each other: those with a sign, and those without one.

    Args:
        signed: Whether the scores of each method have a sign.
    """
    for sign, league in ((True, "signed"), (False, "unsigned")):
        if names := [name for name, own in signed.items() if own == sign]:
            yield league, names


def highest(means: Mapping[str, Interval]) -> str:
    """The name of the highest mean; one that is unknown is the lowest."""
    return max(means, key=lambda name: np.nan_to_num(means[name].value, nan=-2.0))


def papers_methods(settings: Settings) -> tuple[list[str], str]:
    """The paper's methods that are computed as there: without a sign.

    Methods with a sign and methods without one are never compared.

    Args:
        settings: The methods of a study.

    Returns:
        Their names, and what has to be said of the others.
    """
    missing = [name for name in paper.METHODS if name not in settings.methods]
    signed = [name for name in paper.METHODS if name in settings.methods and settings.signed(name)]
    notes = []
    if missing:
        notes.append(f"Not computed: {', '.join(missing)}.")
    if signed:
        notes.append(
            f"Not compared, as it has a sign here and none in the paper: {', '.join(signed)}."
        )
    left = {*missing, *signed}
    return [name for name in paper.METHODS if name not in left], " ".join(notes)
