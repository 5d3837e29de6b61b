"""From the rows of a table to the examples that a tokenizer can use."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bertx.data.columns import text_values
from bertx.data.dataset import TextDataset
from bertx.data.labels import class_numbers
from bertx.data.rationales import annotate
from bertx.data.reports import Tally
from bertx.data.shortcut import Planter
from bertx.data.table import Table, is_missing
from bertx.models.encode import UnitTokenizer, special_tokens
from bertx.models.inputs import UNKNOWN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Examples(NamedTuple):
    """The examples of consecutive rows of a split.

    Attributes:
        data: N texts with their labels, the shortcut planted.
        numbers: Number of each row in its split, counted from 0, unused rows included (N,).
        errors: The error of each text that is missing, by index 0..N-1.
    """

    data: TextDataset
    numbers: list[int]
    errors: dict[int, str]


@dataclass(frozen=True)
class ExampleReader:
    """Reads the examples of the tables of a split.

    Attributes:
        tokenizer: Decides which texts have a word.
        text: Column of the texts.
        label: Column of the labels, None if there is none.
        labels: Names of the C classes.
        planter: Plants a shortcut, if there is one.
        unknown: Whether -1 marks an unknown label, unless it is a class.
    """

    tokenizer: "PreTrainedTokenizerBase"
    text: str
    label: str | None
    labels: Sequence[str]
    planter: Planter | None = None
    unknown: bool = False

    def read(self, table: Table, tally: Tally, wordless: bool = False) -> Examples:
        """Read the usable examples of a table.

        Args:
            table: Consecutive rows of the split.
            tally: Counts the rows that are not used, or not as they are.
            wordless: Whether texts without a word are used, if the tokenizer gives them at least
                one token. Missing texts are then read as empty ones. No shortcut is planted into
                either.

        Raises:
            InputError: If a value is not text, or a label is not one of the classes.
        """
        table = annotate(table, self.text)
        values = text_values(table, self.text)
        labels = [UNKNOWN] * len(table)
        if self.label is not None:
            labels = class_numbers(table, self.label, self.labels, self.unknown)
        worded = usable_rows(values, self.tokenizer)
        rows = input_rows(values, worded, self.tokenizer) if wordless else worded
        blank, column = {*rows} - {*worded}, table.columns[self.text]
        gaps = {row for row in blank if is_missing(column[row])}
        tally.add(table, len(rows))
        tally.count("skipped", table, {*range(len(table))} - {*rows})
        tally.count("wordless", table, blank - gaps)
        tally.count("missing", table, gaps)
        if table.rationales:
            tally.count("unmarked", table, [row for row in worded if not table.rationales[row]])
        data = TextDataset(values, labels, table.rationales).select(rows)
        if self.planter:
            tally.count("planted", table, [rows[i] for i in self.planter.occurrences(data.texts)])
            lines = [None if row in blank else table.lines[row] for row in rows]
            data = self.planter.plant(data, lines)
        why = f"expected text in column {self.text!r}, but it is missing."
        errors = {i: f"{table.where(row)}: {why}" for i, row in enumerate(rows) if row in gaps}
        return Examples(data, [table.numbers[row] for row in rows], errors)


def usable_rows(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the rows whose text has at least one token that is not special.

    The other texts are empty, white space, literal special tokens, or characters that the tokenizer
    drops, such as zero-width ones.
    """
    literal = re.compile("|".join(map(re.escape, special_tokens(tokenizer))) or r"(?!)")
    # A letter or digit always leaves a token, so few texts have to be tokenized.
    suspects = [
        row for row, text in enumerate(texts) if not re.search(r"\w", literal.sub("", text))
    ]
    if not suspects:
        return list(range(len(texts)))
    readings = UnitTokenizer(tokenizer)([texts[row] for row in suspects])
    useless = {row for row, reading in zip(suspects, readings, strict=True) if not reading.spans}
    return [row for row in range(len(texts)) if row not in useless]


def input_rows(
    texts: Sequence[str], worded: Sequence[int], tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """Return the rows with at least one token, special or not.

    Args:
        texts: The texts, N.
        worded: The rows that have a word (see `usable_rows`).
        tokenizer: The tokenizer. If it adds no special tokens, the text itself needs one.
    """
    if tokenizer.num_special_tokens_to_add():
        return list(range(len(texts)))
    others = sorted({*range(len(texts))} - {*worded})
    ids = tokenizer([texts[row] for row in others])["input_ids"] if others else []
    return sorted([*worded, *(row for row, tokens in zip(others, ids, strict=True) if tokens)])
