"""Distinct token sequences without gaps, and their division into the cheapest batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from bertx.errors import FaultyClass, InputError

Item = TypeVar("Item")


class Budget(NamedTuple):
    """Size limit and cost of one forward pass.

    Attributes:
        tokens: Largest number of tokens, including padding: rows times the longest row.
        call: Fixed cost of a forward pass, in tokens. If it is small, many batches of equal lengths
            are cheaper than a few large batches with padding.
    """

    tokens: int
    call: int = 0


CPU = Budget(2048, 64)
"""Larger batches are slower on a CPU, because they exceed its caches."""

ACCELERATOR = Budget(16384, 4096)


def budget_for(device: torch.device, tokens: int | None = None, recorded: bool = False) -> Budget:
    """Return the fastest budget on a device.

    Args:
        device: Device of the model.
        tokens: Largest number of tokens; None for the fastest.
        recorded: Whether the forward pass is recorded for explanations and keeps activations.
    """
    budget = CPU if device.type == "cpu" else ACCELERATOR
    return budget._replace(tokens=tokens or budget.tokens // (2 if recorded else 1))


def close_up(tokens: Tensor, present: Tensor, filler: Tensor) -> Tensor:
    """Move the present tokens to the left, and fill the rest.

    Args:
        tokens: F fields of each token (M, F, T).
        present: True for tokens that are kept (M, T).
        filler: Fields of the tokens at the end (F,).

    Returns:
        (M, F, T).

    Examples:
        >>> tokens, present = torch.tensor([[[7, 8, 9]]]), torch.tensor([[True, False, True]])
        >>> close_up(tokens, present, torch.tensor([0]))
        tensor([[[7, 9, 0]]])
    """
    rows, fields, width = tokens.shape
    places = torch.where(present, present.cumsum(1) - 1, width)
    closed = filler[:, None].expand(rows, fields, width + 1).clone()
    return closed.scatter_(2, places[:, None].expand_as(tokens), tokens)[..., :width]


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find equal rows.

    Rows are hashed to their sums with random odd factors modulo 2**64. If different rows have the
    same sum, whole rows are compared instead.

    Args:
        rows: Integers (M, J).

    Returns:
        The index of one row for each of the S distinct rows (S,), and for every row the index of
        its distinct row in 0..S-1 (M,).

    Examples:
        >>> first, which = distinct_rows(torch.tensor([[1, 2], [3, 4], [1, 2]]))
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


def pack(lengths: Sequence[int], budget: Budget) -> Iterator[tuple[int, int]]:
    """Divide sequences into the cheapest batches, counting padding and fixed costs.

    Args:
        lengths: Lengths of the sequences, longest first.
        budget: Size limit and fixed cost of a batch. A sequence beyond the limit has a batch to
            itself.

    Yields:
        First and last index (exclusive) of each batch.

    Examples:
        >>> list(pack([9, 4, 3, 3], Budget(tokens=8)))
        [(0, 1), (1, 2), (2, 4)]
        >>> list(pack([9, 4, 3, 3], Budget(tokens=16, call=3)))
        [(0, 1), (1, 4)]
    """
    starts = [i for i, length in enumerate(lengths) if i == 0 or length != lengths[i - 1]]
    starts.append(len(lengths))
    for first, last in _cheapest(lengths, starts, budget):
        start, rows = starts[first], starts[last] - starts[first]
        calls = -(-rows // _most_rows(lengths[start], budget))
        for call in range(calls):
            yield start + rows * call // calls, start + rows * (call + 1) // calls


def chunks(
    items: Iterable[Item], length: Callable[[Item], int], budget: Budget
) -> Iterator[list[Item]]:
    """Divide items into batches of similar lengths, longest first, keeping the order of equals."""
    ordered = sorted(items, key=length, reverse=True)
    for start, end in pack([length(item) for item in ordered], budget):
        yield ordered[start:end]


def bucket(length: int) -> int:
    """Round a length up to a power of two, at least 16.

    Examples:
        >>> bucket(9), bucket(32), bucket(33)
        (16, 32, 64)
    """
    return max(1 << (length - 1).bit_length(), 16)


def _cheapest(
    lengths: Sequence[int], starts: Sequence[int], budget: Budget
) -> Iterator[tuple[int, int]]:
    """Yield the first and the last run of equal lengths (exclusive) of each group of batches.

    Dynamic programming from the last run backwards: ``least`` is the cost of all sequences from a
    run on, and ``cut`` is where its first group ends.
    """
    runs = len(starts) - 1
    least, cut = [inf] * runs + [0], [runs] * runs
    for first in reversed(range(runs)):
        width = max(lengths[starts[first]], 1)
        for last in range(first + 1, runs + 1):
            rows = starts[last] - starts[first]
            if rows * width >= least[first]:
                break
            calls = -(-rows // _most_rows(width, budget))
            cost = rows * width + calls * budget.call + least[last]
            if cost < least[first]:
                least[first], cut[first] = cost, last
    first = 0
    while first < runs:
        yield first, cut[first]
        first = cut[first]


def _most_rows(length: int, budget: Budget) -> int:
    """Return how many sequences of a length fit into one batch."""
    return max(budget.tokens // max(length, 1), 1)


def _representatives(distinct: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of a row for each distinct value, and ``which`` unchanged."""
    rows = torch.arange(len(which), device=which.device)
    return rows.new_empty(len(distinct)).scatter_(0, which, rows), which


def by_halves(
    items: list[Item],
    work: Callable[[list[Item]], None],
    failed: Callable[[Item, Exception], None],
) -> None:
    """Process items together; if that fails, process their halves, down to single items.

    Args:
        items: At least one item.
        work: Processes several items. If it raises, it is called again for each half.
        failed: Called with each item that fails on its own, and its error.

    Raises:
        FaultyClass: If ``work`` does, since this concerns all items.
    """
    try:
        work(items)
        return
    except FaultyClass:
        raise
    except (InputError, RuntimeError) as error:
        if len(items) == 1:
            failed(items[0], error)
            return
    half = len(items) // 2  # outside the handler, because the error refers to the graph
    by_halves(items[:half], work, failed)
    by_halves(items[half:], work, failed)


def reason_of(error: Exception, tokens: int, device: torch.device, way_out: str) -> str:
    """Return a readable reason why a text could not be explained."""
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
        return f"{tokens} tokens need more memory than {device} has. {way_out}"
    return f"{type(error).__name__}: {error}"
