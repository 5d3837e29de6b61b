"""Relevance rules: how a layer hands the relevance of its output down to its input."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from bertx.errors import InputError

STABILIZER = 1e-7


def wide(tensor: Tensor) -> Tensor:
    """The tensor in the precision in which sums are made: float32, or float64 if it was."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class LinearRule(Protocol):
    """A rule for linear maps, in gradient × input form."""

    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """Hand down the relevance R = y ⊙ grad of the output y = x Wᵀ + b.

        Args:
            x: Input (..., I).
            y: Output (..., O).
            weight: (O, I).
            bias: (O,) or None.
            grad: Relevance of the output divided by the output (..., O).

        Returns:
            Relevance of the input divided by the input (..., I).
        """
        ...


@dataclass(frozen=True)
class Rules:
    """How a backward passes each kind of operation, in gradient × input form.

    Every number is the share of the true gradient. What is missing to 1 goes through a linear map
    that has the same output at the forward's values (norm, activation), or nowhere (the others).
    All 1 is the gradient.

    Attributes:
        norm: LayerNorm, or the root of a norm that is written out; the rest goes through it with
            the denominator held constant.
        activation: Elementwise functions; the rest goes through the secant f(x) / x.
        softmax: Softmax of attention; 0 makes the attention weights constants.
        product: Each factor of a matrix product of two activations (queries and keys, weights and
            values); ½ splits the relevance equally.
        gate: Each factor of an elementwise product of two activations.
        linear: Rule for linear maps by the name of their module; None for the gradient, which is
            the ε-rule with ε = 0.

    References:
        AttnLRP (Achtibat et al., 2024), arXiv 2402.05602; XAI for Transformers: Better
        Explanations through Conservative Propagation (Ali et al., 2022), arXiv 2202.07304.
    """

    norm: float = 1.0
    activation: float = 1.0
    softmax: float = 1.0
    product: float = 1.0
    gate: float = 1.0
    linear: Callable[[str], LinearRule | None] | None = None

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            InputError: If a share is not a finite number.
        """
        for name in ("norm", "activation", "softmax", "product", "gate"):
            share = getattr(self, name)
            if not isinstance(share, (int, float)) or not isfinite(share):
                raise InputError(f"Rules: expected a finite number for {name}, got {share!r}")

    def rule_for(self, part: str) -> LinearRule | None:
        """The rule of the linear map with this name, None for the gradient."""
        return None if self.linear is None else self.linear(part)


ATTN_LRP = Rules(norm=0.0, activation=0.0, softmax=1.0, product=0.5, gate=0.5)
"""AttnLRP, arXiv 2402.05602, Eq. 7-15."""

CP_LRP = Rules(norm=0.0, activation=0.0, softmax=0.0, product=1.0, gate=0.5)
"""CP-LRP, arXiv 2202.07304, with activations by their secant."""


class LinearMap(Protocol):
    """A linear map with the output of an operation at the values x, y = f(x) of a forward."""

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """What it keeps of the forward, made once for any number of backwards."""
        ...

    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """The gradient of x from that of y."""
        ...


@dataclass(frozen=True, eq=False)
class Secant:
    """An elementwise function y = f(x) as multiplication by y / x; f'(0) where x = 0."""

    function: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """The quotient y / x, of their shape."""
        slope = y / x
        if not slope.sum().isfinite():  # the fastest search for a division by 0
            zeros = x == 0
            near = torch.full((), torch.finfo(x.dtype).eps ** 0.5, dtype=x.dtype, device=x.device)
            slope = torch.where(zeros, self.function(near) / near, slope)
        return slope

    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """See `LinearMap`."""
        return grad * slope


@dataclass(frozen=True, eq=False)
class ConstantDenominator:
    """LayerNorm over the last dimension with √(Var x + eps) held constant.

    Attributes:
        weight: (D,) or None.
        eps: See above.
    """

    weight: Tensor | None
    eps: float

    @torch.no_grad()
    def slope(self, x: Tensor, _y: Tensor) -> Tensor:
        """1 / √(Var x + eps), (..., 1), float32 or wider."""
        spread = wide(x - x.mean(-1, keepdim=True))
        variance = spread.square().mean(-1, keepdim=True)  # several times as fast as x.var
        return (variance + self.eps).rsqrt()

    @torch.no_grad()
    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """See `LinearMap`."""
        scaled = grad if self.weight is None else grad * self.weight
        return ((scaled - scaled.mean(-1, keepdim=True)) * slope).to(grad.dtype)


