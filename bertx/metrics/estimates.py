"""Means with standard errors from additive sums: exact for any batches and across processes.

Sums of a value and of its square over examples are all the state there is, so that results are
exact for batches of any sizes and across processes, and cost a few numbers of memory.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

# Apple's devices have no float64.
PRECISION = torch.float32 if torch.backends.mps.is_available() else torch.float64


class Estimate(NamedTuple):
    """Means over examples of the J values that a metric has for each of them.

    Where J is 1, torchmetrics makes scalars of all three.

    Attributes:
        mean: Mean of each value (J,); NaN if no example has it.
        se: Its standard error (J,), the examples' standard deviation (n - 1) / sqrt(n); NaN for
            fewer than two examples.
        counts: Number of examples that have each value (J,).
    """

    mean: Tensor
    se: Tensor
    counts: Tensor

    @property
    def value(self) -> Tensor:
        """Mean of the last value, which is the metric's number."""
        return self.mean.flatten()[-1]

    @property
    def value_se(self) -> Tensor:
        """Its standard error."""
        return self.se.flatten()[-1]

    @property
    def value_count(self) -> int:
        """The number of examples that have it."""
        return int(self.counts.flatten()[-1])


def mean_of(values: Tensor) -> Estimate:
    """The means of values (N, J) of N examples; NaN marks an example without one."""
    exact = values.detach().to(torch.float64)
    counts = (~exact.isnan()).sum(0).to(torch.float64)
    mean = exact.nansum(0) / counts
    squares = (exact - mean).square().nansum(0)
    return Estimate(mean, (squares / (counts - 1) / counts).sqrt(), counts)


class MeanMetric(Metric):
    """Mean and standard error over examples of J values; NaN marks an example without one.

    The one state (3, J), the sums of the values' powers 0, 1 and 2, bears a name of its own in
    every subclass: `MetricCollection` would else take metrics with equal sums for one.
    """

    is_differentiable = False
    full_state_update = False
    state: ClassVar[str]

    def __init__(self, width: int) -> None:
        super().__init__()
        zeros = torch.zeros(3, width, dtype=PRECISION)
        self.add_state(self.state, zeros, dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add the values (B, J) of B examples."""
        values = values.detach().to(PRECISION)
        valid = ~values.isnan()
        powers = torch.stack([valid.to(PRECISION), values, values.square()])
        # Out of place: a state that was reset in inference mode must not be changed outside it.
        total = powers.masked_fill(~valid, 0).sum(1).to(getattr(self, self.state).device)
        setattr(self, self.state, getattr(self, self.state) + total)

    def estimate(self) -> Estimate:
        """The means of all examples so far."""
        counts, total, squares = getattr(self, self.state)
        mean = total / counts
        variance = (squares - total * mean).clamp(min=0) / (counts - 1)
        return Estimate(mean, (variance / counts).sqrt(), counts)
