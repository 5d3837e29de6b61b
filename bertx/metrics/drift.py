"""Explanation drift: how much the explanations of fixed texts change from epoch to epoch.

References:
    Reasoning Stabilization Point: A Training-Time Signal for Stable Evidence and Shortcut Reliance
    (Dhayalkar, 2026), https://arxiv.org/abs/2601.11625.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.agreement import apply_measure
from bertx.metrics.estimates import PRECISION, Estimate, MeanMetric
from bertx.metrics.ranking import spearman


def shares(scores: Tensor, mask: Tensor) -> Tensor:
    """Divide the scores of each text by the sum of their absolute values.

    Args:
        scores: Unit scores (B, U), finite.
        mask: True for the units of a text (B, U).

    Returns:
        s_u / Σ_v |s_v| (B, U), whose absolute values sum to 1; 0 outside the mask; NaN for a text
        whose scores are all 0.

    Examples:
        >>> shares(torch.tensor([[3.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool))
        tensor([[ 0.7500, -0.2500]], dtype=torch.float64)
    """
    scores = scores.to(PRECISION).masked_fill(~mask, 0)
    largest = scores.abs().amax(1, keepdim=True)
    scores = scores / largest  # so that the sum cannot overflow and small scores do not underflow
    return scores / scores.abs().sum(1, keepdim=True)


def drift(before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    """Compute half the L1 distance between the shares of two explanations of the same texts.

    ½ Σ_u |s_u / Σ|s| - s'_u / Σ|s'||. For unsigned scores this is the total variation distance, the
    share that moved to other units. For signed scores, a share that changes its sign counts as
    moved, too.

    Args:
        before: Unit scores (B, U) at one epoch.
        after: Unit scores (B, U) by the same method at a later epoch.
        mask: True for the units of a text (B, U).

    Returns:
        In [0, 1], 0 for equal shares (B,); NaN where a score is not finite or all scores of a text
        are 0.

    Examples:
        >>> before, after = torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 2.0]])
        >>> drift(before, after, torch.ones(1, 2, dtype=torch.bool))
        tensor([0.2500], dtype=torch.float64)
    """
    return apply_measure(before, after, mask, _distance)


def stabilized(drifts: Sequence[float], threshold: float, patience: int = 2) -> int | None:
    """Return the reasoning stabilization point: the first epoch after which the drift stays low.

    Args:
        drifts: Mean drift from each epoch to the next, starting with the first epoch.
        threshold: Largest drift that counts as low.
        patience: Number of consecutive low drifts required at the end.

    Returns:
        The epoch, counted from 0, from which on all drifts are low. None if fewer than ``patience``
        drifts at the end are low; a later drift that is high or NaN resets the point.

    Raises:
        InputError: If ``threshold`` is not in [0, 1] or ``patience`` is less than 1.

    Examples:
        >>> stabilized([0.4, 0.2, 0.05, 0.04], threshold=0.1)
        2
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold: a drift is in [0, 1], got {threshold}")
    check_positive(patience=patience)
    low = 0
    for value in reversed(drifts):
        if not value <= threshold:
            break
        low += 1
    return len(drifts) - low if low >= patience else None


class Drift(MeanMetric):
    """Mean drift and mean rank correlation between two epochs, over fixed texts.

    The values are Spearman's rho of the scores, in [-1, 1], and `drift`, in [0, 1], the metric's
    number. A low drift is not good in itself: it only says that training no longer changes the
    explanations.

    References:
        Reasoning Stabilization Point (Dhayalkar, 2026), https://arxiv.org/abs/2601.11625.
    """

    higher_is_better = None
    columns = ("spearman", "drift")

    def __init__(self) -> None:
        super().__init__(len(self.columns))

    def update(self, before: Tensor, after: Tensor, mask: Tensor) -> None:
        """Add B texts: unit scores of both epochs and the mask of units, (B, U) each."""
        correlation = apply_measure(before, after, mask, spearman)
        self.add(torch.stack([correlation, drift(before, after, mask)], 1))

    def compute(self) -> Estimate:
        """Return means and standard errors over all texts so far."""
        return self.estimate()


def _distance(before: Tensor, after: Tensor, mask: Tensor) -> Tensor:
    return (shares(before, mask) - shares(after, mask)).abs().sum(1) / 2
