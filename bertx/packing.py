"""Token sequences without gaps, each once, in batches of equal cost."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def close_up(tokens: Tensor, present: Tensor, filler: Tensor) -> Tensor:
    """Move the tokens that are present to the left.

    Args:
        tokens: Tokens by their F fields (M, F, T).
        present: Which of them stay (M, T).
        filler: What fills the rest (F,).

    Returns:
        The tokens without gaps (M, F, T).

    Examples:
        >>> tokens, present = torch.tensor([[[7, 8, 9]]]), torch.tensor([[True, False, True]])
        >>> close_up(tokens, present, torch.tensor([0]))
        tensor([[[7, 9, 0]]])
    """
    rows, fields, width = tokens.shape
    places = torch.where(present, present.cumsum(1) - 1, width)
    closed = filler[:, None].expand(rows, fields, width + 1).clone()
    return closed.scatter_(2, places[:, None].expand_as(tokens), tokens)[..., :width]


def merge(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find equal rows.

    Rows are told apart by a sum with random odd factors modulo 2**64; should two different rows
    have the same sum, whole rows are compared instead.

    Args:
        rows: Whole numbers (M, J).

    Returns:
        One row number for each of the S distinct rows (S,), and for every row which of the S it
        equals (M,).

    Examples:
        >>> first, which = merge(torch.tensor([[1, 2], [3, 4], [1, 2]]))
        >>> len(first), bool(which[0] == which[2])
        (2, True)
    """
    seeded = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, rows.shape[1:], generator=seeded) | 1
    sums = (rows * factors.to(rows.device)).sum(1)
    first, which = _representatives(*torch.unique(sums, return_inverse=True))
    if not torch.equal(rows[first][which], rows):
        return _representatives(*torch.unique(rows, dim=0, return_inverse=True))
    return first, which


def pack(lengths: Sequence[int], budget: int) -> Iterator[tuple[int, int]]:
    """Cut sequences into batches.

    Args:
        lengths: Lengths of the sequences, longest first.
        budget: Largest product of rows and longest row; a longer sequence is a batch of its own.

    Yields:
        First and last row (exclusive) of each batch.

    Examples:
        >>> list(pack([9, 4, 3, 3], budget=8))
        [(0, 1), (1, 3), (3, 4)]
    """
    start = 0
    while start < len(lengths):
        end = min(start + max(budget // max(lengths[start], 1), 1), len(lengths))
        yield start, end
        start = end


def bucket(length: int) -> int:
    """The length rounded up to a power of two, at least 16.

    Examples:
        >>> bucket(9), bucket(32), bucket(33)
        (16, 32, 64)
    """
    return max(1 << (length - 1).bit_length(), 16)


def _representatives(distinct: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(which), device=which.device)
    return rows.new_empty(len(distinct)).scatter_(0, which, rows), which
