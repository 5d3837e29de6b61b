"""Whether a claim holds: what comparisons of methods come to, together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bertx.statistics import Comparison, compare
from bertx.statistics.spread import Array
from bertx.studies.findings import Answer


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
