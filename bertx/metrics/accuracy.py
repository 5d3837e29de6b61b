"""Accuracy while the highest ranked units are deleted one by one."""

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.curves import ranks


class AccuracyDrop(FaithfulnessMetric):
    """Accuracy after deleting the k = 0, 1, ... highest ranked units, and its mean over k >= 1.

    Texts are grouped by the prediction for the whole text. ``right@k`` is the accuracy on the texts
    that are classified correctly at first: it is 1 at k = 0, and a good explanation makes it fall.
    ``wrong@k`` is the accuracy on the misclassified texts: it is 0 at k = 0, and rises when the
    units that misled the model are deleted. The metric's number is the mean of ``right@k`` over
    k >= 1, in [0, 1]; lower is better.

    A text without a label is in neither group. If a text has fewer than k units, all of them are
    deleted; it stays in its group, so that all points of a curve cover the same texts. The
    explained class should be the predicted one, as it is by default.

    Args:
        words: Largest k. Units are words by default.

    Raises:
        InputError: If ``words`` is less than 1; in `values`, if the texts have no labels.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196.
    """

    higher_is_better = False
    limit = "deletion"

    def __init__(self, words: int = 10) -> None:
        check_positive(words=words)
        groups = [f"{group}@{k}" for group in ("right", "wrong") for k in range(words + 1)]
        super().__init__([*groups, "accuracy"])
        self.words = words

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all but the k highest ranked units, for each k (B, words + 1, U)."""
        return deletions(ranking.unit_scores, ranking.inputs.unit_counts, self.words)

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute 1 for a correct and 0 for a wrong prediction, NaN for the other group (B, J)."""
        labels = ranking.inputs.labels
        if labels is None:
            raise InputError(
                "AccuracyDrop: expected texts with labels, got none: give Inputs the gold classes "
                "(B,), or leave this metric out."
            )
        labels = labels.to(probabilities.device)[:, None]
        correct = probabilities.argmax(2) == labels
        right_first, labelled = correct[:, :1], labels >= 0
        accuracy = correct.to(probabilities.dtype)
        right = accuracy.masked_fill(~(labelled & right_first), torch.nan)
        wrong = accuracy.masked_fill(~(labelled & ~right_first), torch.nan)
        return torch.cat([right, wrong, right[:, 1:].mean(1, keepdim=True)], 1)


def deletions(scores: Tensor, unit_counts: Tensor, steps: int) -> Tensor:
    """Return which units stay while the highest ranked are deleted one by one.

    Args:
        scores: Unit scores (B, U), finite.
        unit_counts: Number of units of each text (B,).
        steps: Number of deletions.

    Returns:
        False for the k highest ranked units, k = 0..steps (B, steps + 1, U).

    Examples:
        >>> deletions(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([3]), 2).int()
        tensor([[[1, 1, 1],
                 [1, 0, 1],
                 [1, 0, 0]]], dtype=torch.int32)
    """
    places = ranks(scores, unit_counts)
    return places[:, None] >= torch.arange(steps + 1, device=places.device)[:, None]
