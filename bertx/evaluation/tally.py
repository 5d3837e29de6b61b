"""The metrics of one epoch: means, differences to the control and cost of every method."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isnan
from typing import TypeVar

import torch
from torch import Tensor

from bertx.metrics import (
    Z95,
    CurveMetric,
    Difference,
    Estimate,
    FaithfulnessMetric,
    FullyPerturbed,
    PairedDifference,
)
from bertx.metrics.curve_metrics import Kind
from bertx.metrics.estimates import PRECISION, MeanMetric
from bertx.rendering import Curve, MethodResult, Score, gain_name
from bertx.rendering.curves import Role

Metrics = Mapping[str, FaithfulnessMetric]
CEILING = "ceiling"
"""The name under which the search that shows what can be reached is logged."""
EMPTY = "fully_perturbed"
"""The name under which the probability of a text without its units is logged."""

M = TypeVar("M", bound=MeanMetric)


@dataclass(frozen=True)
class Estimates:
    """What a tally came to, equal on all ranks unless it is local.

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
    gains: dict[str, dict[str, Difference]]
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
            for name, own in self.means.items()
            for method, estimate in own.items()
        }
        for name, gains in self.gains.items():
            for method, gain in gains.items():
                scores[f"{gain_name(name)}/{method}"] = _gain(gain)
        scores |= {f"{name}/{CEILING}": _score(e) for name, e in self.ceilings.items()}
        for name in filter(self._in_part, self.ceilings):
            own = {**self.searched[name], CEILING: self.ceilings[name]}
            scores |= {f"{searched_name(name)}/{who}": _score(e) for who, e in own.items()}
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
                scores={name: _score(own[method]) for name, own in self.means.items()},
                gains={
                    name: _gain(own[method]) if method in own else None
                    for name, own in self.gains.items()
                    if own
                },
                cost=self.costs.get(method, float("nan")),
                count=max(own[method].value_count for own in self.means.values()),
            )
            for method, sign in signed.items()
        ]

    def drawn(self, control: str | None) -> dict[Kind, list[Curve]]:
        """The curves with their 95 % bands, for figures: of each kind those of its first metric.

        The ceiling is among them if all examples were searched; else it is in `drawn_searched`.
        """
        return {
            self._kind(name): self._lines(name, own, control, not self._in_part(name))
            for name, own in self._curves(self.means)
        }

    def drawn_searched(self, control: str | None) -> dict[Kind, list[Curve]]:
        """The same over the examples that were searched, where these are a part of all."""
        return {
            self._kind(name): self._lines(name, own, control, True)
            for name, own in self._curves(self.searched)
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
        known = [(n, s.mean) for n, s in self.empty.items() if not isnan(s.mean)]
        return "\n".join(["p of an empty text", *(f"{p:.2f}  {name}" for name, p in known)])


class Tally:
    """Adds up what the chunks of one epoch show.

    Args:
        methods: Names of the M methods.
        control: The one that the others are compared with, if any.
        metrics: The metrics; they are copied.
        classes: Names of the classes.
        device: Where the sums live, which is where they are exchanged between ranks.
        local: Whether the sums are of this process alone, whatever others do.
    """

    def __init__(
        self,
        methods: list[str],
        control: str | None,
        metrics: Metrics,
        classes: list[str],
        device: torch.device,
        local: bool = False,
    ) -> None:
        def ready(metric: M) -> M:
            metric.to(device)
            metric.reset()
            if local:
                metric.distributed_available_fn = lambda: False
            return metric

        def fresh(metric: FaithfulnessMetric) -> FaithfulnessMetric:
            return ready(deepcopy(metric))

        self.metrics = metrics
        self._methods, self._control = methods, control
        self._means = {n: {m: fresh(metric) for m in methods} for n, metric in metrics.items()}
        rivals = [name for name in methods if control is not None and name != control]
        self._gains = {
            name: {rival: ready(PairedDifference()) for rival in rivals}
            for name, metric in metrics.items()
            if metric.higher_is_better is not None
        }
        self._ceilings = {n: fresh(m) for n, m in metrics.items() if m.limit is not None}
        self._searched = {n: {m: fresh(metrics[n]) for m in methods} for n in self._ceilings}
        self._empty = ready(FullyPerturbed(classes))
        self._seconds = ready(_Seconds(1 + len(methods)))

    def add(self, values: Mapping[str, Tensor], empty: Tensor) -> None:
        """Add values (M, B, J) by metric, and those of fully perturbed texts (B, C + 1)."""
        for name, own in self._means.items():
            for metric, part in zip(own.values(), values[name], strict=True):
                metric.update(part)
        for name, gains in self._gains.items():
            last = dict(zip(self._methods, values[name][..., -1], strict=True))
            control = last.get(str(self._control))
            for method, gain in gains.items():
                pair = (last[method], control) if self._higher(name) else (control, last[method])
                gain.update(*pair)
        self._empty.update(empty)

    def add_ceiling(self, name: str, values: Tensor, others: Tensor) -> None:
        """Add the values (B, J) that the search reaches, and those of the methods (M, B, J)."""
        self._ceilings[name].update(values)
        for metric, part in zip(self._searched[name].values(), others, strict=True):
            metric.update(part)

    def add_cost(self, seconds: Mapping[str | None, float]) -> None:
        """Add the time of each method and, under None, of the plain forward."""
        self._seconds.update([seconds[name] for name in (None, *self._methods)])

    def compute(self) -> Estimates:
        """Reduce over all ranks, a collective call; not if the tally is local."""
        with warnings.catch_warnings():  # a rank may have seen no example
            warnings.filterwarnings("ignore", ".*before the ``update`` method")
            return self._compute()

    def _compute(self) -> Estimates:
        plain, *own = self._seconds.compute().mean.tolist()
        costs = {n: spent / plain for n, spent in zip(self._methods, own, strict=True) if plain > 0}
        empty = self._empty.compute()
        pairs = zip(self._empty.columns, empty.mean.tolist(), empty.se.tolist(), strict=True)
        return Estimates(
            self.metrics,
            {n: {m: k.compute() for m, k in own.items()} for n, own in self._means.items()},
            {n: {m: k.compute() for m, k in own.items()} for n, own in self._gains.items()},
            {name: metric.compute() for name, metric in self._ceilings.items()},
            {n: {m: k.compute() for m, k in own.items()} for n, own in self._searched.items()},
            {name: Score(mean, se) for name, mean, se in list(pairs)[:-1]},
            costs,
            int(empty.counts[-1]),
        )

    def _higher(self, name: str) -> bool:
        return bool(self.metrics[name].higher_is_better)


class _Seconds(MeanMetric):
    """Mean times over chunks, in float64 whatever precision the run has."""

    higher_is_better = None
    state = "seconds_sums"

    def update(self, seconds: Sequence[float]) -> None:
        """Add the times of one chunk."""
        self.add(torch.tensor([seconds], dtype=PRECISION))

    def compute(self) -> Estimate:
        """The means."""
        return self.estimate()


def searched_name(metric: str) -> str:
    """What a metric is called over the examples that were searched, where these are a part."""
    return f"{metric}_searched"


def _score(estimate: Estimate) -> Score:
    return Score(float(estimate.value), float(estimate.value_se))


def _gain(gain: Difference) -> Score:
    return Score(float(gain.mean), float(gain.se))


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
