"""Deletion and insertion curves: probability of a class while ranked units are deleted or inserted.

The units of a text (words, by default) are ranked by their scores. The deletion curve starts at the
whole text and perturbs the highest ranked units first; the insertion curve starts at the fully
perturbed text and restores them first. Both have one point for each of K fractions of the text's
units, the same for all methods, and refer to one class chosen by the caller. Curves are not
smoothed and need not be monotone.

References:
    RISE: Randomized Input Sampling for Explanation of Black-box Models (Petsiuk et al., 2018),
    https://arxiv.org/abs/1806.07421, for images. On Explaining Your Explanations of BERT
    (Wu & Ong, 2021), https://arxiv.org/abs/2101.00196, deletes words. ERASER (DeYoung et al.,
    2020), https://arxiv.org/abs/1911.03429, measures the same at a few fractions.
"""

import torch
from torch import Tensor

from bertx.errors import InputError


def fractions(points: int = 11) -> Tensor:
    """Return the fractions of a text's units at which a curve is measured.

    Args:
        points: K, the number of points, including 0 and 1.

    Returns:
        Evenly spaced numbers from 0 to 1 (K,), float64.

    Raises:
        InputError: If there are fewer than two points.

    Examples:
        >>> fractions(5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if points < 2:
        raise InputError(f"points must be at least 2 (nothing and everything), got {points}")
    return torch.arange(points, dtype=torch.float64) / (points - 1)


def removal_counts(unit_counts: Tensor, fractions: Tensor) -> Tensor:
    """Return how many units are perturbed at each fraction.

    Args:
        unit_counts: n, number of units of each text (B,).
        fractions: f (K,), in [0, 1].

    Returns:
        round(f n), ties to even, but at least 1 for f > 0 and at most n (B, K).

    Examples:
        >>> removal_counts(torch.tensor([2, 10]), torch.tensor([0.0, 0.1, 0.5, 1.0]))
        tensor([[ 0,  1,  1,  2],
                [ 0,  1,  5, 10]])
    """
    # On the CPU, because not every device has float64.
    exact, sizes = fractions.cpu().double(), unit_counts.cpu().double()[:, None]
    counts = torch.maximum((exact * sizes).round(), (exact > 0).double()).minimum(sizes)
    return counts.long().to(unit_counts.device)


def ranks(scores: Tensor, unit_counts: Tensor) -> Tensor:
    """Return the rank of each unit, 0 for the highest score.

    Args:
        scores: Unit scores (B, U). They must be finite, which is not checked.
        unit_counts: Number of units of each text (B,). Entries beyond are ranked last.

    Returns:
        Ranks 0..U-1 (B, U). Among equal scores the leftmost unit comes first.

    Examples:
        >>> ranks(torch.tensor([[1.0, 3.0, 1.0, 9.0]]), torch.tensor([3]))
        tensor([[1, 0, 2, 3]])
    """
    places = torch.arange(scores.shape[1], device=scores.device).expand(scores.shape)
    mask = places < unit_counts[:, None]
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(1, order, places)


def deletion_masks(scores: Tensor, unit_counts: Tensor, fractions: Tensor) -> Tensor:
    """Return which units are kept at each point of the deletion curve.

    Args:
        scores: Unit scores (B, U), finite.
        unit_counts: Number of units of each text (B,).
        fractions: Fractions of units to delete (K,).

    Returns:
        False for the `removal_counts` highest ranked units (B, K, U).
    """
    return ~insertion_masks(scores, unit_counts, fractions)


def insertion_masks(scores: Tensor, unit_counts: Tensor, fractions: Tensor) -> Tensor:
    """Return which units are kept at each point of the insertion curve.

    Args:
        scores: Unit scores (B, U), finite.
        unit_counts: Number of units of each text (B,).
        fractions: Fractions of units to insert (K,).

    Returns:
        True for the `removal_counts` highest ranked units (B, K, U).
    """
    places, counts = ranks(scores, unit_counts), removal_counts(unit_counts, fractions)
    return places[:, None] < counts[..., None]


def area(curves: Tensor, fractions: Tensor) -> Tensor:
    """Integrate curves over [0, 1] by the trapezoidal rule.

    Args:
        curves: Values (..., K).
        fractions: Where they were measured (K,).

    Returns:
        Areas (...), in the range of the values.

    Examples:
        >>> area(torch.tensor([1.0, 0.0, 0.0]), fractions(3))
        tensor(0.2500)
    """
    return torch.trapezoid(curves, fractions.to(dtype=curves.dtype).to(curves.device))
