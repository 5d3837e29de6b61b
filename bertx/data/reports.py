"""What is said, once and in one line each, about texts that are not used as they are."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_only

from bertx.data.dataset import count_overlong
from bertx.data.table import Table
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger("bertx.data")


def report_skipped(split: str, table: Table, rows: Sequence[int]) -> None:
    """Report the rows of ``table`` that are not among the usable ``rows``.

    Raises:
        InputError: If no row is usable.
    """
    what = "without a word (empty, white space, special tokens or invisible characters only)"
    if not rows:
        raise InputError(
            f"{table.source}: expected texts, but all {len(table):,} are {what}. Check the file, "
            "or name the column with --data.text_column."
        )
    skipped = len(table) - len(rows)
    if skipped:
        kept = set(rows)
        first = next(row for row in range(len(table)) if row not in kept)
        count = _of(skipped, len(table))
        _warn(f"{split}: {count} are {what} and are skipped; the first is {table.where(first)}")


def report_unlabelled(split: str, count: int, total: int) -> None:
    """Report rows without a label."""
    if count:
        _warn(f"{split}: {_of(count, total)} are without a label (-1) and are left out")


@rank_zero_only
def report_overlong(
    split: str, texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> None:
    """Report texts that are cut to ``max_length`` tokens."""
    count, exact = count_overlong(texts, tokenizer, max_length)
    if count:
        number = _of(count, len(texts)) if exact else f"about {_of(count, len(texts))}"
        _warn(f"{split}: {number} are longer than {max_length} tokens and are cut")


def _of(count: int, total: int) -> str:
    return f"{count:,} of {total:,} texts"


@rank_zero_only
def _warn(line: str) -> None:
    logger.warning(line)
