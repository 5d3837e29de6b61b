"""Timing works that take turns, so that a noisy machine slows all of them alike."""

import statistics
import time


def timed(work):
    """Seconds that a work takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def turns(works, repeat):
    """Let works take turns, once to warm up and then ``repeat`` times.

    Returns:
        For each work its seconds in each round, and what it returned in the last one.
    """
    rounds = [[timed(work) for work in works] for _ in range(repeat + 1)]
    times = [[seconds for seconds, _ in own] for own in zip(*rounds[1:], strict=True)]
    return times, [result for _, result in rounds[-1]]


def median_ratio(above, below):
    """Median of the ratios of two works' seconds, round by round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
