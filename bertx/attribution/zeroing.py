"""Value zeroing: what changes in a token's state when another token's value is taken away."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.layers import (
    Affine,
    AnyLayer,
    Group,
    Plain,
    after_attention,
    before_attention,
    by_head,
    groups,
    mix_values,
    reading,
    through_head,
    value_map,
)
from bertx.attribution.parts import check_parts
from bertx.errors import InputError
from bertx.models.anatomy import anatomy
from bertx.trace import Needs, Trace


class ValueZeroing(Attribution):
    """Value zeroing: distance that every token's state moves when one token's value is zeroed.

    In each layer on its own, from the layer's true input x: with token j's value vector set to 0
    in all heads and the attention weights kept, C_ij = 1 - cos(x'_i, x'_i without j) with x' the
    layer's output (Eq. 2); rows normalized to sum 1. A row that no token changes stands for
    itself. ``rollout`` multiplies the layers, C_L ... C_1, without adding a residual path, for C
    has it already; ``last`` takes C_L alone. The score is the row that the head reads ([CLS], or
    the mean of all rows for a head that reads the mean). Unsigned and blind to the class.
    Σ_t = 1. Cost: one forward and about two thirds of T forwards for T tokens; 1/L of it for
    ``last``.

    Args:
        aggregate: How the layers become one.
        budget: Token vectors in the feed-forward block at a time: bounds the memory.

    Raises:
        InputError: If ``aggregate`` is none of its names, or ``budget`` is below 1.

    References:
        Quantifying Context Mixing in Transformers (Mohebbi et al., 2023), arXiv 2301.12971.
    """

    needs = Needs.ATTENTION

    def __init__(
        self, aggregate: Literal["rollout", "last"] = "rollout", budget: int = 8192
    ) -> None:
        if aggregate not in ("rollout", "last"):
            raise InputError(f"ValueZeroing: expected rollout or last, got {aggregate!r}")
        if budget < 1:
            raise InputError(f"ValueZeroing: expected a budget of at least 1, got {budget}")
        self.aggregate = aggregate
        self.budget = budget

    def check(self, model: PreTrainedModel) -> None:
        """Raise `UnsupportedArchitecture` if the layers of ``model`` are not known."""
        super().check(model)
        check_parts(model, type(self).__name__)

    @torch.no_grad()
    def scores(self, trace: Trace) -> Tensor:
        """(B, T), not negative, sums to 1."""
        scored = torch.zeros_like(reading(trace))
        for group in groups(trace, self.budget):
            scores = self._of(group)
            scored[group.rows, : scores.shape[1]] = scores
        return scored

    def _of(self, group: Group) -> Tensor:
        parts = anatomy(group.trace.model, type(self).__name__)
        x = Plain(group.embeddings)
        state = (x if parts.projection is None else x.linear(parts.projection)).value
        maps = []
        for number, layer in enumerate(parts.layers):
            weights = group.attention(number, group.queries(number, parts))
            attended = mix_values(layer, state, weights)
            output = after_attention(layer, Plain(attended)).value
            if self.aggregate == "rollout" or number == len(parts.layers) - 1:
                maps.append(self._map(layer, state, weights, attended, output))
            state = output
        last = Plain(state) if parts.last_norm is None else Plain(state).norm(parts.last_norm)
        row = group.reading()[:, None, : state.shape[1]]
        group.compare(through_head(parts, Plain((row @ last.value)[:, 0])).value)
        for mixing in reversed(maps):
            row = row @ mixing
        return row[:, 0]

    def _map(
        self,
        layer: AnyLayer,
        x: Tensor,
        weights: Tensor,
        attended: Tensor,
        output: Tensor,
    ) -> Tensor:
        """Normalized distances (N, R, T) of R tokens' outputs without each of T values."""
        parts = _value_parts(layer, x, weights.shape[1])
        true = normalize(output, dim=-1)[:, None]
        size = max(1, self.budget // true[..., 0].numel())
        distances = []
        for start in range(0, x.shape[1], size):
            some = slice(start, start + size)
            value_part = weights[..., some].permute(0, 3, 2, 1) @ parts[:, some]  # (N, chunk, R, D)
            moved = after_attention(layer, Plain(attended[:, None] - value_part)).value
            # 1 - cos, without the rounding of 1 minus nearly 1
            distances.append((normalize(moved, dim=-1) - true).square().sum(-1) / 2)
        moves = torch.cat(distances, 1).transpose(1, 2)
        # padding's values have no attention: what they change is rounding
        rounding = (32 * torch.finfo(moves.dtype).eps) ** 2
        moves = torch.where(moves < rounding, 0, moves)
        total = moves.sum(-1, keepdim=True)
        identity = torch.eye(*moves.shape[1:], dtype=moves.dtype, device=moves.device)
        return torch.where(total == 0, identity, moves / total)  # NaN stays NaN


def _value_parts(layer: AnyLayer, x: Tensor, heads: int) -> Tensor:
    """What each token's value in each head becomes after the mixing map (N, T, H, D)."""
    values = by_head(value_map(layer)(before_attention(layer, Plain(x)).value), heads)
    weight = Affine.of(layer.mix).weight.unflatten(1, (heads, -1))
    return torch.einsum("nhtv,dhv->nthd", values, weight)
