"""DecompX: every hidden state as a sum of vectors, one for each input token."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.attribution.layers import (
    Affine,
    AnyLayer,
    Group,
    Plain,
    after_attention,
    before_attention,
    groups,
    mix_values,
    through_head,
    value_map,
)
from bertx.attribution.parts import check_parts
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.models.activations import Elementwise
from bertx.models.anatomy import Anatomy, UnsupportedArchitecture, anatomy
from bertx.trace import Needs, Trace
from bertx.trace.rules import Secant, wide

Bias = Literal["dot", "norm", "none"]
"""How a bias is shared among vectors: by |⟨vector, bias⟩|, by the vector's norm, or not."""

SLICE = 8192
"""Largest number of vectors in the feed-forward block at a time, which bounds the memory."""


class DecompX(Attribution):
    """DecompX: the logit as a sum over the input tokens, propagated through the network.

    Token t's state x_t is kept as Σ_k x_t←k over the T input tokens k. At the start x_t←t = e_t and
    the other terms are 0. Attention weights are constants; LayerNorm is the linear map
    γ ⊙ (x_k - mean x_k) / √(Var x + eps) with the variance of the forward; activations (GELU, tanh,
    ReLU) are multiplied by their secant f(x) / x, or f'(0) where x = 0; of a gate a ⊙ g
    (ModernBERT) each factor gets half. The head is decomposed in the same way.

    A bias b is shared among the vectors x_k that it is added to: in proportion to |⟨x_k, b⟩|
    (``dot``, the default of the authors' code) or ‖x_k‖ (``norm``), evenly if all of these are 0,
    or to none of them (``none``). Biases in the order of the authors' code: W_o b_v + b_o after
    attention and residual; β of both LayerNorms; both of the feed-forward block, the second before
    the residual is added; the head's, where the C biases of the last map are one vector. The bias
    of a projection between embeddings and layers goes to the token itself. In one place the
    authors' code differs: in the first layer, each token there keeps the value bias of its own
    values, A_tk W_o b_v; here it is shared as in all other layers.

    Range: signed, in logits. With ``dot`` and ``norm`` Σ_t = y_c over all tokens, special ones
    included; with ``none`` the scores equal those of `CPLRP`.
    Cost: about T forwards for T tokens; all classes cost as much as one. Memory: 2 · T² · D numbers
    per text (3 · T² · D for ModernBERT), 1.6 GB in float32 for 512 tokens and D = 768; for a batch
    it is bounded by ``budget``.
    Refuses: models whose parts are not known (`bertx.models.anatomy.anatomy`) or that compute
    anything else than these parts, and activations that are not 0 at 0.

    Args:
        bias: How biases are shared: ``dot``, ``norm`` or ``none``.
        budget: Largest N · T² of N texts that are decomposed together.

    Raises:
        InputError: If ``bias`` is not one of these, or ``budget`` is below 1; when called, if the
            model does not compute what its parts do.

    References:
        DecompX: Explaining Transformers Decisions by Propagating Token Decomposition (Modarressi
        et al., 2023), arXiv 2306.02873.
    """

    needs = Needs.ATTENTION
    signed = True

    def __init__(self, bias: Bias = "dot", budget: int = 65536) -> None:
        if bias not in get_args(Bias):
            raise InputError(f"DecompX: expected a bias of dot, norm or none, got {bias!r}")
        if budget < 1:
            raise InputError(f"DecompX: expected a budget of at least 1, got {budget}")
        self.bias: Bias = bias
        self.budget = budget

    def check(self, model: PreTrainedModel) -> None:
        """Refuse a model whose parts are not known, or with an activation that is not 0 at 0.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
        """
        super().check(model)
        check_parts(model, type(self).__name__)
        parts = anatomy(model, type(self).__name__)
        zero = torch.zeros(1, dtype=model.dtype, device=model.device)
        for step in (*parts.layers, *parts.head):
            if step.activation is not None and step.activation(zero).abs().item() > 0:
                needed = "activations that are 0 at 0, such as gelu, relu, silu and tanh"
                raise UnsupportedArchitecture(type(self).__name__, model, needed)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T): with sum y_c unless biases are dropped."""
        scores = self._class_scores(trace)
        return scores[torch.arange(len(scores), device=scores.device), trace.target]

    def every_class(self, trace: Trace) -> Tensor:
        """Compute the scores of all classes (B, C, T), at the cost of one class."""
        with torch.autocast(trace.model.device.type, enabled=False):
            scores = self._class_scores(trace)
        return scores.masked_fill(trace.inputs.attention_mask[:, None] == 0, 0.0)

    @torch.no_grad()
    def _class_scores(self, trace: Trace) -> Tensor:
        reads = head_reads(trace.model, type(self).__name__, trace.inputs)
        texts, tokens = trace.inputs.input_ids.shape
        scores = wide(trace.logits).new_zeros(texts, trace.logits.shape[1], tokens)
        for group in groups(trace, self.budget, reads):
            logits = self._decompose(group)
            group.check_logits(logits.total)
            scores[group.rows, :, : logits.parts.shape[1]] = logits.parts.transpose(1, 2)
        return scores

    def _decompose(self, group: Group) -> "Decomposed":
        """Return the logits (N, C) of a group's texts with their summands (N, T, C)."""
        parts = anatomy(group.trace.model, type(self).__name__)
        x = self._start(group, parts)
        for number, layer in enumerate(parts.layers):
            x = _feed_forward(layer, _attend(layer, x, group.attention(number, parts)))
        x = x if parts.last_norm is None else x.norm(parts.last_norm)
        row = group.readout(x.total.shape[1])
        total = (row @ x.total)[:, 0]
        summands = (row @ x.parts.flatten(2)).unflatten(-1, x.parts.shape[2:])[:, 0]
        return through_head(parts, replace(x, total=total, parts=summands))

    def _start(self, group: Group, parts: Anatomy) -> "Decomposed":
        x = group.first_state(parts)
        tokens = x
        if parts.projection is not None and self.bias == "none":
            tokens = linear(group.embeddings, Affine.of(parts.projection).weight)
        return Decomposed(x, tokens.mT.diag_embed().permute(0, 2, 3, 1), group.mask, self.bias)


