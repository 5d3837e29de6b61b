"""What is reported, once and in one line each, of texts that are not used as they are."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only

from bertx.data.table import Table
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOWN = 5
"""Of the rows whose rationale or document cannot be used, so many are named."""

ESTIMATE_FROM = 50_000
"""Of more texts than this that may be over-long, so many are tokenized and the rest estimated."""

logger = logging.getLogger("bertx.data")

_AT_ONCE = 1000  # texts: a million encodings at once would take gigabytes

_WORDLESS = "are without a word (empty, white space, special tokens or invisible characters only)"
_REMARKS = {
    "skipped": f"{_WORDLESS} and are skipped; the first is {{}}",
    "wordless": f"{_WORDLESS}; they are classified, but have no words to explain; "
    "the first is {}",
    "missing": "are missing and have no prediction; the first is {}",
    "unmarked": "are without a rationale; the first is {}",
    "planted": "had the planted word already; take one that is in none",
}
_OF_THE_USED = ("unmarked", "planted")


@dataclass
class Tally:
    """The rows of a split, counted by what keeps them from being used as they are.

    Attributes:
        source: Where the rows are from.
        total: Rows that were read, without those left out.
        used: Rows whose text is used.
        counts: Rows by what is remarkable about them, in the words of `_REMARKS`.
        first: Where the first of each of these is.
        left_out: Rows with a rationale or a document that cannot be used.
        reasons: What is wrong with the first of them.
    """

    source: str = ""
    total: int = 0
    used: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, table: Table, used: int) -> None:
        """Count some rows more, so many of which are used."""
        self.source, self.total, self.used = table.source, self.total + len(table), self.used + used
        self.left_out += len(table.left_out)
        self.reasons += table.left_out[: SHOWN - len(self.reasons)]

    def count(self, remark: str, table: Table, rows: Collection[int]) -> None:
        """Count rows of a table about which there is something to remark."""
        self.counts[remark] += len(rows)
        if rows:
            self.first.setdefault(remark, table.where(min(rows)))

    def report(self, split: str) -> None:
        """Report all of it.

        Raises:
            InputError: If no row can be used, or none has a word.
        """
        self._report_left_out(split)
        if sum(self.counts[remark] for remark in ("skipped", "wordless", "missing")) == self.total:
            raise InputError(
                f"{self.source}: expected texts, but all {self.total:,} {_WORDLESS}. Check the "
                "file, or name the column with `text_column`."
            )
        for remark, words in _REMARKS.items():
            if count := self.counts[remark]:
                total = self.used if remark in _OF_THE_USED else self.total
                warn(f"{split}: {_of(count, total)} {words.format(self.first[remark])}")

    def _report_left_out(self, split: str) -> None:
        count, total = self.left_out, self.total + self.left_out
        if count and count == total:
            raise InputError(f"{split}: none of {total:,} texts can be used. {self.reasons[0]}")
        for reason in self.reasons:
            warn(reason)
        if count:
            texts = _of(count, total)
            warn(f"{split}: {texts} cannot be used and are left out; the first are named above")


@rank_zero_only
def warn(line: str) -> None:
    """Say a line, by one process."""
    logger.warning(line)


def report_unlabelled(split: str, count: int, total: int) -> None:
    """Report rows without a label."""
    if count:
        warn(f"{split}: {_of(count, total)} are without a label and are left out")


@rank_zero_only
def report_overlong(
    split: str, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> None:
    """Report texts that are cut to ``max_length`` tokens."""
    count, exact = count_overlong(texts, tokenizer, max_length)
    say_overlong(split, count, exact, len(texts), max_length)


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
        at_most: Tokenize so many texts; None: `ESTIMATE_FROM`.

    Returns:
        The number, and whether it is exact or estimated from the texts that were tokenized.
    """
    at_most = ESTIMATE_FROM if at_most is None else at_most
    room = max_length - tokenizer.num_special_tokens_to_add()
    # A token stands for one byte of the text at least, so that shorter texts need no tokenizing.
    candidates = [text for text in texts if len(text.encode()) > room]
    share = max(1.0, len(candidates) / at_most)
    sample = [candidates[int(i * share)] for i in range(min(len(candidates), at_most))]
    overlong = 0
    for start in range(0, len(sample), _AT_ONCE):
        encoded = tokenizer(sample[start : start + _AT_ONCE], verbose=False)
        overlong += sum(len(ids) > max_length for ids in encoded["input_ids"])
    return round(overlong * share), share == 1.0


def say_overlong(split: str, count: int, exact: bool, total: int, max_length: int) -> None:
    """Report that ``count`` of ``total`` texts are cut, exactly or by an estimate."""
    if count:
        number = _of(count, total) if exact else f"about {_of(count, total)}"
        warn(f"{split}: {number} are longer than {max_length} tokens and are cut")


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} texts"
