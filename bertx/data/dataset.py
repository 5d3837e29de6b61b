"""A data set of texts with their labels, and what of it a tokenizer can use."""

import re
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from torch.utils.data import Dataset

from bertx.data.table import Spans
from bertx.models.encode import special_ids, special_tokens
from bertx.models.inputs import UNKNOWN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ESTIMATE_FROM = 50_000
"""Of more texts than this that may be over-long, so many are tokenised and the rest estimated."""

_AT_ONCE = 1000  # texts: a million encodings at once would take gigabytes


class TextDataset(Dataset[dict[str, Any]]):
    """N texts with their labels.

    An item is a dict of ``text``, ``label``, ``index`` and, where the data set marks them, the
    ``rationale``. Item ``~i`` (a negative number) is row i as a filler: with index -1, so that
    metrics leave it out. Distributed samplers need fillers to give every process as many rows.

    Args:
        texts: The texts, N.
        labels: Class numbers, `UNKNOWN` for none, N.
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

    def __getitem__(self, i: int) -> dict[str, Any]:
        row = i if i >= 0 else ~i
        item = {"text": self.texts[row], "label": self.labels[row], "index": max(i, -1)}
        if self.rationales is not None:
            item["rationale"] = self.rationales[row]
        return item

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> list[int]:
        """Characters of each text, N."""
        return list(map(len, self.texts))

    def select(self, rows: Sequence[int]) -> "TextDataset":
        """The data set of some rows, renumbered in their order."""
        return TextDataset(
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.rationales[row] for row in rows] if self.rationales is not None else None,
        )

    def shuffled(self, seed: int) -> "TextDataset":
        """The data set with its labels permuted at random, and so without reasons for them.

        Args:
            seed: Seed of the permutation.
        """
        labels = list(self.labels)
        Random(f"{seed} labels").shuffle(labels)
        return TextDataset(self.texts, labels)

    def labelled(self) -> list[int]:
        """The rows whose label is known."""
        return [row for row, label in enumerate(self.labels) if label != UNKNOWN]


def usable_rows(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The rows with at least one token that is not special.

    The others are empty, white space, literal special tokens, or characters that the tokenizer
    drops (zero-width ones).
    """
    literal = re.compile("|".join(map(re.escape, special_tokens(tokenizer))) or r"(?!)")
    # A letter or digit always leaves a token, so that few texts have to be tokenised.
    suspects = [
        row for row, text in enumerate(texts) if not re.search(r"\w", literal.sub("", text))
    ]
    if not suspects:
        return list(range(len(texts)))
    ids = tokenizer([texts[row] for row in suspects], add_special_tokens=False)["input_ids"]
    special = set(special_ids(tokenizer))
    useless = {row for row, tokens in zip(suspects, ids, strict=True) if special >= set(tokens)}
    return [row for row in range(len(texts)) if row not in useless]


def input_rows(
    texts: Sequence[str], worded: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """The rows that a model can read: a text without a word has special tokens at least.

    Args:
        texts: The texts, N.
        worded: Those that have a word (see `usable_rows`).
        tokenizer: The tokenizer; if it puts none around a text, there has to be one in the text.
    """
    if tokenizer.num_special_tokens_to_add():
        return list(range(len(texts)))
    others = sorted({*range(len(texts))} - {*worded})
    ids = tokenizer([texts[row] for row in others])["input_ids"] if others else []
    return sorted([*worded, *(row for row, own in zip(others, ids, strict=True) if own)])


def count_overlong(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    at_most: int | None = None,
) -> tuple[int, bool]:
    """How many texts have more than ``max_length`` tokens, special ones included.

    Args:
        texts: The texts.
        tokenizer: The tokenizer.
        max_length: The longest text that is not cut.
        at_most: Tokenise so many texts; None: `ESTIMATE_FROM`.

    Returns:
        The number, and whether it is exact or estimated from the texts that were tokenised.
    """
    at_most = ESTIMATE_FROM if at_most is None else at_most
    room = max_length - tokenizer.num_special_tokens_to_add()
    # A token stands for one byte of the text at least, so that shorter texts need no tokenising.
    candidates = [text for text in texts if len(text.encode()) > room]
    share = max(1.0, len(candidates) / at_most)
    sample = [candidates[int(i * share)] for i in range(min(len(candidates), at_most))]
    overlong = 0
    for start in range(0, len(sample), _AT_ONCE):
        encoded = tokenizer(sample[start : start + _AT_ONCE], verbose=False)
        overlong += sum(len(ids) > max_length for ids in encoded["input_ids"])
    return round(overlong * share), share == 1.0


def hold_out(labels: Sequence[int], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split rows in two, each class in the same proportion.

    Args:
        labels: Class number of each row (N,).
        fraction: Share of each class to hold out, in (0, 1); at least one row of every class that
            has two, and never the last one.
        seed: Seed of the choice.

    Returns:
        The rows that stay and the rows held out, both sorted.
    """
    random, held = Random(seed), set[int]()
    for label in sorted(set(labels)):
        rows = [row for row, other in enumerate(labels) if other == label]
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held.update(random.sample(rows, count))
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def sample_rows(rows: int, count: int | None, seed: int) -> list[int]:
    """``count`` of the numbers 0..rows-1, sorted, or all of them."""
    if count is None or count >= rows:
        return list(range(rows))
    return sorted(Random(seed).sample(range(rows), count))
