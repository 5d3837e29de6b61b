"""Each word's share of the attribution of a class, summed over texts and ranks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bertx.callbacks.trainer import gather
from bertx.models.inputs import merge_by_unit


@dataclass(frozen=True)
class WordShare:
    """A word's share of the attribution of a class.

    Attributes:
        label: Name of the class.
        word: The word, normalized by `bertx.models.words.normal`.
        share: Mean share over the texts that are explained for the class, in [0, 1].
        texts: Number of these texts that contain the word.
        of: Number of these texts.
        elsewhere: Number of texts explained for other classes that contain the word.
        others: Number of texts explained for other classes.
        example: Index of the text of the class in which the share is largest.
        text: That text.
    """

    label: str
    word: str
    share: float
    texts: int
    of: int
    elsewhere: int
    others: int
    example: int
    text: str

    @property
    def excess(self) -> float:
        """The share, weighted by how much more frequent the word is in this class than elsewhere.

        share · max(1 - b/a, 0), with a and b the frequencies of the word in the texts of the class
        and in all others: in [0, 1]. It is the share itself for a word that no other text contains,
        and 0 for a full stop at the end of every text. A word that is equally frequent in all
        classes gives none of them away, whatever its attribution.
        """
        frequency = self.texts / self.of
        outside = self.elsewhere / self.others if self.others else 0.0
        return self.share * max(1 - outside / frequency, 0.0)

    def describe(self, show_text: bool) -> str:
        """Describe the share in one line, which quotes the word and the text if ``show_text``."""
        word = repr(self.word) if show_text else "One word (see shortcuts.csv)"
        text = f": {self.text[:80]!r}" if show_text else ""
        return (
            f"{word} carries {self.share:.0%} of the evidence for {self.label!r}. It is in "
            f"{self.texts} of the {self.of} texts of that class and in {self.elsewhere} of "
            f"{self.others} others; example {self.example}{text}"
        )


class WordShareSums:
    """Sums of the shares of words by class.

    Memory grows with the number of different words, not of texts.

    Examples:
        >>> sums = WordShareSums()
        >>> sums.add(0, 7, "so good", ["so", "good"], [0.25, 0.75])
        >>> sums.add(1, 8, "so dull", ["so", "dull"], [0.25, 0.75])
        >>> [(row.word, row.share, row.excess) for row in sums.shares(0, "positive")]
        [('good', 0.75, 0.75), ('so', 0.25, 0.0)]
    """

    def __init__(self) -> None:
        self._counts = Counter[int]()
        self._words: defaultdict[int, dict[str, _Sum]] = defaultdict(dict)
        self._texts_with = Counter[str]()

    def add(
        self, target: int, index: int, text: str, words: Sequence[str], shares: Sequence[float]
    ) -> None:
        """Add one text.

        Args:
            target: The explained class.
            index: Index of the text.
            text: The text.
            words: Its normalized words; empty ones, such as punctuation, are ignored.
            shares: The share of each word; they sum to 1, or 0 without evidence for the class.
        """
        sums: defaultdict[str, float] = defaultdict(float)
        for word, share in zip(words, shares, strict=True):
            sums[word] += share
        self._counts[target] += 1
        for word, share in sums.items():
            if word:
                self._add(target, word, _Sum(share, 1, share, index, text))

    def gathered(self) -> "WordShareSums":
        """Return the sums over all ranks; a collective call."""
        total = WordShareSums()
        for counts, words in gather([(self._counts, self._words)]):
            total._counts += counts
            for target, sums in words.items():
                for word, part in sums.items():
                    total._add(target, word, part)
        return total

    def counts(self, target: int) -> tuple[int, int]:
        """Return how many texts are explained for a class, and how many for all others."""
        return self._counts[target], self._counts.total() - self._counts[target]

    def shares(self, target: int, label: str) -> list[WordShare]:
        """Return the words of the texts of a class, the largest excess first.

        Args:
            target: Number of the class.
            label: Its name.
        """
        of_class, others = self.counts(target)
        shares = [
            WordShare(
                label=label,
                word=word,
                share=part.total / of_class,
                texts=part.texts,
                of=of_class,
                elsewhere=self._texts_with[word] - part.texts,
                others=others,
                example=part.example,
                text=part.text,
            )
            for word, part in self._words[target].items()
        ]
        return sorted(shares, key=lambda row: (-row.excess, row.word))

    def _add(self, target: int, word: str, part: "_Sum") -> None:
        words = self._words[target]
        words[word] = words[word].plus(part) if word in words else part
        self._texts_with[word] += part.texts


class _Sum(NamedTuple):
    """The shares of a word in texts of one class.

    Attributes:
        total: Sum of the shares.
        texts: Number of texts.
        largest: Largest share.
        example: Index of the text with the largest share; the smallest index on ties.
        text: That text.
    """

    total: float
    texts: int
    largest: float
    example: int
    text: str

    def plus(self, other: "_Sum") -> "_Sum":
        best = max(self, other, key=lambda part: (part.largest, -part.example))
        return best._replace(total=self.total + other.total, texts=self.texts + other.texts)


def evidence(scores: Tensor, units: Tensor, signed: bool) -> Tensor:
    """Return each unit's share of the evidence for the explained class.

    Args:
        scores: Token scores (B, T).
        units: Unit numbers (B, T), -1 for tokens of no unit.
        signed: Whether the scores are signed: negative ones are evidence against the class.

    Returns:
        max(s_u, 0) / Σ_v max(s_v, 0) if signed, else |s_u| / Σ_v |s_v|: float64 on the CPU
        (B, U), in [0, 1]. They sum to 1, or are all 0 without evidence for the class; NaN for a
        text whose scores are not finite.

    Examples:
        >>> scores, units = torch.tensor([[3.0, 1.0, -2.0]]), torch.tensor([[0, 1, 2]])
        >>> evidence(scores, units, signed=True)
        tensor([[0.7500, 0.2500, 0.0000]], dtype=torch.float64)
    """
    merged = merge_by_unit(scores.cpu().double(), units.cpu())
    amounts = merged.clamp(min=0) if signed else merged.abs()
    shares = (amounts / amounts.sum(1, keepdim=True)).nan_to_num(0.0)
    return shares.where(merged.isfinite().all(1, keepdim=True), torch.nan)
