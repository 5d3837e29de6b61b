"""Asking no more texts than verdicts take: which comparisons are open after each portion."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from bertx.errors import InputError
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue
from bertx.statistics import MINIMUM, Comparison
from bertx.statistics.sequential import chance_of_verdict

T = TypeVar("T")

Asked = Mapping[tuple[str, str], Collection[str]]
"""The methods that are asked, by metric and operator."""

HOPELESS = 0.2
"""The chance of a verdict by the last text below which a pair is not asked any further."""


def portions(texts: Sequence[T], first: int = MINIMUM) -> Iterator[Sequence[T]]:
    """Parts of the texts, each a quarter of those before it, and never less than `MINIMUM`.

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
    """Portions of texts in random order, and what is left to ask after each of them.

    Attributes:
        confidence: The chance that all verdicts of a table are right.
        relevant: The smallest difference that matters.
        first: Texts of the first portion, of which everything is asked.

    Raises:
        InputError: If the confidence or the difference is none.
    """

    confidence: float
    relevant: float = 0.01
    first: int = MINIMUM

    def __post_init__(self) -> None:
        """Refuse what is no confidence and no difference."""
        if not 0 < self.confidence < 1:
            raise InputError(
                f"confidence must be between 0 and 1, such as 0.95, got {self.confidence}"
            )
        if not self.relevant > 0:
            raise InputError(f"relevant must be above 0, got {self.relevant}")

    def drawn(self, texts: Sequence[T]) -> list[T]:
        """The texts in random order, the same each time."""
        return random.Random(0).sample(texts, len(texts))

    def portions(self, texts: Sequence[T]) -> Iterator[Sequence[T]]:
        """The texts of each portion."""
        return portions(texts, self.first)

    def open(self, values: Sequence[ExampleValue], asked: int, of: int) -> Asked:
        """Whom to ask on: the methods of pairs that are open, and likely enough to be decided.

        Args:
            values: What has been measured, in the order in which the texts were drawn.
            asked: How many texts that were.
            of: The number of all texts.
        """
        boards = leaderboards({"": values}, relevant=self.relevant, confidence=self.confidence)
        return {
            (board.metric, board.operator): set(
                chain.from_iterable(
                    (pair.better, pair.worse)
                    for league in board.leagues.values()
                    for pair in league.verdicts
                    if pair.verdict == "too few examples"
                    if self._chance(pair, len(league.verdicts), asked, of) > HOPELESS
                )
            )
            for board in boards
        }

    def _chance(self, pair: Comparison, pairs: int, asked: int, of: int) -> float:
        """How likely it is to be decided by the last text."""
        last = pair.count * of // asked
        if last < MINIMUM:
            return 0.0
        half, level = pair.high - pair.difference, (1 - self.confidence) / pairs
        return chance_of_verdict(pair.difference, half, pair.count, last, self.relevant, level)
