"""Relevance rules: how an operation passes the relevance of its output to its input."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import linear

from bertx.errors import InputError

STABILIZER = 1e-7
"""ε of `split_weights`, as in the authors' code."""


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in the precision for sums: float64 if it is float64, else float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class LinearRule(Protocol):
    """A rule for linear maps, in gradient × input form: it passes R / value, not R."""

    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """Pass the relevance R = y ⊙ grad of the output y = x Wᵀ + b to the input.

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
    """How a backward passes through each kind of operation, in gradient × input form.

    Every number is the share of the true gradient. For ``norm`` and ``activation`` the remaining
    share goes through a linear map that has the same output at the values of the forward; for the
    others it is dropped. All 1 is the gradient.

    Attributes:
        norm: LayerNorm, or the root of a norm that a model writes out. The linear map is the norm
            with its denominator held constant.
        activation: Elementwise functions. The linear map is the secant f(x) / x.
        softmax: Softmax of attention; 0 makes the attention weights constants.
        product: Each factor of a matrix product of two activations (queries and keys, weights and
            values); ½ splits the relevance equally.
        gate: Each factor of an elementwise product of two activations.
        linear: A function from the name of an `nn.Linear` module to its rule; None, or a result of
            None, is the gradient, which is the ε-rule with ε = 0.

    Raises:
        InputError: If a share is not a finite number.

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
        """Check that every share is a finite number."""
        for name in ("norm", "activation", "softmax", "product", "gate"):
            share = getattr(self, name)
            if not isinstance(share, (int, float)) or not isfinite(share):
                raise InputError(f"Rules: expected a finite number for {name}, got {share!r}")


ATTN_LRP = Rules(norm=0.0, activation=0.0, softmax=1.0, product=0.5, gate=0.5)
"""The rules of `bertx.attribution.AttnLRP`, arXiv 2402.05602, Eq. 7-15."""

CP_LRP = Rules(norm=0.0, activation=0.0, softmax=0.0, product=1.0, gate=0.5)
"""The rules of `bertx.attribution.CPLRP`, arXiv 2202.07304, with the secant of activations."""


class LinearMap(Protocol):
    """A linear map that equals an operation y = f(x) at the values of one forward."""

    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute what `back` needs of the forward, once for any number of backwards."""
        ...

    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of x from the gradient of y."""
        ...


@dataclass(frozen=True, eq=False)
class Secant:
    """An elementwise function y = f(x) as multiplication by y / x, or by f'(0) where x = 0."""

    function: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """Return y / x, of their shape."""
        slope = y / x
        if not slope.sum().isfinite():  # the fastest test for a division by 0
            zeros = x == 0
            near = torch.full((), torch.finfo(x.dtype).eps ** 0.5, dtype=x.dtype, device=x.device)
            slope = torch.where(zeros, self.function(near) / near, slope)
        return slope

    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of x."""
        return grad * slope


@dataclass(frozen=True, eq=False)
class ConstantDenominator:
    """LayerNorm over the last dimension, with √(Var x + eps) held constant.

    Attributes:
        weight: (D,) or None.
        eps: Added to the variance.
    """

    weight: Tensor | None
    eps: float

    @torch.no_grad()
    def slope(self, x: Tensor, _y: Tensor) -> Tensor:
        """Return 1 / √(Var x + eps), (..., 1), in float32 or float64."""
        centered = wide(x - x.mean(-1, keepdim=True))
        variance = centered.square().mean(-1, keepdim=True)  # several times as fast as x.var
        return (variance + self.eps).rsqrt()

    @torch.no_grad()
    def back(self, grad: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of x."""
        scaled = grad if self.weight is None else grad * self.weight
        return ((scaled - scaled.mean(-1, keepdim=True)) * slope).to(grad.dtype)


