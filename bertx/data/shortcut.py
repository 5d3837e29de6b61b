"""A planted shortcut: a word that decides the label, which gives a known rationale."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from bertx.data.dataset import TextDataset
from bertx.data.labels import label_text, numbers_by_name
from bertx.data.table import Spans
from bertx.errors import InputError
from bertx.models.encode import special_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Shortcut:
    """A word to plant into the texts of one class, in every split.

    With the defaults, the word alone tells that class from the others (Bastings et al. 2022,
    "Will You Find These Shortcuts?", arXiv 2111.07367). If a text of the class gets the word, the
    word becomes its rationale. Texts of other classes keep their rationale, also if they get the
    word (``noise``), as do texts without it.

    Attributes:
        word: The word, preferably one that occurs in no text.
        label: Name or number of the class that the word stands for.
        share: Probability that a text of that class gets the word, in 0..1.
        noise: Probability that a text of another class gets it, in 0..1.
    """

    word: str
    label: str | int
    share: float = 1.0
    noise: float = 0.0

    def check(self) -> None:
        """Raise `InputError` unless ``word`` is a single word."""
        if len(self.word.split()) != 1 or self.word != self.word.strip():
            raise InputError(
                f"`shortcut.word`: expected one word without spaces, but got {self.word!r}."
            )


class Planter:
    """Plants a shortcut into the texts of a split.

    Whether a text of a known class gets the word, and before or after which of its words, is drawn
    from the seed, the split and the text's line number alone. The word is put where truncation of a
    long text does not remove it.

    Args:
        shortcut: The word to plant, and the class that it stands for.
        labels: Names of the C classes.
        tokenizer: The tokenizer, which decides how long a text is.
        max_length: Maximum number of tokens of a text.
        split: Name of the split.
        seed: Seed of the draws.

    Raises:
        InputError: If there is no such class, the tokenizer does not know the word, or
            ``max_length`` leaves no room for it.
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
        self.label = numbers_by_name(labels).get(label_text(shortcut.label), -1)
        if self.label < 0:
            raise InputError(
                f"`shortcut.label`: expected one of {', '.join(labels)}, but got "
                f"{shortcut.label!r}."
            )
        self.seed = f"{seed} {split}"
        self._tokenizer = tokenizer
        special = tokenizer.num_special_tokens_to_add()
        self._room = max_length - special - _token_count(shortcut.word, tokenizer)
        if self._room < 0:
            raise InputError(
                f"`max_length` {max_length}: expected room for the planted word "
                f"{shortcut.word!r}. Raise it."
            )

    def plant(self, data: TextDataset, lines: Sequence[int | None]) -> TextDataset:
        """Return the texts with the word planted into some of them.

        Args:
            data: N texts.
            lines: Line number of each text in its source, None if it has no word (N,).
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
        """Return the texts that contain the word as a whole word, in any case."""
        word = re.compile(rf"(?<!\w){re.escape(self.shortcut.word)}(?!\w)", re.IGNORECASE)
        return [row for row, text in enumerate(texts) if word.search(text)]

    def _chance(self, label: int) -> float:
        return self.shortcut.share if label == self.label else self.shortcut.noise

    def _places(self, text: str) -> list[int]:
        """Return where the words of a text begin and the last one ends, if it is not cut there."""
        words = [match.span() for match in re.finditer(r"\S+", text)]
        places = [start for start, _ in words] + [words[-1][1]]
        room = self._room
        if len(text.encode()) <= room:  # a token stands for at least one byte
            return places
        tokens = self._tokenizer(
            text, add_special_tokens=False, truncation=True, max_length=room + 1,
            return_offsets_mapping=True,
        )["offset_mapping"]  # fmt: skip
        if len(tokens) <= room:
            return places
        if self._tokenizer.truncation_side == "left":
            return [place for place in places if place >= tokens[0][1]] or places[-1:]
        # At most ``room`` tokens precede the first one that does not fit.
        return [place for place in places if place <= tokens[room][0]] or places[:1]


def insert(text: str, word: str, place: int) -> tuple[str, tuple[int, int]]:
    """Insert a word before the word that begins at ``place``, or after the last word.

    Returns:
        The text, and the span of the inserted word.

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
    """Return the spans of a text after ``length`` characters were inserted at ``place``.

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


def _token_count(word: str, tokenizer: "PreTrainedTokenizerBase") -> int:
    """Return the most tokens that a word has, with or without a space before it."""
    first, later = tokenizer([word, f" {word}"], add_special_tokens=False)["input_ids"]
    if set(later) <= {*special_ids(tokenizer), tokenizer.unk_token_id}:
        tokens = " ".join(tokenizer.convert_ids_to_tokens(later)) or "nothing"
        raise InputError(
            f"`shortcut.word`: expected a word that the tokenizer knows, but {word!r} becomes "
            f"{tokens}. Choose another word."
        )
    return max(len(first), len(later))
