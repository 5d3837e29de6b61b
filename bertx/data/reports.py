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


def report_skipped(split: str, source: str, skipped: int, total: int, first: str | None) -> None:
    """Report rows without a usable text.

    Args:
        split: The split.
        source: Where its rows are from.
        skipped: How many are not usable,
        total: of so many.
        first: Where the first of them is.

    Raises:
        InputError: If no row is usable.
    """
    what = "without a word (empty, white space, special tokens or invisible characters only)"
    if skipped == total:
        raise InputError(
            f"{source}: expected texts, but all {total:,} are {what}. Check the file, "
            "or name the column with --data.text_column."
        )
    if skipped:
        count = _of(skipped, total)
        _warn(f"{split}: {count} are {what} and are skipped; the first is {first}")


def first_skipped(table: Table, rows: Sequence[int]) -> str | None:
    """Where the first row of ``table`` is that is not among ``rows`` (sorted), if there is one."""
    row = next((i for i, row in enumerate(rows) if i != row), len(rows))
    return table.where(row) if row < len(table) else None


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
