"""Token sequences without gaps, each once, in the batches that cost least."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from bertx.errors import InputError

Item = TypeVar("Item")


class Budget(NamedTuple):
    """What may go into one forward, and what it costs.

    Attributes:
        tokens: Largest product of rows and longest row.
        call: What a forward costs beside its tokens, in tokens: where it is small, batches of
            equal lengths without padding are cheaper than few large ones.
    """

    tokens: int
    call: int = 0


CPU = Budget(2048, 64)
"""More tokens are slower on a CPU, because they leave the caches."""

ACCELERATOR = Budget(16384, 4096)


def budget_for(device: torch.device, tokens: int | None = None, recorded: bool = False) -> Budget:
    """What is fast on a device.

    Args:
        device: Where the model is.
        tokens: Another number of tokens.
        recorded: Whether the forward is recorded for explanations, which keeps activations.
    """
    budget = CPU if device.type == "cpu" else ACCELERATOR
    return budget._replace(tokens=tokens or budget.tokens // (2 if recorded else 1))


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


def distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find equal rows.

    Rows are told apart by a sum with random odd factors modulo 2**64; should two different rows
    have the same sum, whole rows are compared instead.

    Args:
        rows: Whole numbers (M, J).

    Returns:
        One row number for each of the S distinct rows (S,), and for every row which of the S it
        equals (M,).

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
    """Cut sequences into the batches that cost least, padding and calls together.

    Args:
        lengths: Lengths of the sequences, longest first.
        budget: What may go into a batch; a longer sequence is a batch of its own.

    Yields:
        First and last row (exclusive) of each batch.

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
        calls = -(-rows // _most(lengths[start], budget))
        for call in range(calls):
            yield start + rows * call // calls, start + rows * (call + 1) // calls


def chunks(
    items: Iterable[Item], length: Callable[[Item], int], budget: Budget
) -> Iterator[list[Item]]:
    """Cut items into batches of similar length, longest first, equal ones in their order."""
    ordered = sorted(items, key=length, reverse=True)
    for start, end in pack([length(item) for item in ordered], budget):
        yield ordered[start:end]


def bucket(length: int) -> int:
    """The length rounded up to a power of two, at least 16.

    Examples:
        >>> bucket(9), bucket(32), bucket(33)
        (16, 32, 64)
    """
    return max(1 << (length - 1).bit_length(), 16)


def _cheapest(
    lengths: Sequence[int], starts: Sequence[int], budget: Budget
) -> Iterator[tuple[int, int]]:
    """Which runs of equal lengths go together: first and last (exclusive) of each group.

    The cheapest way to cut what begins at a run follows from those of all later runs.
    """
    runs = len(starts) - 1
    least, cut = [inf] * runs + [0], [runs] * runs
    for first in reversed(range(runs)):
        width = max(lengths[starts[first]], 1)
        for last in range(first + 1, runs + 1):
            rows = starts[last] - starts[first]
            if rows * width >= least[first]:
                break
            calls = -(-rows // _most(width, budget))
            cost = rows * width + calls * budget.call + least[last]
            if cost < least[first]:
                least[first], cut[first] = cost, last
    first = 0
    while first < runs:
        yield first, cut[first]
        first = cut[first]


def _most(length: int, budget: Budget) -> int:
    """How many sequences of a length go into one batch."""
    return max(budget.tokens // max(length, 1), 1)


def _representatives(distinct: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(len(which), device=which.device)
    return rows.new_empty(len(distinct)).scatter_(0, which, rows), which


def by_halves(
    items: list[Item],
    work: Callable[[list[Item]], None],
    failed: Callable[[Item, Exception], None],
) -> None:
    """Work on some items; if that fails, on their halves, down to the single items that do.

    Args:
        items: At least one item.
        work: Works on some of them; where it raises, it is called anew for fewer of these.
        failed: Hears of each item that fails even alone, and why.
    """
    try:
        work(items)
        return
    except (InputError, RuntimeError) as error:
        if len(items) == 1:
            failed(items[0], error)
            return
    half = len(items) // 2  # out here, as the error holds on to the graph
    by_halves(items[:half], work, failed)
    by_halves(items[half:], work, failed)


def reason_of(error: Exception, tokens: int, device: torch.device, way_out: str) -> str:
    """Why a text could not be explained, in words for those who read the results."""
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error):
        return f"{tokens} tokens need more memory than {device} has. {way_out}"
    return f"{type(error).__name__}: {error}"
