"""DecompX: every state of the network as a sum of vectors, one for each input token."""

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
    reading,
    through_head,
    value_map,
)
from bertx.attribution.parts import check_parts
from bertx.errors import InputError
from bertx.models.activations import Elementwise
from bertx.models.anatomy import Anatomy, UnsupportedArchitecture, anatomy
from bertx.trace import Needs, Trace
from bertx.trace.rules import Secant, wide

Bias = Literal["dot", "norm", "none"]
"""How a bias is shared among the tokens: by |⟨vector, bias⟩|, by the vector's length, or not."""

SLICE = 8192
"""Token vectors in the feed-forward block at a time."""


class DecompX(Attribution):
    """DecompX: the target's logit as a sum over the input tokens, carried through the network.

    Token t's state x_t is kept as Σ_k x_t←k over the T input tokens k; at the start x_t←t = e_t,
    the embedding block's output, and the others are 0. Attention weights are constants; LayerNorm
    is the linear map with the forward's deviation, γ ⊙ (x_k - mean x_k) / √(Var x + eps);
    activations (GELU, tanh, ReLU) are multiplied by their secant f(x) / x, f'(0) where x = 0; a
    gate a ⊙ g (ModernBERT) gives half of itself to each factor. Then the head in the same way.

    Biases b, in the order of the authors' code: W_o b_v + b_o after attention and residual, β of
    both LayerNorms, both of the feed-forward block (the second before the residual is added),
    the head's, and the C numbers of the last map as one vector; a projection between embeddings
    and layers gives its bias to the token itself. Each is shared among the vectors that it is
    added to, in proportion to |⟨x_k, b⟩| (``dot``, the default of the authors' code), to ‖x_k‖
    (``norm``), evenly where all of these are 0, or to nobody (``none``). Unlike there, the value
    bias of the first layer is shared as in all others; there each token keeps that of its own
    values, A_tk W_o b_v.

    In logits; signed. With ``dot`` and ``norm`` Σ_t = y_c over all tokens, special ones included;
    with ``none`` it is `CPLRP`. All classes cost as much as one. Cost: about T forwards for T
    tokens, without their padding. Memory: 2 · T² · D numbers for a text (3 for ModernBERT), and no
    more for a batch than ``budget`` allows: 1.6 GB in float32 for 512 tokens and D = 768.

    Args:
        bias: How biases are shared.
        budget: Largest N · T² of N texts that are decomposed together; see memory.

    Raises:
        InputError: If ``bias`` is none of its names, or ``budget`` is below 1.

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
        """Raise `UnsupportedArchitecture` if ``model`` is not known or an f(0) is not 0."""
        super().check(model)
        check_parts(model, type(self).__name__)
        parts = anatomy(model, type(self).__name__)
        zero = torch.zeros(1, dtype=model.dtype, device=model.device)
        for step in (*parts.layers, *parts.head):
            if step.activation is not None and step.activation(zero).abs().item() > 0:
                needed = "activations that are 0 at 0, such as gelu, relu, silu and tanh"
                raise UnsupportedArchitecture(type(self).__name__, model, needed)

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), sums to the target's logit unless biases are dropped."""
        return self._classes(trace).gather(
            1, trace.target[:, None, None].expand(-1, 1, trace.embeddings.shape[1])
        )[:, 0]

    def every_class(self, trace: Trace) -> Tensor:
        """(B, C, T), for the price of one class."""
        with torch.autocast(trace.model.device.type, enabled=False):
            scores = self._classes(trace)
        return scores.masked_fill(trace.inputs.attention_mask[:, None] == 0, 0.0)

    @torch.no_grad()
    def _classes(self, trace: Trace) -> Tensor:
        mask = reading(trace)
        scores = mask.new_zeros(len(mask), trace.logits.shape[1], mask.shape[1])
        for group in groups(trace, self.budget):
            logits = self._of(group)
            group.compare(logits.total)
            scores[group.rows, :, : logits.parts.shape[1]] = logits.parts.transpose(1, 2)
        return scores

    def _of(self, group: Group) -> "Decomposed":
        """The logits (N, C) of a group's texts as parts (N, T, C)."""
        parts = anatomy(group.trace.model, type(self).__name__)
        x = self._start(group, parts)
        for number, layer in enumerate(parts.layers):
            weights = group.attention(number, group.queries(number, parts))
            x = _sliced(layer, _attend(layer, x, weights))
        x = x if parts.last_norm is None else x.norm(parts.last_norm)
        row = group.reading()[:, None, : x.total.shape[1]]
        total = (row @ x.total)[:, 0]
        read = (row @ x.parts.flatten(2)).unflatten(-1, x.parts.shape[2:])[:, 0]
        return through_head(parts, replace(x, total=total, parts=read))

    def _start(self, group: Group, parts: Anatomy) -> "Decomposed":
        x, projection = group.embeddings, parts.projection
        tokens = x
        if projection is not None:
            projected = Affine.of(projection)
            x = projected(tokens)
            tokens = linear(tokens, projected.weight) if self.bias == "none" else x
        return Decomposed(x, tokens.mT.diag_embed().permute(0, 2, 3, 1), group.mask, self.bias)