@dataclass
class Decomposed:
    """Vectors with their summands; see `bertx.attribution.layers.State`.

    Attributes:
        total: The vectors (N, ..., D), as in the forward.
        parts: Their summands, one for each of S input tokens (N, ..., S, D).
        sources: 1 for input tokens, 0 for padding (N, S).
        bias: How biases are shared.
    """

    total: Tensor
    parts: Tensor
    sources: Tensor
    bias: Bias

    def linear(self, part: nn.Linear) -> "Decomposed":
        """See `State`."""
        affine = Affine.of(part)
        mapped = replace(self, total=affine(self.total), parts=linear(self.parts, affine.weight))
        return mapped.share(affine.bias)

    def norm(self, part: nn.LayerNorm) -> "Decomposed":
        """See `State`."""
        variance = self.total.var(-1, correction=0, keepdim=True)
        scale = (variance + part.eps).rsqrt() * wide(part.weight.detach())
        parts = self.parts - self.parts.mean(-1, keepdim=True)
        total = Plain(self.total).norm(part).value
        normalized = replace(self, total=total, parts=parts.mul_(scale[..., None, :]))
        return normalized.share(None if part.bias is None else wide(part.bias.detach()))

    def activate(self, function: Elementwise) -> "Decomposed":
        """See `State`."""
        total = function(self.total)
        slope = Secant(function).slope(self.total, total)
        return replace(self, total=total, parts=self.parts.mul_(slope[..., None, :]))

    def gated(self, function: Elementwise) -> "Decomposed":
        """See `State`."""
        signal, gate = (
            replace(self, total=total, parts=parts)
            for total, parts in zip(self.total.chunk(2, -1), self.parts.chunk(2, -1), strict=True)
        )
        signal = signal.activate(function)
        parts = signal.parts * gate.total[..., None, :] + gate.parts * signal.total[..., None, :]
        return replace(self, total=signal.total * gate.total, parts=parts / 2)

    def plus(self, other: "Decomposed") -> "Decomposed":
        """See `State`."""
        return replace(self, total=self.total + other.total, parts=self.parts + other.parts)

    def share(self, bias: Tensor | None) -> "Decomposed":
        """Share a bias (D,), which ``total`` already includes, among ``parts``, in place."""
        if bias is None or self.bias == "none":
            return self
        size = self.parts @ bias if self.bias == "dot" else self.parts.norm(dim=-1)
        size = size.abs()
        total = size.sum(-1, keepdim=True)
        even = self.sources / self.sources.sum(-1, keepdim=True)
        even = even.reshape(len(even), *[1] * (size.dim() - 2), -1).to(size.dtype)
        self.parts.addcmul_(torch.where(total == 0, even, size / total)[..., None], bias)
        return self


def _attend(layer: AnyLayer, x: Decomposed, weights: Tensor) -> Decomposed:
    """Add the mixed values to the input, for R tokens under attention weights (N, H, R, T)."""
    inner, values, mix = before_attention(layer, x).parts, value_map(layer), Affine.of(layer.mix)
    heads, queries = weights.shape[1:3]
    parts = x.parts[:, :queries].clone(memory_format=torch.contiguous_format)
    flat = parts.view(-1, parts.shape[-1])
    for head, (into, out) in enumerate(
        zip(values.weight.chunk(heads), mix.weight.chunk(heads, 1), strict=True)
    ):
        value = linear(inner, into)  # (N, T, S, D/H): one head at a time saves memory
        context = weights[:, head] @ value.flatten(2)
        flat.addmm_(context.view(-1, len(into)), out.mT)
    attended = replace(x, total=mix_values(layer, x.total, weights), parts=parts)
    bias = None if values.bias is None else linear(values.bias, mix.weight)
    if mix.bias is not None:
        bias = mix.bias if bias is None else bias + mix.bias
    return attended.share(bias)


def _feed_forward(layer: AnyLayer, x: Decomposed) -> Decomposed:
    """Apply `after_attention` to some tokens at a time, in place."""
    size = max(1, SLICE // x.parts[:, 0, :, 0].numel())
    for start in range(0, x.total.shape[1], size):
        some = slice(start, start + size)
        tokens = replace(x, total=x.total[:, some], parts=x.parts[:, some])
        output = after_attention(layer, tokens)
        x.total[:, some], x.parts[:, some] = output.total, output.parts
    return x