@torch.no_grad()
def split_weights(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, relevance: Tensor, alpha: float = 0.5
) -> Tensor:
    """Apply the rule of Wu & Ong for a linear map: positive and negative *weights* apart.

    With W⁺ = max(W, 0), W⁻ = min(W, 0), b⁺, b⁻ likewise, β = 1 - α and ε = 1e-7:
    z⁺ = x W⁺ᵀ + b⁺ + ε, z⁻ = x W⁻ᵀ + b⁻ - ε, R' = x ⊙ (α (R/z⁺) W⁺ + β (R/z⁻) W⁻), and
    R'' = |R'| · (Σ R + ε) / (Σ |R'| + ε) with the sums over the features of each token. It splits
    the weights, not the contributions x_i w_ij, and is therefore not `AlphaBeta`, the αβ-rule of
    Bach et al. (2015).

    Args:
        x: Input of the map (B, ..., I).
        y: Its output x Wᵀ + b (B, ..., O), which gives z⁻ = y - z⁺ without another product.
        weight: (O, I).
        bias: (O,).
        relevance: Relevance of the output (B, ..., O).
        alpha: Share of the positive weights.

    Returns:
        Relevance of the input R'' (B, ..., I). Over a token's features it sums to about Σ R, and
        all features have the sign of that sum.

    References:
        On Explaining Your Explanations of BERT (Wu & Ong, 2021), arXiv 2101.00196, as the authors'
        public code computes it.
    """
    positive, negative = weight.clamp(min=0), weight.clamp(max=0)
    up = linear(x, positive, bias.clamp(min=0) + STABILIZER)
    down = y - up  # z⁺ + z⁻ = y, the stabilizers cancel
    width = weight.shape[0]
    share_up = (relevance / _off_zero(up, STABILIZER)).reshape(-1, width)
    share_down = (relevance / _off_zero(down, -STABILIZER)).reshape(-1, width)
    spread = torch.addmm(share_up @ positive, share_down, negative, beta=alpha, alpha=1 - alpha)
    size = spread.view_as(x).mul_(x).abs_()
    total, arriving = size.sum(-1, keepdim=True), relevance.sum(-1, keepdim=True)
    return size.mul_((arriving + STABILIZER) / (total + STABILIZER))


def _off_zero(z: Tensor, least: float) -> Tensor:
    """Replace zeros: in float32 a sum near 1 absorbs the stabilizer and can cancel to exactly 0."""
    return z.masked_fill_(z == 0, least)


def one_hot(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return a (B, C) tensor with ``values`` (B,) at ``classes`` (B,) and 0 elsewhere."""
    return torch.zeros(len(values), count, dtype=values.dtype, device=values.device).scatter(
        1, classes[:, None], values[:, None]
    )


@dataclass(frozen=True)
class Epsilon:
    """The ε-rule: R_i = Σ_j x_i w_ij / (z_j + ε sign z_j) · R_j, with z = x Wᵀ + b.

    Attributes:
        epsilon: Stabilizer ε of at least 0, which absorbs relevance. 0 is the gradient.

    Raises:
        InputError: If ``epsilon`` is negative.

    References:
        Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, Eq. 58.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        """Check ``epsilon``."""
        if not self.epsilon >= 0:
            raise InputError(f"Epsilon: expected epsilon of at least 0, got {self.epsilon}")

    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """Pass relevance to the input; see `LinearRule`."""
        if self.epsilon:  # in float32 or wider: half precision would round ε away
            z = y.to(torch.promote_types(y.dtype, torch.float32))
            grad = grad * (z / (z + self.epsilon * torch.where(z < 0, -1.0, 1.0)))
        return grad.to(weight.dtype) @ weight


@dataclass(frozen=True)
class AlphaBeta:
    """The αβ-rule on contributions: R_i = Σ_j (α z⁺_ij / z⁺_j - β z⁻_ij / z⁻_j) R_j.

    z_ij = x_i w_ij with positive part z⁺_ij and negative part z⁻_ij; z⁺_j and z⁻_j are their sums
    over i and the bias's part of the same sign; β = α - 1. A term whose sum is 0 is 0. α = 1 is
    the z⁺-rule. The rule splits contributions, not weights, and is therefore not `split_weights`.

    Attributes:
        alpha: α of at least 1.

    Raises:
        InputError: If ``alpha`` is below 1.

    References:
        Bach et al. (2015), On Pixel-Wise Explanations by Layer-Wise Relevance Propagation, Eq. 60.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        """Check ``alpha``: below 1, β would be negative."""
        if not self.alpha >= 1:
            raise InputError(f"AlphaBeta: expected alpha of at least 1, got {self.alpha}")

    @torch.no_grad()
    def __call__(
        self, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor | None, grad: Tensor
    ) -> Tensor:
        """Pass relevance to the input; see `LinearRule`."""
        offset = weight.new_zeros(len(weight)) if bias is None else bias
        x, relevance = x.to(weight.dtype), (y * grad).to(weight.dtype)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        x_up, x_down = x.clamp(min=0), x.clamp(max=0)
        positive = linear(x_up, up) + linear(x_down, down) + offset.clamp(min=0)
        negative = linear(x_up, down) + linear(x_down, up) + offset.clamp(max=0)
        share_up = self.alpha * _divide(relevance, positive)
        share_down = (1 - self.alpha) * _divide(relevance, negative)
        if_positive = share_up @ up + share_down @ down
        if_negative = share_up @ down + share_down @ up
        return torch.where(x > 0, if_positive, if_negative)


def _divide(relevance: Tensor, total: Tensor) -> Tensor:
    """Return the quotient, 0 where the total is 0."""
    return (relevance / total).masked_fill(total == 0, 0)
