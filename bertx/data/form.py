"""From the rows of a table to labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bertx.data.dataset import TextDataset, usable_rows
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
        data: The usable texts, with the shortcut planted.
        rows: Their rows in the table.
        numbers: Their rows in the source, counted from 0, with those that cannot be used.
        unmarked: Those of them with an empty rationale, in a data set with rationales.
        known: How many of them had the planted word before.
    """

    table: Table
    data: TextDataset
    rows: list[int]
    numbers: list[int]
    unmarked: list[int]
    known: int


@dataclass(frozen=True)
class Form:
    """How the tables of a split become texts.

    Attributes:
        tokenizer: Says which texts are usable.
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

    def use(self, table: Table, before: int = 0) -> Stretch:
        """The usable texts of a table.

        Args:
            table: Neighbouring rows of the split.
            before: How many rows of the split are before them.

        Raises:
            InputError: If a value is not text, or a label is none.
        """
        places = _places(table, before)
        table = annotate(table, self.text)
        found = texts(table, self.text)
        numbers = [UNKNOWN] * len(table)
        if self.label is not None:
            numbers = class_numbers(table, self.label, self.labels)
        rows = usable_rows(found, self.tokenizer)
        data = TextDataset(found, numbers, table.rationales).select(rows)
        own = [places[table.lines[row]] for row in rows]
        unmarked = [row for row in rows if table.rationales and not table.rationales[row]]
        if self.planter is None:
            return Stretch(table, data, rows, own, unmarked, 0)
        known = self.planter.occurrences(data.texts)
        data = self.planter.plant(data, [table.lines[row] for row in rows])
        return Stretch(table, data, rows, own, unmarked, known)


def _places(table: Table, before: int) -> dict[int, int]:
    """The number in its source of the row at each line."""
    if table.left_out:  # already, by a reader of rows that take a line each
        return {line: line - 1 for line in table.lines}
    return {line: before + row for row, line in enumerate(table.lines)}
