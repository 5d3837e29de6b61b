"""Value zeroing: how far a token's state moves when another token's value is set to 0."""

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
    groups,
    mix_values,
    values_of,
)
from bertx.attribution.parts import check_parts
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.models.anatomy import anatomy
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class ValueZeroing(Attribution):
    """Value zeroing: the distance that tokens' states move when one token's value is set to 0.

    In each layer by itself, from the layer's true input: C_ij = 1 - cos(x'_i, x'_i without j), with
    x' the output of the layer and "without j" token j's value vectors set to 0 in all heads and
    the attention weights kept (Eq. 2). Rows are normalized to sum 1; a row that no token changes
    becomes that of the identity. ``rollout`` multiplies the layers, C_L ... C_1, without a residual
    path, which C already contains; ``last`` takes C_L alone. The scores are the row that the head
    of the model reads: the row of [CLS], or the mean of all rows.

    Range: unsigned, class-blind, Σ_t = 1.
    Cost: one forward and about two thirds of T forwards for T tokens; for ``last`` 1/L of these.
    Refuses: models whose parts are not known (`bertx.models.anatomy.anatomy`) or that compute
    anything else than these parts.

    Args:
        aggregate: How the layers are combined: ``rollout`` or ``last``.
        budget: Largest number of token vectors in the feed-forward block at a time, which bounds
            the memory.

    Raises:
        InputError: If ``aggregate`` is neither, or ``budget`` is below 1; when called, if the model
            does not compute what its parts do.

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
        """Refuse a model whose parts are not known.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        super().check(model)
        check_parts(model, type(self).__name__)

    @torch.no_grad()
    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): not negative, with sum 1."""
        reads = head_reads(trace.model, type(self).__name__, trace.inputs)
        scores = torch.zeros_like(wide(trace.embeddings[..., 0]))
        for group in groups(trace, self.budget, reads):
            row = self._group_scores(group)
            scores[group.rows, : row.shape[1]] = row
        return scores

    def _group_scores(self, group: Group) -> Tensor:
        """Return the scores (N, T) of a group's texts."""
        parts = anatomy(group.trace.model, type(self).__name__)
        x = group.first_state(parts)
        mixing = []
        for number, layer in enumerate(parts.layers):
            weights = group.attention(number, parts)
            attended = mix_values(layer, x, weights)
            output = after_attention(layer, Plain(attended)).value
            if self.aggregate == "rollout" or number == len(parts.layers) - 1:
                mixing.append(self._mixing(layer, x, weights, attended, output))
            x = output
        group.check_logits(group.logits(parts, x))
        row = group.readout(x.shape[1])
        for layer_mixing in reversed(mixing):
            row = row @ layer_mixing
        return row[:, 0]

    def _mixing(
        self,
        layer: AnyLayer,
        x: Tensor,
        weights: Tensor,
        attended: Tensor,
        output: Tensor,
    ) -> Tensor:
        """Return C (N, R, T), for R outputs and T values, with rows that sum to 1."""
        heads = weights.shape[1]
        mix = Affine.of(layer.mix).weight.unflatten(1, (heads, -1))
        # Each token's values after the map that mixes the heads.
        mixed = torch.einsum("nhtv,dhv->nthd", values_of(layer, x, heads), mix)
        direction = normalize(output, dim=-1)[:, None]
        size = max(1, self.budget // direction[..., 0].numel())
        distances = []
        for start in range(0, x.shape[1], size):
            some = slice(start, start + size)
            removed = weights[..., some].permute(0, 3, 2, 1) @ mixed[:, some]  # (N, size, R, D)
            moved = after_attention(layer, Plain(attended[:, None] - removed)).value
            # 1 - cos = |a - b|² / 2 of unit vectors, which does not subtract nearly equal numbers.
            distances.append((normalize(moved, dim=-1) - direction).square().sum(-1) / 2)
        moves = torch.cat(distances, 1).transpose(1, 2)
        # Padding gets no attention; a distance of this size is rounding.
        rounding = (32 * torch.finfo(moves.dtype).eps) ** 2
        moves = torch.where(moves < rounding, 0, moves)
        total = moves.sum(-1, keepdim=True)
        identity = torch.eye(*moves.shape[1:], dtype=moves.dtype, device=moves.device)
        return torch.where(total == 0, identity, moves / total)  # NaN stays NaN