@torch.no_grad()
def split_weights(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, alpha: float = 0.5
) -> Tensor:
    """The paper's rule for a linear map: positive and negative *weights* apart.

    With W⁺ = max(W, 0), W⁻ = min(W, 0), b⁺, b⁻ likewise, β = 1 - α and ε = 1e-7:
    z⁺ = x W⁺ᵀ + b⁺ + ε, z⁻ = x W⁻ᵀ + b⁻ - ε, R' = x ⊙ (α (R/z⁺) W⁺ + β (R/z⁻) W⁻), and
    R'' = |R'| · (Σ R + ε) / (Σ |R'| + ε) with the sums over the features of each token. It splits
    the weights, not the contributions x_i w_ij, and is therefore not the αβ-rule of Bach et al.
    2015.

    Args:
        x: Input of the map (B, ..., I).
        y: Its output x Wᵀ + b (B, ..., O), which saves the product of z⁻ = y - z⁺.
        weight: (O, I).
        bias: (O,).
        relevance: Relevance of the output (B, ..., O).
        alpha: Share of the positive weights.

    Returns:
        Relevance of the input (B, ..., I). That of a token has one sign, the sign of the token's
        summed relevance, and that sum.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196, as computed by
        the authors' public code.
    """
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    up = linear(x, positive, bias.clamp(min=0) + STABILIZER)
    down = y - up  # z⁺ + z⁻ = y, the stabilizers cancel
    width = weight.shape[0]
    share_up = (relevance / _off_zero(up, STABILIZER)).reshape(-1, width)
    share_down = (relevance / _off_zero(down, -STABILIZER)).reshape(-1, width)
    spread = torch.addmm(share_up @ positive, share_down, negative, beta=alpha, alpha=1 - alpha)
    return _rescale(spread.view_as(x).mul_(x).abs_(), relevance)


def _off_zero(z: Tensor, least: float) -> Tensor:
    """In float32 a stabilizer is lost beside numbers near 1, and a sum can be exactly 0."""
    return z.masked_fill_(z == 0, least)


def _rescale(size: Tensor, relevance: Tensor) -> Tensor:
    total, given = size.sum(-1, keepdim=True), relevance.sum(-1, keepdim=True)
    return size.mul_((given + STABILIZER) / (total + STABILIZER))


def one_hot(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """A (B, C) tensor with ``values`` (B,) at ``classes`` (B,) and 0 elsewhere."""
    return torch.zeros(len(values), count, dtype=values.dtype, device=values.device).scatter(
        1, classes[:, None], values[:, None]
    )


@dataclass(frozen=True)
class Epsilon:
    """The ε-rule: R_i = Σ_j x_i w_ij / (z_j + ε sign z_j) · R_j, with z = x Wᵀ + b.

    Attributes:
        epsilon: Stabilizer, at least 0; it takes up relevance. 0 is the gradient.

    References:
        Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, Eq. 58.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse a negative ε.

        Raises:
            InputError: If ``epsilon`` is negative.
        """
        if not self.epsilon >= 0:
            raise InputError(f"Epsilon: expected epsilon of at least 0, got {self.epsilon}")

    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """See `LinearRule`."""
        if self.epsilon:  # in float32 or wider: a half is no place for a stabilizer
            z = y.to(torch.promote_types(y.dtype, torch.float32))
            grad = grad * (z / (z + self.epsilon * torch.where(z < 0, -1.0, 1.0)))
        return grad.to(weight.dtype) @ weight


@dataclass(frozen=True)
class AlphaBeta:
    """The αβ-rule on contributions: R_i = Σ_j (α z⁺_ij / z⁺_j - β z⁻_ij / z⁻_j) R_j.

    z_ij = x_i w_ij, ⁺ and ⁻ its positive and negative part, z⁺_j and z⁻_j their sums with the
    bias's part, β = α - 1. Where a sum is 0 its term is. α = 1 is the z⁺-rule. It splits what the
    inputs contribute, not the weights, and is therefore not the paper's rule, `split_weights`.

    Attributes:
        alpha: α, at least 1.

    References:
        Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, Eq. 60.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        """Refuse α below 1, where β would be negative.

        Raises:
            InputError: If ``alpha`` is below 1.
        """
        if not self.alpha >= 1:
            raise InputError(f"AlphaBeta: expected alpha of at least 1, got {self.alpha}")

    @torch.no_grad()
    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """See `LinearRule`."""
        offset = weight.new_zeros(len(weight)) if bias is None else bias
        x, relevance = x.to(weight.dtype), (y * grad).to(weight.dtype)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        x_up, x_down = x.clamp(min=0), x.clamp(max=0)
        positive = linear(x_up, up) + linear(x_down, down) + offset.clamp(min=0)
        negative = linear(x_up, down) + linear(x_down, up) + offset.clamp(max=0)
        share_up = self.alpha * _over(relevance, positive)
        share_down = (1 - self.alpha) * _over(relevance, negative)
        where_positive = share_up @ up + share_down @ down
        where_negative = share_up @ down + share_down @ up
        return torch.where(x > 0, where_positive, where_negative)


def _over(relevance: Tensor, total: Tensor) -> Tensor:
    return (relevance / total).masked_fill(total == 0, 0)
