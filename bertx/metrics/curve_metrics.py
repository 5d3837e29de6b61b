"""Deletion and insertion curves as metrics, and the prediction for fully perturbed texts."""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bertx.metrics.base import FaithfulnessMetric, Ranking, target_probabilities
from bertx.metrics.curves import area, deletion_masks, fractions, insertion_masks

Kind = Literal["deletion", "insertion"]


class CurveMetric(FaithfulnessMetric):
    """Probability of the explained class at K fractions of changed units, and the area under it.

    Args:
        points: K, the number of points of the curve.

    Attributes:
        kind: Whether units are deleted or inserted.
        grid: The fractions (K,).

    Raises:
        InputError: If there are fewer than two points.
    """

    kind: ClassVar[Kind]

    def __init__(self, points: int = 11) -> None:
        self.grid = fractions(points)
        super().__init__([*(f"p@{100 * f:.3g}%" for f in self.grid.tolist()), "auc"])
        self.points = points

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """Return the units kept at each point (B, K, U)."""

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the curve and its area (B, K + 1)."""
        return with_area(target_probabilities(ranking, probabilities), self.grid)


class DeletionCurve(CurveMetric):
    """Probability p_c while the highest ranked units are deleted, and the area under the curve.

    AUC = ∫ p_c(x without the top fraction f) df over [0, 1], by the trapezoidal rule. In [0, 1];
    lower is better: a faithful ranking first deletes the units on which the class depends.

    Args:
        points: K, the number of points of the curve.

    Raises:
        InputError: If there are fewer than two points.

    References:
        RISE (Petsiuk et al., 2018), https://arxiv.org/abs/1806.07421.
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196.

    Examples:
        >>> metric = DeletionCurve(points=3)
        >>> curves = torch.tensor([[1.0, 0.2, 0.0], [0.8, 0.4, 0.4]])
        >>> metric.update(with_area(curves, metric.grid))
        >>> round(metric.compute().value.item(), 3)
        0.425
    """

    higher_is_better = False
    limit = "deletion"
    kind = "deletion"

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all but the highest ranked units (B, K, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.grid)


class InsertionCurve(CurveMetric):
    """Probability p_c while the highest ranked units are inserted, and the area under the curve.

    AUC = ∫ p_c(the top fraction f only) df over [0, 1], by the trapezoidal rule. The curve starts
    at the fully perturbed text. In [0, 1]; higher is better: a faithful ranking first restores the
    units on which the class depends.

    Args:
        points: K, the number of points of the curve.

    Raises:
        InputError: If there are fewer than two points.

    References:
        RISE (Petsiuk et al., 2018), https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True
    limit = "insertion"
    kind = "insertion"

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep the highest ranked units only (B, K, U)."""
        return insertion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.grid)


class FullyPerturbed(FaithfulnessMetric):
    """Probability p_c of a text whose units are all perturbed: how far out of distribution it is.

    In [0, 1], for each explained class separately, because it differs between classes, and over
    all of them. Near 1 / C the model is undecided. Near 1 the model predicts the class from an
    empty text, and deletion and insertion curves of that class say little. The value is the same
    for all explanations.

    Args:
        classes: Names of the C classes.
    """

    higher_is_better = None

    def __init__(self, classes: list[str]) -> None:
        super().__init__([*classes, "all classes"])

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep no unit (B, 1, U)."""
        return torch.zeros_like(ranking.unit_scores, dtype=torch.bool)[:, None]

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute p_c for the explained class, NaN for the other classes, and p_c (B, C + 1)."""
        p = target_probabilities(ranking, probabilities)
        by_class = torch.full_like(probabilities[:, 0], torch.nan)
        return torch.cat([by_class.scatter(1, ranking.trace.target[:, None], p), p], 1)


def with_area(curves: Tensor, fractions: Tensor) -> Tensor:
    """Append the area under each curve (B, K) as the last column (B, K + 1)."""
    return torch.cat([curves, area(curves, fractions)[:, None]], 1)
