"""Windows over a long text, and the scores of its tokens joined from overlapping windows."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def windows(units: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Cut T tokens into windows that overlap by about half and split no unit that fits into one.

    Args:
        units: The number of each token's unit, -1 without a unit (T,).
        room: Maximum number of tokens of a window.

    Yields:
        Start and stop of each window, from left to right. The last window is as long as possible.

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
    """Join the token scores of overlapping windows (see `sources`).

    Args:
        scores: For each window the scores of its tokens (..., w).
        places: Start and stop of each window; neither decreases.
        units: The number of each token's unit, -1 without a unit (T,).

    Returns:
        Scores of all tokens (..., T), 0 for tokens without a unit.
    """
    source = torch.tensor(sources(places, units))
    joined = scores[0].new_zeros(*scores[0].shape[:-1], len(units))
    for number, ((start, stop), window) in enumerate(zip(places, scores, strict=True)):
        kept = (source[start:stop] == number).nonzero()[:, 0]
        joined[..., start + kept] = window[..., kept]
    return joined


def sources(places: Sequence[tuple[int, int]], units: Sequence[int]) -> list[int]:
    """Choose the window from which each token takes its scores.

    All tokens of a unit take their scores from one window: of the windows that contain the whole
    unit, the one with the most tokens of context on the shorter side of the unit. Where the text
    itself begins or ends, the context does not count as short. The tokens of a unit that is longer
    than a window choose one by one.

    Args:
        places: Start and stop of each window; neither decreases.
        units: The number of each token's unit, -1 without a unit (T,).

    Returns:
        The number of a window for each token, -1 for tokens without a unit (T,).
    """
    total = len(units)
    source = [-1] * total
    starts, stops = [start for start, _ in places], [stop for _, stop in places]

    def containing(start: int, stop: int) -> range:
        return range(bisect_left(stops, stop), bisect_right(starts, start))

    for start, stop in _runs(units):
        whole = containing(start, stop)
        parts = [(start, stop)] if whole else [(i, i + 1) for i in range(start, stop)]
        for first, last in parts:
            best = max(containing(first, last), key=_context(places, first, last, total))
            source[first:last] = [best] * (last - first)
    return source


def _runs(units: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of tokens of one unit."""
    start = 0
    for i in range(1, len(units) + 1):
        if i == len(units) or units[i] != units[start]:
            if units[start] >= 0:
                yield start, i
            start = i


def _context(
    places: Sequence[tuple[int, int]], start: int, stop: int, total: int
) -> Callable[[int], int]:
    def shorter_side(window: int) -> int:
        first, last = places[window]
        left = total if first == 0 else start - first
        right = total if last == total else last - stop
        return min(left, right)

    return shorter_side
