"""The metrics of one epoch: curves, differences to the control and cost of every method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import SumMetric

from bertx.faithfulness import (
    Z95,
    CurveEstimate,
    DeletionCurve,
    Difference,
    InsertionCurve,
    PairedDifference,
    area,
    fractions,
)
from bertx.report import Curve, MethodResult

Kind = Literal["deletion", "insertion"]
METRICS: dict[Kind, type[DeletionCurve] | type[InsertionCurve]] = {
    "deletion": DeletionCurve,
    "insertion": InsertionCurve,
}


@dataclass(frozen=True)
class Estimates:
    """What a tally came to, equal on all ranks.

    Attributes:
        curves: For each kind and method.
        gains: For each method, the control's deletion AUC minus its own; empty without a control.
        costs: For each method, in forward-equivalents.
        grid: Fractions of the curves' points (K,).
    """

    curves: dict[Kind, dict[str, CurveEstimate]]
    gains: dict[str, Difference]
    costs: dict[str, float]
    grid: Tensor

    @property
    def count(self) -> int:
        """Number of examples."""
        return int(next(iter(self.curves["deletion"].values())).count)

    def scalars(self) -> dict[str, float]:
        """Every number under the key by which it is logged."""
        numbers: dict[str, float] = {}
        for kind, estimates in self.curves.items():
            for name, estimate in estimates.items():
                numbers[f"{kind}_auc/{name}"] = float(estimate.auc)
                numbers[f"{kind}_auc/{name}_se"] = float(estimate.auc_se)
        for name, gain in self.gains.items():
            numbers[f"deletion_gain/{name}"] = float(gain.mean)
            numbers[f"deletion_gain/{name}_se"] = float(gain.se)
        return numbers | {f"cost/{name}": cost for name, cost in self.costs.items()}

    def results(self, signed: Mapping[str, bool]) -> list[MethodResult]:
        """One row a method for the table."""
        return [
            MethodResult(
                method=name,
                signed=signed[name],
                deletion_auc=float(deletion.auc),
                deletion_se=float(deletion.auc_se),
                insertion_auc=float(self.curves["insertion"][name].auc),
                insertion_se=float(self.curves["insertion"][name].auc_se),
                gain=float(self.gains[name].mean) if name in self.gains else None,
                gain_se=float(self.gains[name].se) if name in self.gains else None,
                cost=self.costs[name],
                count=self.count,
            )
            for name, deletion in self.curves["deletion"].items()
        ]

    def drawn(self, control: str | None) -> dict[Kind, list[Curve]]:
        """The curves with their 95 % bands, for figures."""
        return {
            kind: [self._draw(name, mean, name == control) for name, mean in estimates.items()]
            for kind, estimates in self.curves.items()
        }

    def _draw(self, name: str, estimate: CurveEstimate, control: bool) -> Curve:
        band = Z95 * estimate.curve_se.nan_to_num(0.0)
        return Curve(
            name=name,
            fractions=self.grid.tolist(),
            mean=estimate.curve.tolist(),
            low=(estimate.curve - band).clamp(0, 1).tolist(),
            high=(estimate.curve + band).clamp(0, 1).tolist(),
            auc=float(estimate.auc),
            control=control,
        )


class Tally:
    """Adds up what the chunks of one epoch show.

    Args:
        methods: Names of the M methods.
        control: The one that the others are compared with, if any.
        points: Number of points of a curve.
        device: Where the sums live, which is where they are exchanged between ranks.
    """

    def __init__(
        self, methods: list[str], control: str | None, points: int, device: torch.device
    ) -> None:
        self._control = control
        self._grid = fractions(points)
        self._curves = {
            kind: {name: metric(points).to(device) for name in methods}
            for kind, metric in METRICS.items()
        }
        rivals = [name for name in methods if control is not None and name != control]
        self._gains = {name: PairedDifference().to(device) for name in rivals}
        timed = (None, *methods)
        self._seconds = {name: SumMetric(nan_strategy="ignore").to(device) for name in timed}

    def add(self, deletion: Tensor, insertion: Tensor) -> None:
        """Add the curves (M, B, K) of B examples."""
        values: dict[Kind, Tensor] = {"deletion": deletion, "insertion": insertion}
        for kind, metrics in self._curves.items():
            for metric, curve in zip(metrics.values(), values[kind], strict=True):
                metric.update(curve)
        areas = dict(zip(self._curves["deletion"], area(deletion, self._grid), strict=True))
        for name, gain in self._gains.items():
            gain.update(areas[str(self._control)], areas[name])

    def add_cost(self, seconds: Mapping[str | None, float]) -> None:
        """Add the time of each method and, under None, of the plain forward."""
        for name, metric in self._seconds.items():
            metric.update(seconds[name])

    def compute(self) -> Estimates:
        """Reduce over all ranks; a collective call."""
        plain = float(self._seconds[None].compute())
        costs = {
            name: float(metric.compute()) / plain
            for name, metric in self._seconds.items()
            if name is not None and plain
        }
        curves = {
            kind: {name: metric.compute() for name, metric in metrics.items()}
            for kind, metrics in self._curves.items()
        }
        gains = {name: metric.compute() for name, metric in self._gains.items()}
        return Estimates(curves, gains, costs, self._grid)
