"""Leaderboards from the values that one or more runs wrote, example by example."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from math import isnan, nan
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bertx.errors import InputError
from bertx.leaderboard.example_values import ExampleValue
from bertx.leaderboard.results import (
    Leaderboard,
    League,
    OperatorTable,
    Standing,
)
from bertx.rendering.curves import Role
from bertx.statistics import Comparison, compare, compare_in_order, summarize

log = logging.getLogger("bertx")

Runs = Mapping[str, Sequence[ExampleValue]]
"""The values of each run by its name: trainings from several seeds, judged on the same examples."""

MetricKey = tuple[str, str]
"""A metric and its operator."""

Values = dict[MetricKey, dict[str, dict[int, float]]]
"""The values of one run, by metric and operator, method, and example."""

Arrays = dict[str, NDArray[np.float64]]
"""Values of each method (S, N), for S runs and the N examples that all have."""

T = TypeVar("T")
K = TypeVar("K", str, MetricKey)


class Contender(NamedTuple):
    """What is to be known of a method; see `ExampleValue`."""

    signed: bool
    role: Role
    made_with: str


def leaderboards(
    runs: Runs,
    metrics: Sequence[str] = (),
    relevant: float = 0.01,
    note: str = "",
    confidence: float | None = None,
) -> list[Leaderboard]:
    """Rank all methods, by each metric and operator.

    Counted are the examples that all runs have. One that was explained for several classes counts
    once, with the mean of its values. What some runs lack is left out with a warning.

    Args:
        runs: The values of each run.
        metrics: The metrics; none for all that have a better direction.
        relevant: The smallest difference that matters; see `bertx.statistics.compare`.
        note: Where the values come from.
        confidence: For values of one run, in the order in which its examples were drawn, that came
            until it was decided: the confidence of all verdicts together; see
            `bertx.statistics.compare_in_order`. None: `bertx.statistics.compare`.

    Raises:
        InputError: If a metric is unknown or has no direction, or if runs contradict each other
            (on a text, a metric or a method) or have no example in common.
    """
    test: Callable[..., list[Comparison]] = partial(compare, relevant=relevant)
    order: Callable[[Sequence[int]], list[int]] = sorted
    if confidence is not None:
        test, order = partial(compare_in_order, relevant=relevant, alpha=1 - confidence), list
    _check_texts(runs)
    directions = _agreed(runs, lambda row: row.metric, lambda row: row.higher_is_better)
    contenders = _agreed(
        runs, lambda row: row.method, lambda row: Contender(row.signed, row.role, row.made_with)
    )
    ranked = _ranking_metrics(metrics, directions)
    values = {run: _by_example(rows) for run, rows in runs.items()}
    boards = []
    for metric, operator in _shared(values):
        if metric not in ranked:
            continue
        arrays = _arrays({run: table[metric, operator] for run, table in values.items()}, order)
        higher = bool(directions[metric])
        signed, unsigned = (
            _league(arrays, contenders, sign, operator, partial(test, higher_is_better=higher))
            for sign in (True, False)
        )
        if signed or unsigned:
            board = Leaderboard(metric, operator, higher, signed, unsigned, len(runs), relevant)
            boards.append(replace(board, note=note, confidence=confidence))
    return sorted(boards, key=lambda board: ranked.index(board.metric))


def operator_tables(boards: Sequence[Leaderboard]) -> list[OperatorTable]:
    """A table for each metric that was measured by several operators."""
    by_metric: dict[str, list[Leaderboard]] = defaultdict(list)
    for board in boards:
        by_metric[board.metric].append(board)
    return [OperatorTable(group) for group in by_metric.values() if len(group) > 1]


def _ranking_metrics(metrics: Sequence[str], directions: Mapping[str, bool | None]) -> list[str]:
    ranked = [metric for metric, higher in directions.items() if higher is not None]
    for metric in metrics:
        if metric not in ranked:
            reason = "has no better direction" if metric in directions else "was not measured"
            raise InputError(
                f"metric {metric}: expected a metric that ranks methods, but it {reason}. "
                f"Available: {', '.join(ranked) or 'none'}."
            )
    return list(dict.fromkeys(metrics)) or ranked


def _check_texts(runs: Runs) -> None:
    """Refuse runs in which examples of one number are not the same text."""
    texts: dict[int, tuple[int, str]] = {}
    for run, rows in runs.items():
        for row in rows:
            if not row.text:
                continue
            text, other = texts.setdefault(row.example, (row.text, run))
            if text != row.text and other != run:
                raise InputError(
                    f"{other} and {run}: example {row.example} is not the same text in both, so "
                    "their examples cannot be paired. Compare runs of the same data, with the "
                    "same max_examples, data seed, max_length and tokenizer."
                )


def _agreed(
    runs: Runs, name: Callable[[ExampleValue], str], fact: Callable[[ExampleValue], T]
) -> dict[str, T]:
    """What all rows of all runs say of a name."""
    facts: dict[str, tuple[T, str]] = {}
    for run, rows in runs.items():
        for row in rows:
            value, other = facts.setdefault(name(row), (fact(row), run))
            if value != fact(row):
                raise InputError(
                    f"{run} has {fact(row)} for {name(row)!r}, but {other} has {value}. Compare "
                    "runs with the same settings."
                )
    return {key: value for key, (value, _) in facts.items()}


def _by_example(rows: Sequence[ExampleValue]) -> Values:
    lists: dict[MetricKey, dict[str, dict[int, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        lists[row.metric, row.operator][row.method][row.example].append(row.value)
    return {
        key: {
            method: {example: _mean(numbers) for example, numbers in by_example.items()}
            for method, by_example in by_method.items()
        }
        for key, by_method in lists.items()
    }


def _mean(values: Sequence[float]) -> float:
    valid = [value for value in values if not isnan(value)]
    return sum(valid) / len(valid) if valid else nan


def _shared(runs: Mapping[str, Mapping[K, object]]) -> list[K]:
    """What all runs have, in the order of the first."""
    every = list(dict.fromkeys(chain.from_iterable(runs.values())))
    for key in every:
        if lacking := [run for run, keys in runs.items() if key not in keys]:
            label = key if isinstance(key, str) else ", ".join(filter(None, key))
            log.warning(f"{label} is left out, because {lacking[0]} has no values for it")
    return [key for key in every if all(key in keys for keys in runs.values())]


def _arrays(
    runs: Mapping[str, Mapping[str, Mapping[int, float]]],
    order: Callable[[Sequence[int]], list[int]],
) -> Arrays:
    """The values of methods that all runs have on the examples that all runs have."""
    seen = [dict.fromkeys(chain.from_iterable(run.values())) for run in runs.values()]
    examples = order([e for e in seen[0] if all(e in other for other in seen)])
    if not examples:
        raise InputError(
            f"{', '.join(runs)} have no example in common. Compare runs whose monitors used the "
            "same data and max_examples."
        )
    return {
        method: np.array([[run[method].get(e, nan) for e in examples] for run in runs.values()])
        for method in _shared(runs)
    }


def _league(
    arrays: Arrays,
    contenders: Mapping[str, Contender],
    signed: bool,
    operator: str,
    test: Callable[[Arrays], Sequence[Comparison]],
) -> League | None:
    """Methods of one kind with all floors and ceilings; None if there are no methods."""
    facts = {method: contenders[method] for method in arrays}
    chosen = [m for m, fact in facts.items() if fact.role != "method" or fact.signed is signed]
    if all(facts[method].role != "method" for method in chosen):
        return None

    def standings(methods: Sequence[str], arrays: Arrays) -> list[Standing]:
        return [
            Standing(
                method,
                *summarize(arrays[method]),
                role=facts[method].role,
                same_operator=bool(operator) and facts[method].made_with == operator,
            )
            for method in methods
        ]

    rivals = {method: arrays[method] for method in chosen if facts[method].role != "ceiling"}
    verdicts = test(rivals)
    searched = _searched(arrays, [m for m in chosen if facts[m].role == "ceiling"], list(rivals))
    if not searched:
        return League(standings(chosen, arrays), verdicts)
    return League(standings(list(rivals), arrays), verdicts, standings(chosen, searched))


def _searched(arrays: Arrays, ceilings: Sequence[str], rivals: Sequence[str]) -> Arrays:
    """The values on those examples alone that were searched; empty if these are all."""
    if not ceilings:
        return {}
    left_out = np.logical_and.reduce([np.isnan(arrays[name]) for name in ceilings])
    measured = np.logical_or.reduce([~np.isnan(arrays[name]) for name in rivals])
    if not (left_out & measured).any():
        return {}
    return {name: np.where(left_out, nan, arrays[name]) for name in (*ceilings, *rivals)}
