"""What is said, once and in one line each, about texts that are not used as they are."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only

from bertx.data.dataset import count_overlong
from bertx.data.form import Stretch
from bertx.data.labels import spelt_alike
from bertx.data.table import Table, listed
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 5
"""Of the rows whose rationale or document cannot be used, so many are named."""

logger = logging.getLogger("bertx.data")


@dataclass
class Tally:
    """The rows of a split, counted by what keeps them from being used as they are.

    Attributes:
        source: Where the rows are from.
        total: Rows that were read, without those left out.
        usable: Rows whose text is used.
        skipped: Where the first of the others is.
        wordless: Texts without a word that are used.
        blank: Where the first of them is.
        missing: Rows without any text that keep their place.
        gap: Where the first of them is.
        left_out: Rows with a rationale or a document that cannot be used.
        reasons: What is wrong with the first of them.
        unmarked: Texts with an empty rationale, in a data set with rationales.
        bare: Where the first of them is.
        known: Texts that had the planted word before.
    """

    source: str = ""
    total: int = 0
    usable: int = 0
    skipped: str | None = None
    wordless: int = 0
    blank: str | None = None
    missing: int = 0
    gap: str | None = None
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)
    unmarked: int = 0
    bare: str | None = None
    known: int = 0

    def add(self, stretch: Stretch) -> None:
        """Count some rows more."""
        table = stretch.table
        self.source, self.total = table.source, self.total + len(table)
        self.usable += len(stretch.rows)
        self.skipped = self.skipped or first_skipped(table, stretch.rows)
        self.wordless += len(stretch.wordless)
        if stretch.wordless:
            self.blank = self.blank or table.where(stretch.wordless[0])
        self.missing += len(stretch.missing)
        if stretch.missing:
            self.gap = self.gap or table.where(stretch.rows[min(stretch.missing)])
        self.left_out += len(table.left_out)
        self.reasons += table.left_out[: SHOWN - len(self.reasons)]
        self.unmarked += len(stretch.unmarked)
        if stretch.unmarked:
            self.bare = self.bare or table.where(stretch.unmarked[0])
        self.known += stretch.known

    def report(self, split: str) -> None:
        """Say what was found.

        Raises:
            InputError: If no row can be used, or none has a word.
        """
        report_left_out(split, self.left_out, self.total + self.left_out, self.reasons)
        self._report_wordless(split)
        if self.unmarked:
            count = _of(self.unmarked, self.usable)
            _warn(f"{split}: {count} are without a rationale; the first is {self.bare}")
        if self.known:
            count = _of(self.known, self.usable)
            _warn(f"{split}: {count} had the planted word already; take one that is in none")

    def _report_wordless(self, split: str) -> None:
        what = "without a word (empty, white space, special tokens or invisible characters only)"
        skipped = self.total - self.usable
        if skipped + self.wordless + self.missing == self.total:
            raise InputError(
                f"{self.source}: expected texts, but all {self.total:,} are {what}. Check the "
                "file, or name the column with `text_column`."
            )
        if skipped:
            count = _of(skipped, self.total)
            _warn(f"{split}: {count} are {what} and are skipped; the first is {self.skipped}")
        if self.wordless:
            count = _of(self.wordless, self.total)
            then = "they are classified, but have no words to explain"
            _warn(f"{split}: {count} are {what}; {then}; the first is {self.blank}")
        if self.missing:
            count = _of(self.missing, self.total)
            _warn(f"{split}: {count} are missing and have no prediction; the first is {self.gap}")


def report_left_out(split: str, count: int, total: int, reasons: Sequence[str]) -> None:
    """Report rows whose rationale or document cannot be used.

    Args:
        split: The split.
        count: How many of its rows are left out,
        total: of so many.
        reasons: What is wrong with the first of them, and where they are.

    Raises:
        InputError: If no row is left.
    """
    if count and count == total:
        raise InputError(f"{split}: none of {total:,} texts can be used. {reasons[0]}")
    for reason in reasons:
        _warn(reason)
    if count:
        texts = _of(count, total)
        _warn(f"{split}: {texts} cannot be used and are left out; the first are named above")


def first_skipped(table: Table, rows: Sequence[int]) -> str | None:
    """Where the first row of ``table`` is that is not among ``rows`` (sorted), if there is one."""
    row = next((i for i, row in enumerate(rows) if i != row), len(rows))
    return table.where(row) if row < len(table) else None


def report_unlabelled(split: str, count: int, total: int) -> None:
    """Report rows without a label."""
    if count:
        _warn(f"{split}: {_of(count, total)} are without a label and are left out")


def report_alike(source: str, names: Iterable[str]) -> None:
    """Report classes whose names a person would take for one."""
    for group in spelt_alike(names):
        _warn(
            f"{source}: {listed(group)} are different classes, though they look like one. If they "
            "are one, write them in the same way"
        )


def report_shuffled(count: int) -> None:
    """Report that the training texts have labels of others."""
    _warn(
        f"train: the labels of {count:,} texts are shuffled: nothing but these can be learned, by "
        "heart"
    )


def report_queries(split: str, count: int) -> None:
    """Report questions that a data set asks about its texts, if there are several."""
    if count > 1:
        _warn(f"{split}: the texts have {count:,} different queries, which are no part of them")


@rank_zero_only
def report_overlong(
    split: str, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> None:
    """Report texts that are cut to ``max_length`` tokens."""
    count, exact = count_overlong(texts, tokenizer, max_length)
    say_overlong(split, count, exact, len(texts), max_length)


def say_overlong(split: str, count: int, exact: bool, total: int, max_length: int) -> None:
    """Report that ``count`` of ``total`` texts are cut, exactly or by an estimate."""
    if count:
        number = _of(count, total) if exact else f"about {_of(count, total)}"
        _warn(f"{split}: {number} are longer than {max_length} tokens and are cut")


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} texts"


@rank_zero_only
def _warn(line: str) -> None:
    logger.warning(line)
