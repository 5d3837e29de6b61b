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
        unmarked: Those of them with an empty rationale, in a data set with rationales.
        known: How many of them had the planted word before.
    """

    table: Table
    data: TextDataset
    rows: list[int]
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

    def use(self, table: Table) -> Stretch:
        """The usable texts of a table.

        Raises:
            InputError: If a value is not text, or a label is none.
        """
        table = annotate(table, self.text)
        found = texts(table, self.text)
        numbers = [UNKNOWN] * len(table)
        if self.label is not None:
            numbers = class_numbers(table, self.label, self.labels)
        rows = usable_rows(found, self.tokenizer)
        data = TextDataset(found, numbers, table.rationales).select(rows)
        unmarked = [row for row in rows if table.rationales and not table.rationales[row]]
        if self.planter is None:
            return Stretch(table, data, rows, unmarked, 0)
        known = self.planter.occurrences(data.texts)
        data = self.planter.plant(data, [table.lines[row] for row in rows])
        return Stretch(table, data, rows, unmarked, known)
