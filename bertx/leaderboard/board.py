"""Compute leaderboards from the values that one or more runs wrote for single examples."""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from math import isnan, nan
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bertx.errors import InputError
from bertx.leaderboard.example_values import ExampleValue
from bertx.leaderboard.results import Leaderboard, League, OperatorTable, Standing
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

K = TypeVar("K", str, MetricKey)


def leaderboards(
    runs: Runs,
    metrics: Sequence[str] = (),
    relevant: float = 0.01,
    note: str = "",
    confidence: float | None = None,
) -> list[Leaderboard]:
    """Rank all methods by each metric and operator, on the examples that all runs have.

    An example that was explained for several classes counts once, with the mean of its values.
    Metrics and methods that some runs lack are dropped with a warning.

    Args:
        runs: The values of each run.
        metrics: Names of metrics; empty for all metrics of which one direction is better.
        relevant: The smallest difference that matters; see `bertx.statistics.compare`.
        note: Where the values come from.
        confidence: For the values of one run that measured pairs until they were decided, in the
            order in which examples were drawn: the confidence of all verdicts together; see
            `bertx.statistics.compare_in_order`. None: `bertx.statistics.compare`.

    Raises:
        InputError: If a metric is unknown or has no better direction, or if runs contradict each
            other (on a text, a metric or a method) or have no example in common.
    """
    test: Callable[..., list[Comparison]] = partial(compare, relevant=relevant)
    if confidence is not None:
        test = partial(compare_in_order, relevant=relevant, alpha=1 - confidence)
    _check_texts(runs)
    metric_rows = _consistent_rows(runs, "metric", "higher_is_better")
    method_rows = _consistent_rows(runs, "method", "signed", "role", "made_with")
    ranking = _ranking_metrics(metrics, metric_rows)
    values = {run: _by_example(rows) for run, rows in runs.items()}
    boards = []
    for metric, operator in _shared(values):
        if metric not in ranking:
            continue
        by_run = {run: table[metric, operator] for run, table in values.items()}
        arrays = _arrays(by_run, in_order=confidence is not None)
        higher = bool(metric_rows[metric].higher_is_better)
        signed, unsigned = (
            _league(arrays, method_rows, sign, operator, partial(test, higher_is_better=higher))
            for sign in (True, False)
        )
        if signed or unsigned:
            settings = (len(runs), relevant, note, confidence)
            boards.append(Leaderboard(metric, operator, higher, signed, unsigned, *settings))
    return sorted(boards, key=lambda board: ranking.index(board.metric))


def operator_tables(boards: Sequence[Leaderboard]) -> list[OperatorTable]:
    """Return a table for each metric with several operators."""
    by_metric: dict[str, list[Leaderboard]] = defaultdict(list)
    for board in boards:
        by_metric[board.metric].append(board)
    return [OperatorTable(group) for group in by_metric.values() if len(group) > 1]


def _ranking_metrics(metrics: Sequence[str], metric_rows: Mapping[str, ExampleValue]) -> list[str]:
    ranking = [name for name, row in metric_rows.items() if row.higher_is_better is not None]
    for metric in metrics:
        if metric not in ranking:
            reason = "has no better direction" if metric in metric_rows else "was not measured"
            raise InputError(
                f"metric {metric}: expected a metric that ranks methods, but it {reason}. "
                f"Available: {', '.join(ranking) or 'none'}."
            )
    return list(dict.fromkeys(metrics)) or ranking


def _check_texts(runs: Runs) -> None:
    """Refuse runs in which an example with the same number is another text."""
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


