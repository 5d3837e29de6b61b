"""The curves of a data set as torchmetrics: means with standard errors from additive sums.

Sums of a value and of its square over examples are all the state there is, so that results are
exact for batches of any sizes and across processes, and cost a few numbers of memory.
"""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from bertx.errors import InputError
from bertx.faithfulness.curves import area, fractions

Z95 = 1.96
"""Standard errors to either side of a mean that make a 95 % interval."""

# Apple's devices have no float64.
_PRECISION = torch.float32 if torch.backends.mps.is_available() else torch.float64


class CurveEstimate(NamedTuple):
    """The mean curve of a data set.

    Attributes:
        curve: Mean probability of the explained class at each point, in [0, 1] (K,).
        curve_se: Its standard error (K,), the examples' standard deviation (n - 1) / sqrt(n); NaN
            for fewer than two examples.
        auc: Mean area under the examples' curves, in [0, 1].
        auc_se: Its standard error, likewise.
        count: Number of examples n.
    """

    curve: Tensor
    curve_se: Tensor
    auc: Tensor
    auc_se: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count


class Difference(NamedTuple):
    """The mean of a paired difference.

    Attributes:
        mean: Mean of a - b over examples.
        se: Its standard error; NaN for fewer than two examples.
        count: Number of examples.
    """

    mean: Tensor
    se: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the 95 % interval; False where there is none."""
        return bool(self.mean.abs() > Z95 * self.se)


class _Mean(Metric):
    """Mean and standard error over examples of J values that each of them has.

    The one state (3, J), the sums of the values' powers 0, 1 and 2, bears a name of its own in
    every subclass: `MetricCollection` would else take metrics with equal sums for one.
    """

    is_differentiable = False
    full_state_update = False
    state: ClassVar[str]

    def __init__(self, width: int) -> None:
        super().__init__()
        zeros = torch.zeros(3, width, dtype=_PRECISION)
        self.add_state(self.state, zeros, dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        """Add the values (B, J) of B examples."""
        values = values.detach().to(_PRECISION)
        powers = torch.stack([torch.ones_like(values), values, values.square()])
        # Out of place: a state that was reset in inference mode must not be changed outside it.
        setattr(self, self.state, getattr(self, self.state) + powers.sum(1))

    def _estimate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (J,), standard error (J,) and number of examples."""
        count, total, squares = getattr(self, self.state)
        mean = total / count
        variance = (squares - total * mean).clamp(min=0) / (count - 1)
        return mean, (variance / count).sqrt(), count[0]


class _Curve(_Mean):
    def __init__(self, points: int = 11) -> None:
        grid = fractions(points)
        super().__init__(points + 1)
        self.points = points
        self._grid = grid

    def update(self, curves: Tensor) -> None:
        """Add the curves of B examples.

        Args:
            curves: Probabilities of the explained class (B, K).

        Raises:
            InputError: If the curves have another number of points.
        """
        if curves.ndim != 2 or curves.shape[1] != self.points:
            raise InputError(
                f"expected curves of shape (B, {self.points}), got {tuple(curves.shape)}. "
                f"Give {type(self).__name__}(points=...) the points of the curves."
            )
        curves = curves.to(_PRECISION)
        self._add(torch.cat([curves, area(curves, self._grid)[:, None]], 1))

    def compute(self) -> CurveEstimate:
        """The mean curve and area of all examples so far; NaN if there were none."""
        mean, se, count = self._estimate()
        return CurveEstimate(mean[:-1], se[:-1], mean[-1], se[-1], count)


class DeletionCurve(_Curve):
    """Mean probability of the class while the highest ranked units are deleted, and its area.

    In [0, 1]; lower is better: a faithful ranking deletes first what the class rests on. Update
    with what `deletion_curve` returns.

    Args:
        points: K, the number of points of the curves.

    References:
        RISE (Petsiuk et al., 2018), https://arxiv.org/abs/1806.07421.
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196.

    Examples:
        >>> metric = DeletionCurve(points=3)
        >>> metric.update(torch.tensor([[1.0, 0.2, 0.0], [0.8, 0.4, 0.4]]))
        >>> round(metric.compute().auc.item(), 3)
        0.425
    """

    higher_is_better = False
    state = "deletion_sums"


class InsertionCurve(_Curve):
    """Mean probability of the class while the highest ranked units are inserted, and its area.

    In [0, 1]; higher is better: a faithful ranking brings first what the class rests on. Update
    with what `insertion_curve` returns.

    Args:
        points: K, the number of points of the curves.

    References:
        RISE (Petsiuk et al., 2018), https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True
    state = "insertion_sums"


class PairedDifference(_Mean):
    """Mean difference of two values of the same examples, such as the areas of two methods.

    Pairing takes out what makes one example easier than another, so that far fewer examples tell
    two methods apart than their own intervals suggest.

    Examples:
        >>> metric = PairedDifference()
        >>> metric.update(torch.tensor([0.9, 0.5, 0.7]), torch.tensor([0.6, 0.3, 0.4]))
        >>> metric.compute().excludes_zero
        True
    """

    higher_is_better = None
    state = "difference_sums"

    def __init__(self) -> None:
        super().__init__(1)

    def update(self, a: Tensor, b: Tensor) -> None:
        """Add a - b for the values (B,) of B examples."""
        self._add((a.to(_PRECISION) - b.to(_PRECISION))[:, None])

    def compute(self) -> Difference:
        """The mean of all differences so far; NaN if there were none."""
        mean, se, count = self._estimate()
        return Difference(mean[0], se[0], count)
