"""Sequential evaluation: the comparisons that are still open after each portion of texts."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bertx.errors import InputError
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue
from bertx.statistics import MINIMUM, Comparison
from bertx.statistics.sequential import chance_of_verdict

T = TypeVar("T")

Selection = Mapping[tuple[str, str], Collection[str]]
"""The methods to evaluate, by metric and operator."""

HOPELESS = 0.2
"""The chance of a verdict by the last text below which a pair is given up."""


def portions(texts: Sequence[T], first: int = MINIMUM) -> Iterator[Sequence[T]]:
    """Yield parts of the texts, each a quarter of all texts before it, but at least `MINIMUM`.

    Args:
        texts: The texts.
        first: The size of the first part.
    """
    start, size = 0, max(first, MINIMUM)
    while start < len(texts):
        yield texts[start : start + size]
        start, size = start + size, max(MINIMUM, (start + size) // 4)


@dataclass(frozen=True)
class Rounds:
    """Portions of texts in random order, and the methods to evaluate on the next portion.

    Attributes:
        confidence: The probability that all verdicts of a table are right.
        relevant: The smallest difference that matters.
        first: Size of the first portion, on which all methods are evaluated.

    Raises:
        InputError: If ``confidence`` is not between 0 and 1, or ``relevant`` is not positive.
    """

    confidence: float
    relevant: float = 0.01
    first: int = MINIMUM

    def __post_init__(self) -> None:
        """Check the confidence and the difference."""
        if not 0 < self.confidence < 1:
            raise InputError(
                f"confidence must be between 0 and 1, such as 0.95, got {self.confidence}"
            )
        if not self.relevant > 0:
            raise InputError(f"relevant must be above 0, got {self.relevant}")

    def shuffled(self, texts: Sequence[T]) -> list[T]:
        """Return the texts in random order, the same each time."""
        return random.Random(0).sample(texts, len(texts))

    def portions(self, texts: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield the texts of each portion."""
        return portions(texts, self.first)

    def undecided(self, values: Sequence[ExampleValue], count: int, total: int) -> Selection:
        """Return the methods of pairs that are undecided, but likely enough to be decided.

        Args:
            values: The values so far, in the order of the shuffled texts.
            count: Number of texts so far.
            total: Number of all texts.
        """
        methods: dict[tuple[str, str], set[str]] = {}
        boards = leaderboards({"": values}, relevant=self.relevant, confidence=self.confidence)
        for board in boards:
            undecided = methods[board.metric, board.operator] = set()
            for league in board.leagues.values():
                pairs = len(league.verdicts)
                for pair in league.verdicts:
                    if (
                        pair.verdict == "too few examples"
                        and self._chance(pair, pairs, count, total) > HOPELESS
                    ):
                        undecided |= {pair.better, pair.worse}
        return methods

    def _chance(self, pair: Comparison, pairs: int, count: int, total: int) -> float:
        """The probability of a verdict by the last text."""
        last = pair.count * total // count
        if last < MINIMUM:
            return 0.0
        half, level = pair.high - pair.difference, (1 - self.confidence) / pairs
        return chance_of_verdict(pair.difference, half, pair.count, last, self.relevant, level)