def _consistent_rows(runs: Runs, column: str, *dependent: str) -> dict[str, ExampleValue]:
    """Return the first row of each value of a column, which fixes the dependent columns.

    Raises:
        InputError: If another row with this value differs in a dependent column.
    """
    first: dict[str, tuple[ExampleValue, str]] = {}
    for run, rows in runs.items():
        for row in rows:
            name = getattr(row, column)
            expected, other = first.setdefault(name, (row, run))
            for fact in dependent:
                if getattr(row, fact) != getattr(expected, fact):
                    raise InputError(
                        f"{column} {name!r}: {run} has {fact} {getattr(row, fact)!r}, but {other} "
                        f"has {getattr(expected, fact)!r}. Compare runs with the same settings."
                    )
    return {name: row for name, (row, _) in first.items()}


def _by_example(rows: Sequence[ExampleValue]) -> Values:
    by_target: dict[tuple[MetricKey, str, int], list[float]] = defaultdict(list)
    for row in rows:
        by_target[(row.metric, row.operator), row.method, row.example].append(row.value)
    values: Values = defaultdict(lambda: defaultdict(dict))
    for (key, method, example), numbers in by_target.items():
        valid = [number for number in numbers if not isnan(number)]
        values[key][method][example] = sum(valid) / len(valid) if valid else nan
    return values


def _shared(runs: Mapping[str, Mapping[K, object]]) -> list[K]:
    """Return the keys that all runs have, in the order of the first run."""
    every = list(dict.fromkeys(chain.from_iterable(runs.values())))
    for key in every:
        if lacking := [run for run, keys in runs.items() if key not in keys]:
            label = key if isinstance(key, str) else ", ".join(filter(None, key))
            log.warning(f"{label} is left out, because {lacking[0]} has no values for it")
    return [key for key in every if all(key in keys for keys in runs.values())]


def _arrays(runs: Mapping[str, Mapping[str, Mapping[int, float]]], in_order: bool) -> Arrays:
    """Return the values of shared methods on shared examples, sorted unless ``in_order``."""
    measured = [dict.fromkeys(chain.from_iterable(run.values())) for run in runs.values()]
    examples = [e for e in measured[0] if all(e in other for other in measured)]
    if not examples:
        raise InputError(
            f"{', '.join(runs)} have no example in common. Compare runs whose monitors used the "
            "same data and max_examples."
        )
    if not in_order:
        examples.sort()
    return {
        method: np.array([[run[method].get(e, nan) for e in examples] for run in runs.values()])
        for method in _shared(runs)
    }


def _league(
    arrays: Arrays,
    method_rows: Mapping[str, ExampleValue],
    signed: bool,
    operator: str,
    test: Callable[[Arrays], Sequence[Comparison]],
) -> League | None:
    """Compare signed or unsigned methods, with all floors and ceilings; None without methods."""
    roles = {
        method: method_rows[method].role
        for method in arrays
        if method_rows[method].role != "method" or method_rows[method].signed is signed
    }
    if "method" not in roles.values():
        return None

    def standings(methods: Sequence[str], arrays: Arrays) -> list[Standing]:
        return [
            Standing(
                method,
                *summarize(arrays[method]),
                role=roles[method],
                same_operator=bool(operator) and method_rows[method].made_with == operator,
            )
            for method in methods
        ]

    ceilings = [method for method, role in roles.items() if role == "ceiling"]
    rivals = [method for method in roles if method not in ceilings]
    verdicts = test({method: arrays[method] for method in rivals})
    searched = _searched(arrays, ceilings, rivals)
    if not searched:
        return League(standings(list(roles), arrays), verdicts)
    return League(standings(rivals, arrays), verdicts, standings(list(roles), searched))


def _searched(arrays: Arrays, ceilings: Sequence[str], rivals: Sequence[str]) -> Arrays:
    """Return the values on the examples with a ceiling; empty if these are all examples."""
    if not ceilings:
        return {}
    unsearched = np.logical_and.reduce([np.isnan(arrays[name]) for name in ceilings])
    measured = np.logical_or.reduce([~np.isnan(arrays[name]) for name in rivals])
    if not (unsearched & measured).any():
        return {}
    return {name: np.where(unsearched, nan, arrays[name]) for name in (*ceilings, *rivals)}