@dataclass
class Decomposed:
    """Vectors as sums; see `bertx.attribution.layers.State`.

    Attributes:
        total: The vectors (N, ..., D), as in the forward.
        parts: Their summands for S input tokens (N, ..., S, D).
        sources: 1 for input tokens, 0 for padding (N, S).
        bias: How biases are shared.
    """

    total: Tensor
    parts: Tensor
    sources: Tensor
    bias: Bias

    def linear(self, part: nn.Linear) -> "Decomposed":
        """See `State`."""
        through = Affine.of(part)
        moved = replace(self, total=through(self.total), parts=linear(self.parts, through.weight))
        return moved.share(through.bias)

    def norm(self, part: nn.LayerNorm) -> "Decomposed":
        """See `State`."""
        variance = self.total.var(-1, correction=0, keepdim=True)
        scale = (variance + part.eps).rsqrt() * wide(part.weight.detach())
        parts = self.parts - self.parts.mean(-1, keepdim=True)
        total = Plain(self.total).norm(part).value
        moved = replace(self, total=total, parts=parts.mul_(scale[..., None, :]))
        return moved.share(None if part.bias is None else wide(part.bias.detach()))

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
        """Share a bias (D,), which ``total`` has already, among the parts, in place."""
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
    """Input plus mixed values of the first R tokens under attention weights (N, H, R, T)."""
    inner, values, mix = before_attention(layer, x).parts, value_map(layer), Affine.of(layer.mix)
    heads, queries = weights.shape[1:3]
    parts = x.parts[:, :queries].clone(memory_format=torch.contiguous_format)
    flat = parts.view(-1, parts.shape[-1])
    for head, (into, out) in enumerate(
        zip(values.weight.chunk(heads), mix.weight.chunk(heads, 1), strict=True)
    ):
        value = linear(inner, into)  # (N, T, S, D / H): a head at a time, no copies
        context = weights[:, head] @ value.flatten(2)
        flat.addmm_(context.view(-1, len(into)), out.mT)
    moved = replace(x, total=mix_values(layer, x.total, weights), parts=parts)
    bias = None if values.bias is None else linear(values.bias, mix.weight)
    if mix.bias is not None:
        bias = mix.bias if bias is None else bias + mix.bias
    return moved.share(bias)


def _sliced(layer: AnyLayer, x: Decomposed) -> Decomposed:
    """`after_attention`, some tokens at a time, written over the input."""
    size = max(1, SLICE // x.parts[:, 0, :, 0].numel())
    for start in range(0, x.total.shape[1], size):
        some = slice(start, start + size)
        part = replace(x, total=x.total[:, some], parts=x.parts[:, some])
        done = after_attention(layer, part)
        x.total[:, some], x.parts[:, some] = done.total, done.parts
    return x
