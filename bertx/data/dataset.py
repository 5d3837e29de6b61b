"""Texts with their labels, and seeded samples of their rows."""

from collections.abc import Sequence
from random import Random
from typing import Any

from torch.utils.data import Dataset

from bertx.data.table import Spans
from bertx.models.inputs import UNKNOWN


class TextDataset(Dataset[dict[str, Any]]):
    """N texts with their labels.

    An item is a dict of ``text``, ``label``, ``index`` and, if there are rationales, ``rationale``.
    Item ``~i`` (a negative number) is row i as a filler: its index is -1, so that metrics ignore
    it. Distributed samplers need fillers to give every process the same number of rows. Item
    (i, epoch) has its ``epoch`` too, so that random choices can depend on it in any process.

    Args:
        texts: The texts, N.
        labels: Class numbers, `UNKNOWN` if there is none, N.
        rationales: Character spans of the words that decide each label, N.

    Examples:
        >>> data = TextDataset(["fine", "dull"], [1, 0])
        >>> data[1]
        {'text': 'dull', 'label': 0, 'index': 1}
        >>> data[~1]
        {'text': 'dull', 'label': 0, 'index': -1}
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        rationales: Sequence[Spans] | None = None,
    ) -> None:
        if len(labels) != len(texts) or (rationales and len(rationales) != len(texts)):
            raise ValueError(f"expected a label for each of {len(texts)} texts, got {len(labels)}")
        self.texts = texts
        self.labels = labels
        self.rationales = rationales

    def __getitem__(self, place: int | tuple[int, int]) -> dict[str, Any]:
        if isinstance(place, tuple):
            return {**self[place[0]], "epoch": place[1]}
        row = place if place >= 0 else ~place
        item = {"text": self.texts[row], "label": self.labels[row], "index": max(place, -1)}
        if self.rationales is not None:
            item["rationale"] = self.rationales[row]
        return item

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> "TextDataset":
        """Return the data set of some rows, renumbered in their order."""
        return TextDataset(
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.rationales[row] for row in rows] if self.rationales is not None else None,
        )

    def shuffled(self, seed: int) -> "TextDataset":
        """Return the data set with its labels permuted at random and without rationales."""
        labels = list(self.labels)
        Random(f"{seed} labels").shuffle(labels)
        return TextDataset(self.texts, labels)

    def labelled(self) -> list[int]:
        """Return the rows that have a label."""
        return [row for row, label in enumerate(self.labels) if label != UNKNOWN]


def hold_out(labels: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split rows in two, each class in the same proportion.

    Args:
        labels: Class number of each row (N,).
        fraction: Share of each class to hold out, in (0, 1): at least one row of a class that has
            two or more, but never all of them.
        seed: Seed of the choice.

    Returns:
        The rows that are kept and the rows that are held out, both sorted.
    """
    random, held = Random(seed), set[int]()
    for label in sorted(set(labels)):
        rows = [row for row, other in enumerate(labels) if other == label]
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held.update(random.sample(rows, count))
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def sample_rows(rows: int, count: int | None, seed: int) -> list[int]:
    """Return ``count`` of the numbers 0..rows-1, sorted; all of them for None."""
    if count is None or count >= rows:
        return list(range(rows))
    return sorted(Random(seed).sample(range(rows), count))
