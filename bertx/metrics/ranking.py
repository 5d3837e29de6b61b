"""How well two rankings of the same units agree."""

from torch import Tensor

from bertx.metrics.estimates import PRECISION


def kendall(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Kendall's tau-b: concordant less discordant pairs, as a share of those that are not tied.

    (P - Q) / sqrt(A B), of all pairs P ordered alike in a and b, Q ordered otherwise, A not tied
    in a and B not tied in b. Exact but for the last division.

    Args:
        a: Scores of the units (B, U), finite.
        b: Other scores of the same units (B, U), finite.
        mask: Which places are units (B, U).

    Returns:
        From -1 for opposite orders to 1 for the same order (B,); NaN where all scores of a or b
        are equal, as they are for fewer than two units.

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
    """Spearman's rho: Pearson's correlation of the ranks, tied scores having their mean rank.

    Args:
        a: Scores of the units (B, U), finite.
        b: Other scores of the same units (B, U), finite.
        mask: Which places are units (B, U).

    Returns:
        From -1 for opposite orders to 1 for the same order (B,); NaN where all scores of a or b
        are equal, as they are for fewer than two units.

    Examples:
        >>> import torch
        >>> a, b = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.tensor([[0.1, 0.3, 0.2, 0.0]])
        >>> spearman(a, b, torch.tensor([[True, True, True, False]]))
        tensor([0.5000], dtype=torch.float64)
    """
    # The units below one less those above it are twice its rank's distance from the mean rank.
    return _cosine(_signs(a, mask).sum(2), _signs(b, mask).sum(2))


def _signs(scores: Tensor, mask: Tensor) -> Tensor:
    """1 where unit i is above unit j, -1 where below, 0 for ties and places that are no unit.

    In int8 (B, U, U): the largest tensor there is, of long texts.
    """
    above = (scores[:, :, None] > scores[:, None]) & mask[:, :, None] & mask[:, None]
    return above.char() - above.mT.char()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of whole numbers (B, N), whose sums are exact."""
    product, first, second = ((x * y).sum(1).to(PRECISION) for x, y in ((a, b), (a, a), (b, b)))
    return product / (first * second).sqrt()
