"""Agreement: do two explanations of the same texts rank the same units first?

Two methods, two models of different seeds, two epochs: whatever gives unit scores for the same
texts. A measure takes two of them and which places are units of a text, (B, U) each, and gives a
number for each text, NaN where it has none. Scores with a sign and scores without one disagree for
that reason alone: compare signed with signed, or absolute values with unsigned scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.curves import ranks
from bertx.metrics.estimates import PRECISION, Estimate, MeanMetric

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From scores, scores and which places are units, (B, U) each, to agreement (B,).

`bertx.metrics.ranking.spearman`, `bertx.metrics.ranking.kendall`, a `TopKOverlap`.
"""


def top_k_overlap(a: Tensor, b: Tensor, mask: Tensor, k: int) -> Tensor:
    """Share of the k highest ranked units that two explanations have in common.

    Args:
        a: Unit scores (B, U), finite; of equal ones the unit further left comes first.
        b: The other scores (B, U).
        mask: Which places are units (B, U), those from the left.
        k: Number of units that are looked at, the same for all texts.

    Returns:
        |top k of a and of b| / k in [0, 1]; NaN for texts of k units or fewer, where it says
        nothing (B,).

    Raises:
        InputError: If k is below 1.

    References:
        The Disagreement Problem in Explainable Machine Learning (Krishna et al., 2022),
        https://arxiv.org/abs/2202.01602, Section 3: feature agreement.

    Examples:
        >>> a, b = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 2.0]])
        >>> top_k_overlap(a, b, torch.ones(1, 3, dtype=torch.bool), k=2)
        tensor([0.5000], dtype=torch.float64)
    """
    if k < 1:
        raise InputError(f"k must be at least 1 (the highest ranked unit alone), got {k}")
    counts = mask.sum(1)
    both = (ranks(a, counts) < k) & (ranks(b, counts) < k)
    return (both.sum(1).to(PRECISION) / k).masked_fill(counts <= k, torch.nan)


@dataclass(frozen=True)
class TopKOverlap:
    """`top_k_overlap` as a measure.

    Attributes:
        k: Number of units that are looked at.
    """

    k: int = 3

    def __call__(self, a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
        """Share of the k highest ranked units that both have (B,)."""
        return top_k_overlap(a, b, mask, self.k)


def apply_measure(a: Tensor, b: Tensor, mask: Tensor, measure: Measure) -> Tensor:
    """The measure (B,), in float64 where there is one; NaN where a score (B, U) is not finite."""
    finite = ((a.isfinite() & b.isfinite()) | ~mask).all(1)
    used = mask & finite[:, None]
    return measure(a.where(used, 0), b.where(used, 0), mask).to(PRECISION).where(finite, torch.nan)


def agreement(scores: Tensor, mask: Tensor, measure: Measure) -> Tensor:
    """How far each two of M explanations agree on each text.

    Args:
        scores: Unit scores of each explanation (M, B, U).
        mask: Which places are units (B, U), those from the left.
        measure: What compares two, in either order.

    Returns:
        (B, M, M), symmetric; NaN where the measure has no value or scores are not finite.
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
    """Mean agreement of each two of M explanations over texts, with standard errors.

    Higher is not better: two explanations may agree and be wrong. In a `MetricCollection`, give
    several measures ``compute_groups=False``: they have the same state where they agree.

    Args:
        names: Names of the M explanations, two or more: methods, seeds or epochs.
        measure: What compares two.

    Attributes:
        names: The names.
        measure: The measure.

    Raises:
        InputError: If there are fewer than two names, or one of them twice.

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
    state = "agreement_sums"

    def __init__(self, names: Sequence[str], measure: Measure) -> None:
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(f"Agreement: expected two names or more, each once, got {[*names]}")
        super().__init__(len(names) ** 2)
        self.names = tuple(names)
        self.measure = measure

    def update(self, scores: Tensor, mask: Tensor) -> None:
        """Add B texts: unit scores of each explanation (M, B, U), which places are units (B, U).

        Raises:
            InputError: If there are not M explanations of these texts.
        """
        if scores.shape != (len(self.names), *mask.shape):
            raise InputError(
                f"Agreement: expected scores of shape (M, B, U), M = {len(self.names)} for "
                f"{', '.join(self.names)}, and which places are units (B, U); got "
                f"{tuple(scores.shape)} and {tuple(mask.shape)}."
            )
        self.add(agreement(scores, mask, self.measure).flatten(1))

    def compute(self) -> Estimate:
        """Means, standard errors and counts of all texts so far, (M, M) each."""
        pairs = (len(self.names), len(self.names))
        return Estimate(*(part.unflatten(0, pairs) for part in self.estimate()))
