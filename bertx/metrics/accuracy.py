"""Accuracy while the highest ranked units are deleted, one after the other."""

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.curves import ranks


class AccuracyDrop(FaithfulnessMetric):
    """Accuracy after deleting the k = 0, 1, ... highest ranked units, and its mean over k >= 1.

    Separately for the texts on which the model is right before anything is deleted, ``right@k``
    (1 at k = 0; a good explanation makes it fall), and for those on which it is wrong, ``wrong@k``
    (0 at k = 0; it rises when what misled the model is deleted). The last column, in [0, 1], is
    the mean of ``right@1`` and on: lower is better.

    A text without a label is in neither group. Of a text with fewer than k units all are deleted:
    it stays in its group, so that all points of a curve are of the same texts. The explained class
    should be the predicted one, as it is by default.

    Args:
        words: Largest k; units are words by default.

    Attributes:
        words: Largest k.

    Raises:
        InputError: If words is less than 1; when used, if the texts have no labels.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196.
    """

    higher_is_better = False
    limit = "deletion"
    state = "accuracy_sums"

    def __init__(self, words: int = 10) -> None:
        check_positive(words=words)
        groups = [f"{group}@{k}" for group in ("right", "wrong") for k in range(words + 1)]
        super().__init__([*groups, "accuracy"])
        self.words = words

    def kept(self, ranking: Ranking) -> Tensor:
        """All but the k highest ranked units, for each k (B, words + 1, U)."""
        return deletions(ranking.unit_scores, ranking.inputs.unit_counts, self.words)

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """1 for right, 0 for wrong, NaN in the columns of the other group (B, J)."""
        labels = ranking.inputs.labels
        if labels is None:
            raise InputError(
                "AccuracyDrop: expected texts with labels, got none: give Inputs the gold classes "
                "(B,), or leave this metric out."
            )
        return _accuracies(answers, labels)


def deletions(scores: Tensor, unit_counts: Tensor, steps: int) -> Tensor:
    """Which units stay when the highest ranked go, one at each step.

    Args:
        scores: Unit scores (B, U), finite.
        unit_counts: Number of units of each text (B,).
        steps: Number of steps.

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


def _accuracies(answers: Tensor, labels: Tensor) -> Tensor:
    labels = labels.to(answers.device)[:, None]
    right = answers.argmax(2) == labels
    labelled, at_first = labels >= 0, right[:, :1]
    first_right, first_wrong = (
        right.to(answers.dtype).masked_fill(~(labelled & group), torch.nan)
        for group in (at_first, ~at_first)
    )
    return torch.cat([first_right, first_wrong, first_right[:, 1:].mean(1, keepdim=True)], 1)
