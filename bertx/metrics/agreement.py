"""Agreement: whether two explanations of the same texts rank the same units first.

The explanations may come from two methods, two models trained from different seeds, or two epochs.
A measure compares two sets of unit scores (B, U), given a mask of the units of each text (B, U). It
returns one number for each text (B,), NaN where it is not defined. Signed and unsigned scores
disagree merely because of the sign. Compare signed methods with signed ones, or absolute values
with unsigned scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.curves import ranks
from bertx.metrics.estimates import PRECISION, Estimate, MeanMetric

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From two sets of scores and the mask of units, (B, U) each, to agreement (B,).

`bertx.metrics.ranking.spearman`, `bertx.metrics.ranking.kendall` or a `TopKOverlap`.
"""


def top_k_overlap(a: Tensor, b: Tensor, mask: Tensor, k: int) -> Tensor:
    """Return the share of the k highest ranked units that two explanations have in common.

    Args:
        a: Unit scores (B, U), finite. Among equal scores the leftmost unit comes first.
        b: Other scores of the same units (B, U).
        mask: True for the units of a text (B, U), at the left.
        k: Number of units to compare, the same for all texts.

    Returns:
        |top k of a and of b| / k in [0, 1] (B,); NaN for texts with k units or fewer, whose overlap
        is always 1.

    Raises:
        InputError: If ``k`` is less than 1.

    References:
        The Disagreement Problem in Explainable Machine Learning (Krishna et al., 2022),
        https://arxiv.org/abs/2202.01602, Section 3: feature agreement.

    Examples:
        >>> a, b = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]])
        >>> top_k_overlap(a, b, torch.ones(1, 3, dtype=torch.bool), k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    check_positive(k=k)
    counts = mask.sum(1)
    both = (ranks(a, counts) < k) & (ranks(b, counts) < k)
    return (both.sum(1).to(PRECISION) / k).masked_fill(counts <= k, torch.nan)


@dataclass(frozen=True)
class TopKOverlap:
    """`top_k_overlap` as a measure.

    Attributes:
        k: Number of units to compare.
    """

    k: int = 3

    def __call__(self, a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
        """Return the share of the k highest ranked units in common (B,)."""
        return top_k_overlap(a, b, mask, self.k)


def apply_measure(a: Tensor, b: Tensor, mask: Tensor, measure: Measure) -> Tensor:
    """Compute a measure (B,) in `PRECISION`; NaN for texts whose scores (B, U) are not finite."""
    finite = ((a.isfinite() & b.isfinite()) | ~mask).all(1)
    used = mask & finite[:, None]
    return measure(a.where(used, 0), b.where(used, 0), mask).to(PRECISION).where(finite, torch.nan)


def agreement(scores: Tensor, mask: Tensor, measure: Measure) -> Tensor:
    """Compare every pair of M explanations on each text.

    Args:
        scores: Unit scores of each explanation (M, B, U).
        mask: True for the units of a text (B, U), at the left.
        measure: A symmetric measure.

    Returns:
        (B, M, M), symmetric; NaN where the measure is not defined or scores are not finite.
    """
    number = len(scores)
    values = torch.full((mask.shape[0], number, number), torch.nan, dtype=PRECISION)
    values = values.to(scores.device)
    for i in range(number):
        for j in range(i + 1):
            pair = apply_measure(scores[i], scores[j], mask, measure)
            values[:, i, j] = values[:, j, i] = pair
    return values


class Agreement(MeanMetric):
    """Mean agreement over texts of every pair of M explanations, with standard errors.

    An (M, M) matrix in the range of the measure. Higher is not better: two explanations may agree
    and both be wrong. In a `MetricCollection` with several measures, pass
    ``compute_groups=False``, because torchmetrics merges metrics whose states happen to be equal.

    Args:
        names: Names of the M explanations, two or more: methods, seeds or epochs.
        measure: A symmetric measure, such as `TopKOverlap` or `bertx.metrics.spearman`.

    Raises:
        InputError: If there are fewer than two names, or a name is repeated.

    References:
        Order in the Court: Explainable AI Methods Prone to Disagreement (Neely et al., 2021),
        https://arxiv.org/abs/2105.03287.

    Examples:
        >>> metric = Agreement(["a", "b"], TopKOverlap(k=1))
        >>> scores = torch.tensor([[[3.0, 2.0], [1.0, 2.0]], [[2.0, 1.0], [2.0, 1.0]]])
        >>> metric.update(scores, torch.ones(2, 2, dtype=torch.bool))
        >>> metric.compute().mean
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]], dtype=torch.float64)
    """

    higher_is_better = None

    def __init__(self, names: Sequence[str], measure: Measure) -> None:
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"Agreement: expected two names or more, each once, got {[*names]}")
        super().__init__(len(names) ** 2)
        self.names = tuple(names)
        self.measure = measure

    def update(self, scores: Tensor, mask: Tensor) -> None:
        """Add B texts.

        Args:
            scores: Unit scores of each explanation (M, B, U).
            mask: True for the units of a text (B, U), at the left.

        Raises:
            InputError: If ``scores`` does not have this shape.
        """
        if scores.shape != (len(self.names), *mask.shape):
            raise InputError(
                f"Agreement: expected scores of shape (M, B, U), M = {len(self.names)} for "
                f"{', '.join(self.names)}, and a mask of the units (B, U); got "
                f"{tuple(scores.shape)} and {tuple(mask.shape)}."
            )
        self.add(agreement(scores, mask, self.measure).flatten(1))

    def compute(self) -> Estimate:
        """Return means, standard errors and counts over all texts so far, (M, M) each."""
        pairs = (len(self.names), len(self.names))
        return Estimate(*(part.unflatten(0, pairs) for part in self.estimate()))
