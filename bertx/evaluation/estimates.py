"""What the table of values comes to: means, differences to the control and cost of every method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan

import torch
from torch import Tensor

from bertx.evaluation.table import CEILING, EMPTY, Measured, Metrics, joined
from bertx.metrics import CurveMetric, Estimate
from bertx.metrics.curve_metrics import Kind
from bertx.metrics.estimates import mean_of
from bertx.rendering import Curve, MethodResult, Score, gain_name
from bertx.rendering.curves import Role
from bertx.statistics.spread import Z95


@dataclass(frozen=True)
class Estimates:
    """What a table of values comes to.

    Attributes:
        metrics: The metrics.
        means: For each metric and method.
        gains: Likewise how much better a method is than the control, positive where it is; empty
            without a control.
        ceilings: For each metric that a search has a limit for, over the examples searched.
        searched: For each of these metrics and each method, over the same examples.
        empty: The probability of the explained class when nothing is left, class by class.
        costs: For each method, in forward-equivalents.
        count: Number of examples that were judged.
    """

    metrics: Metrics
    means: dict[str, dict[str, Estimate]]
    gains: dict[str, dict[str, Estimate]]
    ceilings: dict[str, Estimate]
    searched: dict[str, dict[str, Estimate]]
    empty: dict[str, Score]
    costs: dict[str, float]
    count: int

    def filled(self, other: "Estimates") -> "Estimates":
        """Estimates by one operator, and those of metrics that only another one's tally has.

        Args:
            other: What the tally of all metrics came to, on the same examples. What it alone has
                uses no operator, so that it holds for this one too.
        """
        return replace(
            self,
            metrics={**other.metrics, **self.metrics},
            means={**other.means, **self.means},
            gains={**other.gains, **self.gains},
        )

    def scalars(self) -> dict[str, float]:
        """Every number under the key by which it is logged."""
        scores = {
            f"{name}/{method}": _score(estimate)
            for name, by_method in self.means.items()
            for method, estimate in by_method.items()
        }
        for name, gains in self.gains.items():
            for method, gain in gains.items():
                scores[f"{gain_name(name)}/{method}"] = _score(gain)
        scores |= {f"{name}/{CEILING}": _score(e) for name, e in self.ceilings.items()}
        for name in filter(self._in_part, self.ceilings):
            searched = {**self.searched[name], CEILING: self.ceilings[name]}
            scores |= {f"{searched_name(name)}/{who}": _score(e) for who, e in searched.items()}
        scores |= {f"{EMPTY}/{name}": score for name, score in self.empty.items()}
        numbers: dict[str, float] = {}
        for key, score in scores.items():
            if not isnan(score.mean):  # of a class that no text has, there is nothing to say
                numbers |= {key: score.mean, f"{key}_se": score.se}
        return numbers | {f"cost/{name}": cost for name, cost in self.costs.items()}

    def results(self, signed: Mapping[str, bool]) -> list[MethodResult]:
        """One row a method for the table."""
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

    def drawn(self, control: str | None) -> dict[Kind, list[Curve]]:
        """The curves with their 95 % bands, for figures: of each kind those of its first metric.

        The ceiling is among them if all examples were searched; else it is in `drawn_searched`.
        """
        return {
            self._kind(name): self._lines(name, means, control, not self._in_part(name))
            for name, means in self._curves(self.means)
        }

    def drawn_searched(self, control: str | None) -> dict[Kind, list[Curve]]:
        """The same over the examples that were searched, where these are a part of all."""
        return {
            self._kind(name): self._lines(name, means, control, True)
            for name, means in self._curves(self.searched)
            if self._in_part(name)
        }

    def figures(self, control: str | None) -> Iterator[tuple[str, dict[Kind, list[Curve]], str]]:
        """What is drawn, with a note: of all examples, and of those that were searched.

        Returns:
            The folder of the figures within that of the stage, empty for the stage's own; the
            curves; the note.
        """
        yield "", self.drawn(control), self.note()
        counts = [self.ceilings[name].value_count for name in filter(self._in_part, self.ceilings)]
        if beside := self.drawn_searched(control):
            yield "searched", beside, f"over the {max(counts)} texts\nthat were searched"

    def _in_part(self, name: str) -> bool:
        """Whether some examples alone were searched for the best values of a metric."""
        return name in self.ceilings and 0 < self.ceilings[name].value_count < self.count

    def _curves(
        self, means: Mapping[str, dict[str, Estimate]]
    ) -> Iterator[tuple[str, dict[str, Estimate]]]:
        """The first metric of each kind of curve, with its means."""
        kinds = set[Kind]()
        for name, metric in self.metrics.items():
            if isinstance(metric, CurveMetric) and metric.kind not in kinds and name in means:
                kinds.add(metric.kind)
                yield name, means[name]

    def _kind(self, name: str) -> Kind:
        metric = self.metrics[name]
        assert isinstance(metric, CurveMetric)
        return metric.kind

    def _lines(
        self, name: str, means: Mapping[str, Estimate], control: str | None, limited: bool
    ) -> list[Curve]:
        metric = self.metrics[name]
        assert isinstance(metric, CurveMetric)
        lines = [
            _line(method, estimate, metric, "floor" if method == control else "method")
            for method, estimate in means.items()
        ]
        if limited and name in self.ceilings and self.ceilings[name].value_count:
            lines.append(_line(CEILING, self.ceilings[name], metric, "ceiling"))
        return lines

    def note(self) -> str:
        """What the model says of texts without their units, class by class."""
        means = [(n, s.mean) for n, s in self.empty.items() if not isnan(s.mean)]
        return "\n".join(["p of an empty text", *(f"{p:.2f}  {name}" for name, p in means)])


def estimates(
    table: Sequence[Measured],
    seconds: Sequence[Mapping[str | None, float]],
    metrics: Metrics,
    methods: Sequence[str],
    control: str | None,
    classes: Sequence[str],
) -> Estimates:
    """Means, gains, ceilings and costs from the values of all texts.

    Args:
        table: The values.
        seconds: For some batches the time of each method and, under None, of the plain forward.
        metrics: The metrics by name.
        methods: Names of the M methods.
        control: The one that the others are compared with, if any.
        classes: Names of the C classes.
    """
    searched = torch.cat([part.searched for part in table]) if table else torch.zeros(0).bool()
    values = {
        name: joined([part.values[name] for part in table], len(methods), 0, len(metric.columns))
        for name, metric in metrics.items()
    }
    ceilings = {
        name: joined([part.ceilings[name] for part in table], 0, len(metric.columns))[searched]
        for name, metric in metrics.items()
        if metric.limit is not None
    }
    empty = mean_of(joined([part.empty for part in table], 0, len(classes) + 1))
    pairs = zip(classes, empty.mean.tolist(), empty.se.tolist(), strict=False)
    return Estimates(
        metrics,
        {name: _means(methods, numbers) for name, numbers in values.items()},
        {
            name: _gains(methods, control, numbers[..., -1], metrics[name].higher_is_better)
            for name, numbers in values.items()
            if metrics[name].higher_is_better is not None
        },
        {name: mean_of(reached) for name, reached in ceilings.items()},
        {name: _means(methods, values[name][:, searched]) for name in ceilings},
        {name: Score(mean, se) for name, mean, se in pairs},
        _costs(methods, seconds),
        int(empty.counts[-1]),
    )


def _means(methods: Sequence[str], values: Tensor) -> dict[str, Estimate]:
    return {name: mean_of(part) for name, part in zip(methods, values, strict=True)}


def _gains(
    methods: Sequence[str], control: str | None, values: Tensor, higher: bool | None
) -> dict[str, Estimate]:
    """How much better each method is than the control, of values (M, B)."""
    if control is None:
        return {}
    apart = (values - values[methods.index(control)]) * (1 if higher else -1)
    pairs = zip(methods, apart[..., None], strict=True)
    return {name: mean_of(part) for name, part in pairs if name != control}


def _costs(
    methods: Sequence[str], seconds: Sequence[Mapping[str | None, float]]
) -> dict[str, float]:
    plain = sum(batch[None] for batch in seconds)
    return {name: sum(batch[name] for batch in seconds) / plain for name in methods if plain > 0}


def searched_name(metric: str) -> str:
    """What a metric is called over the examples that were searched, where these are a part."""
    return f"{metric}_searched"


def _score(estimate: Estimate) -> Score:
    return Score(float(estimate.value), float(estimate.value_se))


def _line(name: str, estimate: Estimate, metric: CurveMetric, role: Role) -> Curve:
    mean = estimate.mean[:-1]
    band = Z95 * estimate.se[:-1].nan_to_num(0.0)
    return Curve(
        name=name,
        fractions=metric.grid.tolist(),
        mean=mean.tolist(),
        low=(mean - band).clamp(0, 1).tolist(),
        high=(mean + band).clamp(0, 1).tolist(),
        auc=float(estimate.value),
        role=role,
    )
