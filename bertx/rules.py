"""Relevance rules: how a layer hands the relevance of its output down to its input."""

import torch
from torch import Tensor
from torch.nn.functional import linear

STABILIZER = 1e-7


@torch.no_grad()
def split_weights(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, alpha: float = 0.5
) -> Tensor:
    """The paper's rule for a linear map: positive and negative *weights* apart.

    With W⁺ = max(W, 0), W⁻ = min(W, 0), b⁺, b⁻ likewise, β = 1 - α and ε = 1e-7:
    z⁺ = x W⁺ᵀ + b⁺ + ε, z⁻ = x W⁻ᵀ + b⁻ - ε, R' = x ⊙ (α (R/z⁺) W⁺ + β (R/z⁻) W⁻), and
    R'' = |R'| · (Σ R + ε) / (Σ |R'| + ε) with the sums over all of an example. It splits the
    weights, not the contributions x_i w_ij, and is therefore not the αβ-rule of Bach et al. 2015.

    Args:
        x: Input of the map (B, ..., I).
        y: Its output x Wᵀ + b (B, ..., O), which saves the product of z⁻ = y - z⁺.
        weight: (O, I).
        bias: (O,).
        relevance: Relevance of the output (B, ..., O).
        alpha: Share of the positive weights.

    Returns:
        Relevance of the input (B, ..., I); all of one sign per example, which is the sign of its
        summed relevance, and of that sum.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196, as computed by
        the authors' public code.
    """
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    up = linear(x, positive, bias.clamp(min=0) + STABILIZER)
    down = y - up  # z⁺ + z⁻ = y, the stabilisers cancel
    width = weight.shape[0]
    share_up = (relevance / _off_zero(up, STABILIZER)).reshape(-1, width)
    share_down = (relevance / _off_zero(down, -STABILIZER)).reshape(-1, width)
    spread = torch.addmm(share_up @ positive, share_down, negative, beta=alpha, alpha=1 - alpha)
    return _rescale(spread.view_as(x).mul_(x).abs_(), relevance)


def _off_zero(z: Tensor, least: float) -> Tensor:
    """In float32 a stabiliser is lost beside numbers near 1, and a sum can be exactly 0."""
    return z.masked_fill_(z == 0, least)


def _rescale(size: Tensor, relevance: Tensor) -> Tensor:
    total, given = size.flatten(1).sum(1), relevance.flatten(1).sum(1)
    factor = (given + STABILIZER) / (total + STABILIZER)
    return size.mul_(factor.view(-1, *[1] * (size.dim() - 1)))


def one_hot(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """A (B, C) tensor with ``values`` (B,) at ``classes`` (B,) and 0 elsewhere."""
    return torch.zeros(len(values), count, dtype=values.dtype, device=values.device).scatter(
        1, classes[:, None], values[:, None]
    )
