"""Means, gains over the control, ceilings and costs, computed from the table of values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan

import torch
from torch import Tensor

from bertx.evaluation.table import CEILING, EMPTY, BatchValues, Metrics
from bertx.metrics import CurveMetric, Estimate
from bertx.metrics.curve_metrics import Kind
from bertx.metrics.estimates import mean_of
from bertx.rendering import Curve, MethodResult, Score, gain_name
from bertx.rendering.curves import Role
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import Z95


@dataclass(frozen=True)
class Estimates:
    """The results of an evaluation, over all examples.

    Attributes:
        metrics: The metrics by name.
        means: The mean of each metric and method.
        gains: For each metric and method the mean difference to the control, positive where the
            method is better; empty without a control.
        ceilings: For each metric with a limit its mean under the best order found, over the
            searched examples.
        searched: For each of these metrics the mean of each method over the same examples.
        empty: For each class the probability of the class when all units are deleted, over the
            examples where it is explained.
        costs: The cost of each method in forward-equivalents.
        count: Number of evaluated examples.
    """

    metrics: Metrics
    means: dict[str, dict[str, Estimate]]
    gains: dict[str, dict[str, Estimate]]
    ceilings: dict[str, Estimate]
    searched: dict[str, dict[str, Estimate]]
    empty: dict[str, Score]
    costs: dict[str, float]
    count: int

    def completed(self, other: "Estimates") -> "Estimates":
        """Add the metrics that only the estimates by another operator have.

        Args:
            other: The estimates of all metrics on the same examples. The metrics missing here
                use no operator, so their estimates hold for this one too.
        """
        return replace(
            self,
            metrics={**other.metrics, **self.metrics},
            means={**other.means, **self.means},
            gains={**other.gains, **self.gains},
        )

    def scalars(self) -> dict[str, float]:
        """Return every number by its logged key."""
        scores = {
            f"{name}/{method}": _score(estimate)
            for name, by_method in self.means.items()
            for method, estimate in by_method.items()
        }
        for name, gains in self.gains.items():
            for method, gain in gains.items():
                scores[f"{gain_name(name)}/{method}"] = _score(gain)
        scores |= {f"{name}/{CEILING}": _score(e) for name, e in self.ceilings.items()}
        for name in filter(self._partly_searched, self.ceilings):
            searched = {**self.searched[name], CEILING: self.ceilings[name]}
            scores |= {f"{searched_name(name)}/{who}": _score(e) for who, e in searched.items()}
        scores |= {f"{EMPTY}/{name}": score for name, score in self.empty.items()}
        numbers: dict[str, float] = {}
        for key, score in scores.items():
            if not isnan(score.mean):  # NaN: no example has this class
                numbers |= {key: score.mean, f"{key}_se": score.se}
        return numbers | {f"cost/{name}": cost for name, cost in self.costs.items()}

    def results(self, signed: Mapping[str, bool]) -> list[MethodResult]:
        """Return one row of the table for each method."""
        return [
            MethodResult(
                method=method,
                signed=sign,
                scores={name: _score(by_method[method]) for name, by_method in self.means.items()},
                gains={
                    name: _score(by_method[method]) if method in by_method else None
                    for name, by_method in self.gains.items()
                    if by_method
                },
                cost=self.costs.get(method, float("nan")),
                count=max(by_method[method].value_count for by_method in self.means.values()),
            )
            for method, sign in signed.items()
        ]

    def figures(self, control: str | None) -> Iterator[tuple[str, dict[Kind, list[Curve]], str]]:
        """Yield the curves to draw, with their 95 % bands: of each kind those of its first metric.

        The ceiling is among the curves of all examples if all of them were searched. If only some
        were, it is among the curves of these.

        Yields:
            The folder of the figures within the folder of the stage, the curves, and a note: first
            of all examples, then of the searched ones.
        """
        everywhere: dict[Kind, list[Curve]] = {}
        searched: dict[Kind, list[Curve]] = {}
        for name, metric in self.metrics.items():
            if isinstance(metric, CurveMetric) and metric.kind not in everywhere:
                curves = everywhere[metric.kind] = _curves(metric, self.means[name], control)
                if self._partly_searched(name):
                    curves = searched[metric.kind] = _curves(metric, self.searched[name], control)
                if name in self.ceilings and self.ceilings[name].value_count:
                    curves.append(_curve(CEILING, self.ceilings[name], metric, "ceiling"))
        yield "", everywhere, self._note()
        if searched:
            partly = filter(self._partly_searched, self.ceilings)
            count = max(self.ceilings[name].value_count for name in partly)
            yield "searched", searched, f"over the {count} texts\nthat were searched"

    def _partly_searched(self, name: str) -> bool:
        """Whether only some of the examples were searched for the limit of a metric."""
        return name in self.ceilings and 0 < self.ceilings[name].value_count < self.count

    def _note(self) -> str:
        """The probabilities of texts without their units, class by class."""
        means = [(n, s.mean) for n, s in self.empty.items() if not isnan(s.mean)]
        return "\n".join(["p of an empty text", *(f"{p:.2f}  {name}" for name, p in means)])


def estimates(
    table: Sequence[BatchValues],
    seconds: Sequence[Mapping[str | None, float]],
    metrics: Metrics,
    methods: Sequence[str],
    control: str | None,
    classes: Sequence[str],
) -> Estimates:
    """Compute means, gains, ceilings and costs from the values of all texts.

    Args:
        table: The values, batch by batch.
        seconds: For some batches the time of each method and, under None, of the plain forward.
        metrics: The metrics by name.
        methods: Names of the M methods.
        control: The name of the random control, if there is one.
        classes: Names of the C classes.
    """
    searched = torch.cat([part.searched for part in table]) if table else torch.zeros(0).bool()
    values = {
        name: _joined([part.values[name] for part in table], len(methods), 0, len(metric.columns))
        for name, metric in metrics.items()
    }
    ceilings = {
        name: _joined([part.ceilings[name] for part in table], 0, len(metric.columns))[searched]
        for name, metric in metrics.items()
        if metric.limit is not None
    }
    empty = mean_of(_joined([part.empty for part in table], 0, len(classes) + 1))
    pairs = zip(classes, empty.mean.tolist(), empty.se.tolist(), strict=False)
    return Estimates(
        metrics,
        {name: _means(methods, numbers) for name, numbers in values.items()},
        {
            name: _gains(methods, control, numbers[..., -1], metrics[name].higher_is_better)
            for name, numbers in values.items()
            if metrics[name].higher_is_better is not None
        },
        {name: mean_of(numbers) for name, numbers in ceilings.items()},
        {name: _means(methods, values[name][:, searched]) for name in ceilings},
        {name: Score(mean, se) for name, mean, se in pairs},
        _costs(methods, seconds),
        int(empty.counts[-1]),
    )


def _joined(parts: Sequence[Tensor], *shape: int) -> Tensor:
    """Join tensors (..., b, J) to one (..., B, J); without any, the result has ``shape``."""
    return torch.cat(list(parts), -2) if parts else torch.zeros(*shape, dtype=torch.float64)


def _means(methods: Sequence[str], values: Tensor) -> dict[str, Estimate]:
    return {name: mean_of(part) for name, part in zip(methods, values, strict=True)}


def _gains(
    methods: Sequence[str], control: str | None, values: Tensor, higher: bool | None
) -> dict[str, Estimate]:
    """The mean gain of each method over the control, from values (M, B)."""
    if control is None:
        return {}
    gains = (values - values[methods.index(control)]) * (1 if higher else -1)
    pairs = zip(methods, gains[..., None], strict=True)
    return {name: mean_of(gain) for name, gain in pairs if name != control}


def _costs(
    methods: Sequence[str], seconds: Sequence[Mapping[str | None, float]]
) -> dict[str, float]:
    plain = sum(batch[None] for batch in seconds)
    return {name: sum(batch[name] for batch in seconds) / plain for name in methods if plain > 0}


def searched_name(metric: str) -> str:
    """The name of a metric over the searched examples, where these are only some of all."""
    return f"{metric}_searched"


def _score(estimate: Estimate) -> Score:
    return Score(float(estimate.value), float(estimate.value_se))


def _curves(metric: CurveMetric, means: Mapping[str, Estimate], control: str | None) -> list[Curve]:
    return [
        _curve(method, estimate, metric, "floor" if method == control else "method")
        for method, estimate in means.items()
    ]


def _curve(name: str, estimate: Estimate, metric: CurveMetric, role: Role) -> Curve:
    mean = estimate.mean[:-1]
    band = Z95 * estimate.se[:-1].nan_to_num(0.0)
    ends = torch.stack([mean - band, mean + band], 1).clamp(0, 1).tolist()
    means = [Interval(p, *pair) for p, pair in zip(mean.tolist(), ends, strict=True)]
    return Curve(name, metric.grid.tolist(), means, float(estimate.value), role)
