"""Explanation drift: how much the explanations of fixed texts change from epoch to epoch.

References:
    Reasoning Stabilization Point: A Training-Time Signal for Stable Evidence and Shortcut Reliance
    (Dhayalkar, 2026), https://arxiv.org/abs/2601.11625.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.agreement import apply_measure
from bertx.metrics.estimates import PRECISION, Estimate, MeanMetric
from bertx.metrics.ranking import spearman


def shares(scores: Tensor, mask: Tensor) -> Tensor:
    """Each unit's share of what the scores of its text amount to, with their sign.

    Args:
        scores: Unit scores (B, U), finite.
        mask: Which places are units (B, U).

    Returns:
        s_u / Σ_v |s_v| (B, U), absolute values summing to 1; 0 beyond a text's own units; NaN for
        a text whose scores are all 0.

    Examples:
        >>> shares(torch.tensor([[3.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool))
        tensor([[ 0.7500, -0.2500]], dtype=torch.float64)
    """
    scores = scores.to(PRECISION).masked_fill(~mask, 0)
    largest = scores.abs().amax(1, keepdim=True)
    scores = scores / largest  # no sum overflows, no small score is lost
    return scores / scores.abs().sum(1, keepdim=True)


def drift(before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    """Half the L1 distance between the shares of two explanations of the same texts.

    ½ Σ_u |s_u / Σ|s| - s'_u / Σ|s'|| : for unsigned scores the total variation distance, the share
    that moved to other units; for signed ones a share that changes its sign has moved too.

    Args:
        before: Unit scores (B, U), as of one epoch.
        after: Unit scores of the same method (B, U), as of a later one.
        mask: Which places are units (B, U).

    Returns:
        In [0, 1], 0 for equal shares; NaN where a score is not finite or all scores of a text are 0
        (B,).

    Examples:
        >>> before, after = torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 2.0]])
        >>> drift(before, after, torch.ones(1, 2, dtype=torch.bool))
        tensor([0.2500], dtype=torch.float64)
    """
    return apply_measure(before, after, mask, _distance)


def stabilized(drifts: Sequence[float], threshold: float, patience: int = 2) -> int | None:
    """The reasoning stabilization point: the first epoch after which the drift stays low.

    Args:
        drifts: Mean drift from each epoch to the next, from the first epoch on.
        threshold: Largest drift that is low.
        patience: Number of low drifts, at the end and in a row, that it takes.

    Returns:
        The epoch, counted from 0: all drifts from it on are low. None as long as there are not
        ``patience`` of them; a later drift that is high or NaN takes an earlier answer back.

    Raises:
        InputError: If the threshold is not in [0, 1] or patience is below 1.

    Examples:
        >>> stabilized([0.4, 0.2, 0.05, 0.04], threshold=0.1)
        2
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: a drift is in [0, 1], got {threshold}")
    if patience < 1:
        raise InputError(f"patience must be at least 1, got {patience}")
    low = 0
    for value in reversed(drifts):
        if not value <= threshold:
            break
        low += 1
    return len(drifts) - low if low >= patience else None


class Drift(MeanMetric):
    """Mean explanation drift between two epochs over fixed texts, and mean rank correlation.

    The values are Spearman's correlation of the scores, in [-1, 1], and `drift`, in [0, 1], which
    is the metric's number. Low drift is not good in itself: it says that training no longer changes
    what the model rests on.

    References:
        Reasoning Stabilization Point (Dhayalkar, 2026), https://arxiv.org/abs/2601.11625.
    """

    higher_is_better = None
    state = "drift_sums"
    columns = ("spearman", "drift")

    def __init__(self) -> None:
        super().__init__(len(self.columns))

    def update(self, before: Tensor, after: Tensor, mask: Tensor) -> None:
        """Add B texts: unit scores of both epochs and which places are units, (B, U) each."""
        correlation = apply_measure(before, after, mask, spearman)
        self.add(torch.stack([correlation, drift(before, after, mask)], 1))

    def compute(self) -> Estimate:
        """The means of all texts so far."""
        return self.estimate()


def _distance(before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    return (shares(before, mask) - shares(after, mask)).abs().sum(1) / 2
