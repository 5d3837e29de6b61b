"""One-line warnings about the texts of a split that are skipped, cut or unlabelled."""

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
"""Number of rows with an unusable rationale or document that are reported one by one."""

ESTIMATE_FROM = 50_000
"""If more texts than this may be too long, this many are tokenized and the rest is estimated."""

logger = logging.getLogger("bertx.data")

_AT_ONCE = 1000  # texts: the encodings of a million texts would take gigabytes

_WORDLESS = "are without a word (empty, white space, special tokens or invisible characters only)"
_REMARKS = {
    "skipped": f"{_WORDLESS} and are skipped; the first is {{}}",
    "wordless": f"{_WORDLESS}; they are classified, but have no words to explain; "
    "the first is {}",
    "missing": "are missing and have no prediction; the first is {}",
    "unmarked": "are without a rationale; the first is {}",
    "planted": "already had the planted word; choose one that occurs in no text",
}
_OF_THE_USED = ("unmarked", "planted")


@dataclass
class Tally:
    """Counts of the rows of a split that are not used, or not as they are.

    Attributes:
        source: The source of the rows.
        total: Number of rows that were read, without the unusable ones.
        used: Number of rows whose text is used.
        counts: Number of rows by remark, a key of `_REMARKS`.
        first: Place of the first row of each remark.
        unusable: Number of rows whose rationale or document cannot be used.
        reasons: Places and reasons of the first unusable rows.
    """

    source: str = ""
    total: int = 0
    used: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    unusable: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, table: Table, used: int) -> None:
        """Count the rows of a table, ``used`` of which are used."""
        self.source, self.total, self.used = table.source, self.total + len(table), self.used + used
        self.unusable += len(table.unusable)
        self.reasons += table.unusable[: SHOWN - len(self.reasons)]

    def count(self, remark: str, table: Table, rows: Collection[int]) -> None:
        """Count rows of a table under a key of `_REMARKS`."""
        self.counts[remark] += len(rows)
        if rows:
            self.first.setdefault(remark, table.where(min(rows)))

    def report(self, split: str) -> None:
        """Log a warning for each kind of row that was counted.

        Raises:
            InputError: If no row can be used, or none has a word.
        """
        self._report_unusable(split)
        if sum(self.counts[remark] for remark in ("skipped", "wordless", "missing")) == self.total:
            raise InputError(
                f"{self.source}: expected texts, but all {self.total:,} {_WORDLESS}. Check the "
                "file, or name the column with `text_column`."
            )
        for remark, words in _REMARKS.items():
            if count := self.counts[remark]:
                total = self.used if remark in _OF_THE_USED else self.total
                warn(f"{split}: {_of(count, total)} {words.format(self.first[remark])}")

    def _report_unusable(self, split: str) -> None:
        count, total = self.unusable, self.total + self.unusable
        if count and count == total:
            raise InputError(f"{split}: none of {total:,} texts can be used. {self.reasons[0]}")
        for reason in self.reasons:
            warn(reason)
        if count:
            texts = _of(count, total)
            warn(f"{split}: {texts} cannot be used and are left out; the first are named above")


@rank_zero_only
def warn(line: str) -> None:
    """Log a warning in one process only."""
    logger.warning(line)


def report_unlabelled(split: str, count: int, total: int) -> None:
    """Warn of texts without a label."""
    if count:
        warn(f"{split}: {_of(count, total)} are without a label and are left out")


def report_overlong(split: str, count: int, exact: bool, total: int, max_length: int) -> None:
    """Warn of texts that are cut, from what `count_overlong` returned."""
    if count:
        number = _of(count, total) if exact else f"about {_of(count, total)}"
        warn(f"{split}: {number} are longer than {max_length} tokens (max_length) and are cut")


def _count_overlong(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    at_most: int | None = None,
) -> tuple[int, bool]:
    """Count the texts with more than ``max_length`` tokens, in the process that reports them.

    Args:
        texts: The texts.
        tokenizer: The tokenizer.
        max_length: Maximum number of tokens of a text that is not cut, special ones included.
        at_most: Most texts to tokenize; None for `ESTIMATE_FROM`.

    Returns:
        The number of texts, and whether it is exact rather than estimated from a part of them.
    """
    at_most = ESTIMATE_FROM if at_most is None else at_most
    room = max_length - tokenizer.num_special_tokens_to_add()
    # A token stands for at least one byte of the text, so shorter texts need not be tokenized.
    candidates = [text for text in texts if len(text.encode()) > room]
    share = max(1.0, len(candidates) / at_most)
    sample = [candidates[int(i * share)] for i in range(min(len(candidates), at_most))]
    overlong = 0
    for start in range(0, len(sample), _AT_ONCE):
        encoded = tokenizer(sample[start : start + _AT_ONCE], verbose=False)
        overlong += sum(len(ids) > max_length for ids in encoded["input_ids"])
    return round(overlong * share), share == 1.0


count_overlong = rank_zero_only(_count_overlong, default=(0, True))


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} texts"
