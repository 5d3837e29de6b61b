"""From the rows of a table to labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bertx.data.columns import missing, texts
from bertx.data.dataset import TextDataset, input_rows, usable_rows
from bertx.data.labels import class_numbers
from bertx.data.rationales import annotate
from bertx.data.shortcut import Planter
from bertx.data.table import Table
from bertx.models.inputs import UNKNOWN

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
        missing: For each row of the data that has no text at all, what is wrong with it.
        unmarked: Those with a word and an empty rationale, in a data set with rationales.
        known: How many of them had the planted word before.
    """

    table: Table
    data: TextDataset
    rows: list[int]
    numbers: list[int]
    wordless: list[int]
    missing: dict[int, str]
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
        unknown: Whether -1 marks an unknown label, unless it is a class.
    """

    tokenizer: "PreTrainedTokenizerBase"
    text: str
    label: str | None
    labels: Sequence[str]
    planter: Planter | None = None
    unknown: bool = False

    def use(self, table: Table, before: int = 0, wordless: bool = False) -> Stretch:
        """The texts of a table that can be used.

        Args:
            table: Neighbouring rows of the split.
            before: How many rows of the split are before them.
            wordless: Whether texts without a word are used, as far as the tokenizer makes an input
                of them, and missing ones like empty ones. No shortcut is planted into these.

        Raises:
            InputError: If a value is not text, or a label is none.
        """
        places, gaps = _places(table, before), self._gaps(table)
        table = annotate(table, self.text)
        found = texts(table, self.text)
        numbers = [UNKNOWN] * len(table)
        if self.label is not None:
            numbers = class_numbers(table, self.label, self.labels, self.unknown)
        worded = usable_rows(found, self.tokenizer)
        rows = input_rows(found, worded, self.tokenizer) if wordless else worded
        data = TextDataset(found, numbers, table.rationales).select(rows)
        own = [places[table.lines[row]] for row in rows]
        without = {*rows} - {*worded}
        lost = {
            place: f"{table.where(row)}: expected text in column {self.text!r}, but it is missing."
            for place, row in enumerate(rows)
            if table.lines[row] in gaps
        }
        bare = sorted(without - {rows[place] for place in lost})
        unmarked = [row for row in worded if table.rationales and not table.rationales[row]]
        if self.planter is None:
            return Stretch(table, data, rows, own, bare, lost, unmarked, 0)
        known = self.planter.occurrences(data.texts)
        lines = [None if row in without else table.lines[row] for row in rows]
        data = self.planter.plant(data, lines)
        return Stretch(table, data, rows, own, bare, lost, unmarked, known)

    def _gaps(self, table: Table) -> set[int]:
        """The lines without a text."""
        values = table.columns[self.text][:]
        return {line for line, value in zip(table.lines, values, strict=True) if missing(value)}


def _places(table: Table, before: int) -> dict[int, int]:
    """The number in its source of the row at each line."""
    if table.left_out:  # already, by a reader of rows that take a line each
        return {line: line - 1 for line in table.lines}
    return {line: before + row for row, line in enumerate(table.lines)}
