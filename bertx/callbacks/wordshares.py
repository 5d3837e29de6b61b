"""What each word carries of the attribution of a class, added up over texts and ranks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bertx.callbacks.run import gather
from bertx.models.inputs import merge_by_unit


@dataclass(frozen=True)
class WordShare:
    """What one word carries of the attribution of one class.

    Attributes:
        label: Name of the class.
        word: The word, as `normal` writes it.
        share: Its mean share over the texts that are explained for the class, in [0, 1].
        texts: How many of them have the word,
        of: out of how many.
        elsewhere: How many texts that are explained for other classes have the word,
        others: out of how many.
        example: Number of the text of the class in which its share is largest.
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
        """The share, as far as the word is more frequent in this class than elsewhere.

        share · max(1 - b/a, 0), a and b the frequencies in the texts of the class and in all
        others: in [0, 1], the share itself for a word that no other text has, 0 for a full stop at
        the end of every text. What is in all classes alike gives none of them away, however much
        attribution it collects.
        """
        frequency = self.texts / self.of
        outside = self.elsewhere / self.others if self.others else 0.0
        return self.share * max(1 - outside / frequency, 0.0)

    def __str__(self) -> str:
        """The word, the class, its share and the example in one line."""
        return self.described(named=True)

    def described(self, named: bool) -> str:
        """The same line; if not ``named``, without the word and the text."""
        word = repr(self.word) if named else "One word (see shortcuts.csv)"
        text = f": {self.text[:80]!r}" if named else ""
        return (
            f"{word} carries {self.share:.0%} of what speaks for {self.label!r}. It is in "
            f"{self.texts} of the {self.of} texts of that class and in {self.elsewhere} of "
            f"{self.others} others; example {self.example}{text}"
        )


class Ledger:
    """Adds up the shares of words, class by class.

    Memory grows with the number of different words, not with that of texts.

    Examples:
        >>> ledger = Ledger()
        >>> ledger.add(0, 7, "so good", ["so", "good"], [0.25, 0.75])
        >>> ledger.add(1, 8, "so dull", ["so", "dull"], [0.25, 0.75])
        >>> [(row.word, row.share, row.excess) for row in ledger.shares(0, "positive")]
        [('good', 0.75, 0.75), ('so', 0.25, 0.0)]
    """

    def __init__(self) -> None:
        self._counts = Counter[int]()
        self._words: defaultdict[int, dict[str, _Sum]] = defaultdict(dict)
        self._everywhere = Counter[str]()

    def add(
        self, target: int, index: int, text: str, words: Sequence[str], shares: Sequence[float]
    ) -> None:
        """Add one text.

        Args:
            target: The class that it is explained for.
            index: Its number.
            text: The text.
            words: Its words; an empty one is nothing that could be named.
            shares: The share of each; together they make 1, or 0 if nothing speaks for the class.
        """
        sums: defaultdict[str, float] = defaultdict(float)
        for word, share in zip(words, shares, strict=True):
            sums[word] += share
        self._counts[target] += 1
        for word, share in sums.items():
            if word:
                self._put(target, word, _Sum(share, 1, share, -index, text))

    def gathered(self) -> "Ledger":
        """That of all ranks together; a collective call."""
        whole = Ledger()
        for counts, words in gather([(self._counts, self._words)]):
            whole._counts += counts
            for target, sums in words.items():
                for word, part in sums.items():
                    whole._put(target, word, part)
        return whole

    def counts(self, target: int) -> tuple[int, int]:
        """How many texts are explained for a class, and how many for all others."""
        return self._counts[target], self._counts.total() - self._counts[target]

    def shares(self, target: int, label: str) -> list[WordShare]:
        """The words of the texts of a class, those with the largest excess first.

        Args:
            target: Number of the class.
            label: Its name.
        """
        of_class, others = self.counts(target)
        listed = []
        for word, (total, texts, _, example, text) in self._words[target].items():
            elsewhere = self._everywhere[word] - texts
            seen = (texts, of_class, elsewhere, others)
            listed.append(WordShare(label, word, total / of_class, *seen, -example, text))
        return sorted(listed, key=lambda row: (-row.excess, row.word))

    def _put(self, target: int, word: str, part: "_Sum") -> None:
        before = self._words[target].get(word)
        self._words[target][word] = part if before is None else before.plus(part)
        self._everywhere[word] += part.texts


class _Sum(NamedTuple):
    """A word in texts of one class.

    Attributes:
        total: Its shares, added up.
        texts: Number of the texts.
        largest: The largest share,
        example: the number of that text, negative so that of equal ones the first counts,
        text: and the text.
    """

    total: float
    texts: int
    largest: float
    example: int
    text: str

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum(self.total + other.total, self.texts + other.texts, *max(self[2:], other[2:]))


def evidence(scores: Tensor, units: Tensor, signed: bool) -> Tensor:
    """Each unit's share of what speaks for the explained class.

    Args:
        scores: Token scores (B, T).
        units: Unit numbers (B, T), -1 for none.
        signed: Whether the scores have a sign: then what is below zero speaks against the class.

    Returns:
        max(s_u, 0) / Σ_v max(s_v, 0), without a sign |s_u| / Σ_v |s_v|: in [0, 1], adding up to 1,
        or all 0 where nothing speaks for the class; float64, on the CPU (B, U). NaN for a text
        whose scores are not finite.

    Examples:
        >>> scores, units = torch.tensor([[3.0, 1.0, -2.0]]), torch.tensor([[0, 1, 2]])
        >>> evidence(scores, units, signed=True)
        tensor([[0.7500, 0.2500, 0.0000]], dtype=torch.float64)
    """
    merged = merge_by_unit(scores.cpu().double(), units.cpu())
    amounts = merged.clamp(min=0) if signed else merged.abs()
    shares = (amounts / amounts.sum(1, keepdim=True)).nan_to_num(0.0)
    return shares.where(merged.isfinite().all(1, keepdim=True), torch.nan)
