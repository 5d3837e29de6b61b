"""From the rows of a table to labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bertx.data.dataset import TextDataset, input_rows, usable_rows
from bertx.data.rationales import annotate
from bertx.data.shortcut import Planter
from bertx.data.table import Table, class_numbers, texts
from bertx.inputs import UNKNOWN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Stretch(NamedTuple):
    """Neighbouring rows of a split.

    Attributes:
        table: The rows, without those whose rationale or document cannot be used.
        data: The texts that are used, with the shortcut planted.
        rows: Their rows in the table.
        numbers: Their rows in the source, counted from 0, with those that are not used.
        wordless: Those of them without a word, which are used all the same.
        unmarked: Those with a word and an empty rationale, in a data set with rationales.
        known: How many of them had the planted word before.
    """

    table: Table
    data: TextDataset
    rows: list[int]
    numbers: list[int]
    wordless: list[int]
    unmarked: list[int]
    known: int


@dataclass(frozen=True)
class Form:
    """How the tables of a split become texts.

    Attributes:
        tokenizer: Says which texts have a word.
        text: Column of the texts.
        label: Column of the labels, if there is one.
        labels: Names of the C classes.
        planter: Plants a shortcut, if there is to be one.
    """

    tokenizer: "PreTrainedTokenizerBase"
    text: str
    label: str | None
    labels: Sequence[str]
    planter: Planter | None = None

    def use(self, table: Table, before: int = 0, wordless: bool = False) -> Stretch:
        """The texts of a table that can be used.

        Args:
            table: Neighbouring rows of the split.
            before: How many rows of the split are before them.
            wordless: Whether texts without a word are used, as far as the tokenizer makes an input
                of them. No shortcut is planted into these.

        Raises:
            InputError: If a value is not text, or a label is none.
        """
        places = _places(table, before)
        table = annotate(table, self.text)
        found = texts(table, self.text)
        numbers = [UNKNOWN] * len(table)
        if self.label is not None:
            numbers = class_numbers(table, self.label, self.labels)
        worded = usable_rows(found, self.tokenizer)
        rows = input_rows(found, worded, self.tokenizer) if wordless else worded
        data = TextDataset(found, numbers, table.rationales).select(rows)
        own = [places[table.lines[row]] for row in rows]
        without = {*rows} - {*worded}
        bare = sorted(without)
        unmarked = [row for row in worded if table.rationales and not table.rationales[row]]
        if self.planter is None:
            return Stretch(table, data, rows, own, bare, unmarked, 0)
        known = self.planter.occurrences(data.texts)
        lines = [None if row in without else table.lines[row] for row in rows]
        return Stretch(table, self.planter.plant(data, lines), rows, own, bare, unmarked, known)


def _places(table: Table, before: int) -> dict[int, int]:
    """The number in its source of the row at each line."""
    if table.left_out:  # already, by a reader of rows that take a line each
        return {line: line - 1 for line in table.lines}
    return {line: before + row for row, line in enumerate(table.lines)}
