"""Means over examples with standard errors, from additive sums.

The only state is the number of values, their sum and the sum of their squares. Results are
therefore exact for batches of any size and across processes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

# Apple's devices have no float64.
PRECISION = torch.float32 if torch.backends.mps.is_available() else torch.float64


class Estimate(NamedTuple):
    """Means over examples of the J values of a metric.

    If J is 1, torchmetrics squeezes all three tensors to scalars.

    Attributes:
        mean: Mean of each value (J,); NaN if no example has the value.
        se: Standard error of each mean (J,): the sample standard deviation, with n - 1 in the
            denominator, divided by sqrt(n). NaN for fewer than two examples.
        counts: Number n of examples that have each value (J,).
    """

    mean: Tensor
    se: Tensor
    counts: Tensor

    @property
    def value(self) -> Tensor:
        """Mean of the last value, the metric's number."""
        return self.mean.flatten()[-1]

    @property
    def value_se(self) -> Tensor:
        """Standard error of `value`."""
        return self.se.flatten()[-1]

    @property
    def value_count(self) -> int:
        """Number of examples in `value`."""
        return int(self.counts.flatten()[-1])


def mean_of(values: Tensor) -> Estimate:
    """Return the means of values (N, J) over N examples, ignoring NaN."""
    exact = values.detach().to(torch.float64)
    counts = (~exact.isnan()).sum(0).to(torch.float64)
    mean = exact.nansum(0) / counts
    squares = (exact - mean).square().nansum(0)
    return Estimate(mean, (squares / (counts - 1) / counts).sqrt(), counts)


class MeanMetric(Metric):
    """Mean and standard error over examples of J values; NaN marks an example without a value.

    The single state (3, J) holds the sums of the values' powers 0, 1 and 2. It is named after the
    class, because `MetricCollection` merges metrics whose states have equal names and values.

    Args:
        width: J, the number of values of an example.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self._sums = f"{type(self).__name__}_sums"
        zeros = torch.zeros(3, width, dtype=PRECISION)
        self.add_state(self._sums, zeros, dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add the values (B, J) of B examples."""
        values = values.detach().to(PRECISION)
        valid = ~values.isnan()
        powers = torch.stack([valid.to(PRECISION), values, values.square()])
        # Out of place: a state that was reset in inference mode must not be changed outside it.
        total = powers.masked_fill(~valid, 0).sum(1).to(getattr(self, self._sums).device)
        setattr(self, self._sums, getattr(self, self._sums) + total)

    def estimate(self) -> Estimate:
        """Return means and standard errors over all examples so far."""
        counts, total, squares = getattr(self, self._sums)
        mean = total / counts
        variance = (squares - total * mean).clamp(min=0) / (counts - 1)
        return Estimate(mean, (variance / counts).sqrt(), counts)
