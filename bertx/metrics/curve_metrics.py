"""Deletion and insertion curves as torchmetrics."""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bertx.metrics.base import FaithfulnessMetric, Ranking, followed
from bertx.metrics.curves import area, deletion_masks, fractions, insertion_masks

Kind = Literal["deletion", "insertion"]


class CurveMetric(FaithfulnessMetric):
    """The probability of the class at K fractions of changed units, and the area under it.

    Args:
        points: K, the number of points of the curves.

    Attributes:
        points: K.
        kind: What is done to the units.
        grid: The fractions (K,).
    """

    kind: ClassVar[Kind]

    def __init__(self, points: int = 11) -> None:
        self.grid = fractions(points)
        super().__init__([*(f"p@{100 * f:.3g}%" for f in self.grid.tolist()), "auc"])
        self.points = points

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """(B, K, U)."""

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """The curve and its area (B, K + 1)."""
        return with_area(followed(ranking, answers), self.grid)


class DeletionCurve(CurveMetric):
    """Mean probability of the class while the highest ranked units are deleted, and its area.

    In [0, 1]; lower is better: a faithful ranking deletes first what the class rests on.

    Args:
        points: K, the number of points of the curves.

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
    state = "deletion_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """All but the highest ranked units (B, K, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.grid)


class InsertionCurve(CurveMetric):
    """Mean probability of the class while the highest ranked units are inserted, and its area.

    In [0, 1]; higher is better: a faithful ranking brings first what the class rests on.

    Args:
        points: K, the number of points of the curves.

    References:
        RISE (Petsiuk et al., 2018), https://arxiv.org/abs/1806.07421.
    """

    higher_is_better = True
    limit = "insertion"
    kind = "insertion"
    state = "insertion_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """The highest ranked units alone (B, K, U)."""
        return insertion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.grid)


class FullyPerturbed(FaithfulnessMetric):
    """How far out of distribution a text without its units is: p_c when nothing but [CLS] is left.

    In [0, 1], for each explained class apart, because it is class-asymmetric, and over all. At
    1 / C the model has no opinion; a class near 1 is what the model says of an empty text, and a
    curve of that class says little. It is the same for all explanations.

    Args:
        classes: Names of the C classes.
    """

    higher_is_better = None
    state = "fully_perturbed_sums"

    def __init__(self, classes: list[str]) -> None:
        super().__init__([*classes, "all classes"])

    def kept(self, ranking: Ranking) -> Tensor:
        """Nothing (B, 1, U)."""
        return torch.zeros_like(ranking.unit_scores, dtype=torch.bool)[:, None]

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """p_c under the class that it is of, NaN under the others, and p_c (B, C + 1)."""
        p = followed(ranking, answers)
        values = torch.full_like(answers[:, 0], torch.nan)
        return torch.cat([values.scatter(1, ranking.trace.target[:, None], p), p], 1)


def with_area(curves: Tensor, fractions: Tensor) -> Tensor:
    """Curves (B, K) with the area under each as the last column (B, K + 1)."""
    return torch.cat([curves, area(curves, fractions)[:, None]], 1)
