"""Windows over a long text, and one score for each token out of those of all windows."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def windows(units: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Cut T tokens into windows that overlap by about half and part no unit that fits into one.

    Args:
        units: The number of each token's unit, -1 for none (T,).
        room: Most tokens of a window.

    Returns:
        Start and stop of each window, from the left. The last one is as long as it can be.

    Examples:
        >>> list(windows([0, 1, 1, 2, 3, 3, 4], 4))
        [(0, 4), (3, 7)]
    """
    total, start = len(units), 0
    borders = [i == 0 or unit != units[i - 1] or unit < 0 for i, unit in enumerate(units)]

    def border(places: Sequence[int]) -> int | None:
        return next((i for i in places if borders[i]), None)

    while start + room < total:
        stop = border(range(start + room, start, -1)) or start + room
        yield start, stop
        half = border(range(start + max(room // 2, 1), stop)) or stop
        start = min(half, border(range(total - room, stop)) or stop)
    yield start, total


def join(
    scores: Sequence[Tensor], places: Sequence[tuple[int, int]], units: Sequence[int]
) -> Tensor:
    """Put the token scores of overlapping windows together (see `sources`).

    Args:
        scores: For each window the scores of its tokens (..., w).
        places: Start and stop of each window, in an order in which neither falls.
        units: The number of each token's unit, -1 for none (T,).

    Returns:
        Scores of all tokens (..., T), 0 for tokens of no unit.
    """
    source = torch.tensor(sources(places, units))
    joined = scores[0].new_zeros(*scores[0].shape[:-1], len(units))
    for number, ((start, stop), window) in enumerate(zip(places, scores, strict=True)):
        kept = (source[start:stop] == number).nonzero()[:, 0]
        joined[..., start + kept] = window[..., kept]
    return joined


def sources(places: Sequence[tuple[int, int]], units: Sequence[int]) -> list[int]:
    """From which window each token takes its scores.

    All tokens of a unit take them from one window: of those that hold the whole unit the one with
    the most tokens on the shorter side of it. The ends of the text count as no end. A unit that is
    longer than a window takes each of its tokens from such a window.

    Args:
        places: Start and stop of each window, in an order in which neither falls.
        units: The number of each token's unit, -1 for none (T,).

    Returns:
        The number of a window for each token, -1 for tokens of no unit (T,).
    """
    total = len(units)
    source = [-1] * total
    starts, stops = [start for start, _ in places], [stop for _, stop in places]

    def holds(start: int, stop: int) -> range:
        return range(bisect_left(stops, stop), bisect_right(starts, start))

    for start, stop in _runs(units):
        parts = [(start, stop)] if holds(start, stop) else [(i, i + 1) for i in range(start, stop)]
        for first, last in parts:
            best = max(holds(first, last), key=_context(places, first, last, total))
            source[first:last] = [best] * (last - first)
    return source


def _runs(units: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for i in range(1, len(units) + 1):
        if i == len(units) or units[i] != units[start]:
            if units[start] >= 0:
                yield start, i
            start = i


def _context(
    places: Sequence[tuple[int, int]], start: int, stop: int, total: int
) -> Callable[[int], int]:
    def tokens(k: int) -> int:
        first, last = places[k]
        left = total if first == 0 else start - first
        right = total if last == total else last - stop
        return min(left, right)

    return tokens
