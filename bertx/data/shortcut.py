"""A planted shortcut: a word that decides the label, so that the true reason is known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from bertx.data.dataset import TextDataset
from bertx.data.labels import class_names, written
from bertx.data.table import Spans
from bertx.errors import InputError
from bertx.models.encode import special_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Shortcut:
    """A word to plant into the texts of one class, in every split.

    With the defaults the word alone tells that class from the others (Bastings et al. 2022,
    "Will You Find These Shortcuts?", arXiv 2111.07367). The rationale of a text of the class that
    has got the word is the word. A text of another class that has got it (``noise``) keeps the
    rationale that it had, as texts without it do.

    Attributes:
        word: The word; best one that occurs in no text.
        label: The class that it stands for: its name or its number.
        share: Probability with which a text of that class gets the word, in 0..1.
        noise: Probability with which a text of another class does, in 0..1.
    """

    word: str
    label: str | int
    share: float = 1.0
    noise: float = 0.0

    def check(self) -> None:
        """Raise `InputError` if the word is none."""
        if len(self.word.split()) != 1 or self.word != self.word.strip():
            raise InputError(
                f"`shortcut.word`: expected one word without spaces, but got {self.word!r}."
            )


class Planter:
    """Plants a shortcut into the texts of a split.

    Each text of a known class gets the word or not, and at which end of one of its words, by draws
    that depend on the seed, the split and the number of its line alone. The word is put where it
    is not cut off with the rest of a long text.

    Args:
        shortcut: What to plant.
        labels: Names of the C classes.
        tokenizer: Says which texts are long.
        max_length: Longest text in tokens.
        split: Name of the split.
        seed: Seed of the draws.

    Raises:
        InputError: If there is no such class, or the tokenizer does not know the word.
    """

    def __init__(
        self,
        shortcut: Shortcut,
        labels: Sequence[str],
        tokenizer: "PreTrainedTokenizerBase",
        max_length: int,
        split: str,
        seed: int,
    ) -> None:
        self.shortcut = shortcut
        self.label = _class_number(shortcut.label, labels)
        self.seed = f"{seed} {split}"
        self._tokenizer = tokenizer
        taken = tokenizer.num_special_tokens_to_add() + _pieces(shortcut.word, tokenizer)
        self._room = max_length - taken
        if self._room < 0:
            raise InputError(
                f"`max_length` {max_length}: expected room for the planted word "
                f"{shortcut.word!r}. Raise it."
            )

    def plant(self, data: TextDataset, lines: Sequence[int | None]) -> TextDataset:
        """The texts with the word in some of them.

        Args:
            data: N texts.
            lines: Number of each in its source, None for one that has no word (N,).
        """
        texts, rationales = list(data.texts), list(data.rationales or [()] * len(data))
        for row, (label, line) in enumerate(zip(data.labels, lines, strict=True)):
            draw = Random(f"{self.seed} {line}")
            if line is not None and label >= 0 and draw.random() < self._chance(label):
                place = draw.choice(self._places(texts[row]))
                texts[row], span = insert(texts[row], self.shortcut.word, place)
                shifted = shift(rationales[row], place, len(self.shortcut.word) + 1)
                rationales[row] = (span,) if label == self.label else shifted
        return TextDataset(texts, data.labels, rationales)

    def occurrences(self, texts: Sequence[str]) -> list[int]:
        """The texts in which the word occurs as a word, capital letters or not."""
        word = re.compile(rf"(?<!\w){re.escape(self.shortcut.word)}(?!\w)", re.IGNORECASE)
        return [row for row, text in enumerate(texts) if word.search(text)]

    def _chance(self, label: int) -> float:
        return self.shortcut.share if label == self.label else self.shortcut.noise

    def _places(self, text: str) -> list[int]:
        """Where the words of a text begin and the last one ends, as far as the text is kept."""
        words = [match.span() for match in re.finditer(r"\S+", text)]
        places = [start for start, _ in words] + [words[-1][1]]
        room = self._room
        if len(text.encode()) <= room:  # a token stands for one byte at least
            return places
        tokens = self._tokenizer(
            text, add_special_tokens=False, truncation=True, max_length=room + 1,
            return_offsets_mapping=True,
        )["offset_mapping"]  # fmt: skip
        if len(tokens) <= room:
            return places
        if self._tokenizer.truncation_side == "left":
            return [place for place in places if place >= tokens[0][1]] or places[-1:]
        # No more tokens than there is room for are before the first one that there is none for.
        return [place for place in places if place <= tokens[room][0]] or places[:1]


def insert(text: str, word: str, place: int) -> tuple[str, tuple[int, int]]:
    """Put a word before the one that begins at ``place`` or, at the end of the last, behind it.

    Returns:
        The text, and the span of the word in it.

    Examples:
        >>> insert("a film", "new", 2)
        ('a new film', (2, 5))
        >>> insert("a film", "new", 6)
        ('a film new', (7, 10))
    """
    if text[place:].strip():
        return f"{text[:place]}{word} {text[place:]}", (place, place + len(word))
    return f"{text[:place]} {word}{text[place:]}", (place + 1, place + 1 + len(word))


def shift(spans: Spans, place: int, length: int) -> Spans:
    """The spans of a text in which ``length`` characters were inserted at ``place``.

    Examples:
        >>> shift(((0, 3), (4, 9), (10, 12)), 6, 4)
        ((0, 3), (4, 6), (10, 13), (14, 16))
    """
    shifted: list[tuple[int, int]] = []
    for start, end in spans:
        if start < place:
            shifted.append((start, min(end, place)))
        if end > place:
            shifted.append((max(start, place) + length, end + length))
    return tuple(shifted)


def _class_number(label: str | int, labels: Sequence[str]) -> int:
    number = class_names(labels).get(written(label), -1)
    if number < 0:
        raise InputError(
            f"`shortcut.label`: expected one of {', '.join(labels)}, but got {label!r}."
        )
    return number


def _pieces(word: str, tokenizer: "PreTrainedTokenizerBase") -> int:
    """Most tokens that a word can be in a text."""
    first, later = tokenizer([word, f" {word}"], add_special_tokens=False)["input_ids"]
    pieces = set(later) - {*special_ids(tokenizer), tokenizer.unk_token_id}
    if not pieces:
        raise InputError(
            f"`shortcut.word`: expected a word that the tokenizer knows, but it makes "
            f"{' '.join(tokenizer.convert_ids_to_tokens(later)) or 'nothing'} of {word!r}. "
            "Take another word."
        )
    return max(len(first), len(later))
