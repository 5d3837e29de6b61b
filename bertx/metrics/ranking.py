"""Rank correlations of unit scores: Kendall's tau-b and Spearman's rho."""

from torch import Tensor

from bertx.metrics.estimates import PRECISION


def kendall(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Compute Kendall's tau-b.

    (P - Q) / sqrt(A B) over all pairs of units, with P the pairs ordered alike in a and b, Q the
    pairs ordered differently, A the pairs not tied in a and B the pairs not tied in b. Exact up to
    the rounding of the last division.

    Args:
        a: Scores of the units (B, U), finite.
        b: Other scores of the same units (B, U), finite.
        mask: True for the units of a text (B, U).

    Returns:
        From -1 for opposite orders to 1 for the same order (B,); NaN where all scores of a or all
        scores of b are equal, as with fewer than two units.

    References:
        The treatment of ties in ranking problems (Kendall, 1945), Biometrika 33(3).

    Examples:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[0.1, 0.3, 0.2, 0.0]])
        >>> kendall(a, b, torch.tensor([[True, True, True, False]]))
        tensor([0.3333], dtype=torch.float64)
    """
    a, b = _signs(a, mask), _signs(b, mask)
    return _cosine(a.flatten(1), b.flatten(1))


def spearman(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Compute Spearman's rho: Pearson's correlation of the ranks, with mean ranks for ties.

    Args:
        a: Scores of the units (B, U), finite.
        b: Other scores of the same units (B, U), finite.
        mask: True for the units of a text (B, U).

    Returns:
        From -1 for opposite orders to 1 for the same order (B,); NaN where all scores of a or all
        scores of b are equal, as with fewer than two units.

    Examples:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[0.1, 0.3, 0.2, 0.0]])
        >>> spearman(a, b, torch.tensor([[True, True, True, False]]))
        tensor([0.5000], dtype=torch.float64)
    """
    # The number of units below a unit minus the number above it is twice the distance of its rank
    # from the mean rank.
    return _cosine(_signs(a, mask).sum(2), _signs(b, mask).sum(2))


def _signs(scores: Tensor, mask: Tensor) -> Tensor:
    """Return 1 where unit i scores above unit j, -1 where below, 0 for ties and outside the mask.

    (B, U, U) in int8, because this is by far the largest tensor for long texts.
    """
    above = (scores[:, :, None] > scores[:, None]) & mask[:, :, None] & mask[:, None]
    return above.char() - above.mT.char()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine similarity (B,) of integers (B, N), whose sums are exact."""
    product, a_squared, b_squared = (a * b).sum(1), (a * a).sum(1), (b * b).sum(1)
    return product.to(PRECISION) / (a_squared.to(PRECISION) * b_squared.to(PRECISION)).sqrt()
