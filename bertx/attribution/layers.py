"""The encoder recomputed from its parts, with the attention weights of a trace held constant.

A layer is described once for every representation of a hidden state that can pass through it:
plain vectors (`Plain`), or sums of vectors (`bertx.attribution.decomposition.Decomposed`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from bertx.attribution.readout import Readout
from bertx.errors import InputError
from bertx.models.activations import Elementwise
from bertx.models.anatomy import Anatomy, GatedLayer, Layer
from bertx.trace import Trace
from bertx.trace.rules import wide

AnyLayer = Layer | GatedLayer

PADDING = 1.25
"""Texts of different lengths form a group while padding adds at most a quarter to its work."""

SUM_TOLERANCE = 0.05
"""Largest allowed error of recomputed logits, in units of the text's largest logit (at least 1)."""


@dataclass(frozen=True)
class Affine:
    """A linear map x Wᵀ + b as tensors: weight (O, I), bias (O,) or None."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, part: nn.Linear) -> "Affine":
        """Return the map of a module in float32 or float64, without a graph."""
        bias: Tensor | None = part.bias
        return cls(wide(part.weight.detach()), None if bias is None else wide(bias.detach()))

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (..., I) to (..., O)."""
        return linear(x, self.weight, self.bias)


class State(Protocol):
    """A representation of hidden states that can pass through a layer."""

    def linear(self, part: nn.Linear) -> Self:
        """Apply a linear map."""
        ...

    def norm(self, part: nn.LayerNorm) -> Self:
        """Apply a LayerNorm."""
        ...

    def activate(self, function: Elementwise) -> Self:
        """Apply an elementwise function."""
        ...

    def gated(self, function: Elementwise) -> Self:
        """Return f(first half of the features) ⊙ second half."""
        ...

    def plus(self, other: Self) -> Self:
        """Add another state."""
        ...


S = TypeVar("S", bound=State)


@dataclass
class Plain:
    """Vectors (..., D); see `State`."""

    value: Tensor

    def linear(self, part: nn.Linear) -> "Plain":
        """See `State`."""
        return Plain(Affine.of(part)(self.value))

    def norm(self, part: nn.LayerNorm) -> "Plain":
        """See `State`."""
        weight = wide(part.weight.detach())
        bias = None if part.bias is None else wide(part.bias.detach())
        return Plain(layer_norm(self.value, part.normalized_shape, weight, bias, part.eps))

    def activate(self, function: Elementwise) -> "Plain":
        """See `State`."""
        return Plain(function(self.value))

    def gated(self, function: Elementwise) -> "Plain":
        """See `State`."""
        signal, gate = self.value.chunk(2, -1)
        return Plain(function(signal) * gate)

    def plus(self, other: "Plain") -> "Plain":
        """See `State`."""
        return Plain(self.value + other.value)


def before_attention(layer: AnyLayer, x: S) -> S:
    """Return the state that queries, keys and values are computed from."""
    norm = layer.attend_norm if isinstance(layer, GatedLayer) else None
    return x if norm is None else x.norm(norm)


def after_attention(layer: AnyLayer, attended: S) -> S:
    """Return the output of a layer from the sum of its input and its mixed values."""
    if isinstance(layer, GatedLayer):
        inner = attended.norm(layer.up_norm).linear(layer.up).gated(layer.activation)
        return inner.linear(layer.down).plus(attended)
    middle = attended.norm(layer.mix_norm)
    inner = middle.linear(layer.up).activate(layer.activation).linear(layer.down)
    return inner.plus(middle).norm(layer.down_norm)


def through_head(parts: Anatomy, state: S) -> S:
    """Return the logits from the vector that the head reads."""
    for step in parts.head:
        state = state.linear(step.linear)
        if step.activation is not None:
            state = state.activate(step.activation)
        if step.norm is not None:
            state = state.norm(step.norm)
    return state


def value_map(layer: AnyLayer) -> Affine:
    """Return the map from `before_attention` to the values of all heads."""
    if isinstance(layer, Layer):
        return Affine.of(layer.value)
    fused = Affine.of(layer.fused)
    bias = None if fused.bias is None else fused.bias.chunk(3)[2]
    return Affine(fused.weight.chunk(3)[2], bias)


def values_of(layer: AnyLayer, x: Tensor, heads: int) -> Tensor:
    """Return the values (B, H, T, D/H) that a layer computes from its input (B, T, D)."""
    values = value_map(layer)(before_attention(layer, Plain(x)).value)
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def mix_values(layer: AnyLayer, x: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of a layer's input and its values mixed under given attention weights.

    Args:
        layer: The layer.
        x: Its input (B, T, D).
        weights: Attention weights of the first R tokens' queries (B, H, R, T).

    Returns:
        (B, R, D).
    """
    context = (weights @ values_of(layer, x, weights.shape[1])).transpose(1, 2).flatten(2)
    return x[:, : weights.shape[2]] + Affine.of(layer.mix)(context)


@dataclass(frozen=True)
class Group:
    """Texts of about the same length, without most of their padding.

    Attributes:
        trace: The trace of the batch.
        rows: The texts' numbers in the batch (N,).
        mask: 1 for tokens, 0 for padding (N, T), T the length of the longest text of the group.
        reads: What the head of the model reads.
    """

    trace: Trace
    rows: Tensor
    mask: Tensor
    reads: Readout

    @property
    def embeddings(self) -> Tensor:
        """Output of the embedding block (N, T, D), float32 or float64."""
        return wide(self.trace.embeddings[self.rows, : self.mask.shape[1]])

    def first_state(self, parts: Anatomy) -> Tensor:
        """Return the input of the first layer (N, T, D)."""
        x, projection = self.embeddings, parts.projection
        return x if projection is None else Affine.of(projection)(x)

    def attention(self, number: int, parts: Anatomy) -> Tensor:
        """Return the attention weights of a layer for the R queries that matter (N, H, R, T).

        These are all, except in the last layer of a model whose head reads the first token alone.
        """
        width = self.mask.shape[1]
        last = number == len(parts.layers) - 1
        queries = 1 if last and self.reads == "first" else width
        return wide(self.trace.attention[number].detach()[self.rows, :, :queries, :width])

    def readout(self, states: int) -> Tensor:
        """Return the head's weights of the last layer's first R tokens (N, 1, R), with sum 1."""
        return readout_weights(self.trace, self.reads)[self.rows, None, :states]

    def logits(self, parts: Anatomy, x: Tensor) -> Tensor:
        """Return the logits (N, C) from the output of the last layer (N, R, D)."""
        state = Plain(x) if parts.last_norm is None else Plain(x).norm(parts.last_norm)
        read = self.readout(x.shape[1]) @ state.value
        return through_head(parts, Plain(read[:, 0])).value

    def check_logits(self, logits: Tensor) -> None:
        """Check that recomputed logits (N, C) are the model's.

        Raises:
            InputError: If they are not, such as after a change to the model's forward.
        """
        expected = self.trace.logits[self.rows]
        if expected.dtype in (torch.bfloat16, torch.float16):
            return
        error = (logits - expected).abs().amax(-1)
        if (error > SUM_TOLERANCE * expected.abs().amax(-1).clamp(min=1)).any():
            raise InputError(
                f"{type(self.trace.model).__name__} does not compute what its parts do: logits "
                f"differ by {float(error.max()):.3g}. Expected an unchanged model of transformers; "
                "remove adapters or changes to its forward, or leave this method out."
            )


def groups(trace: Trace, budget: int, reads: Readout) -> Iterator[Group]:
    """Divide a batch into groups of texts of about the same length.

    Args:
        trace: The trace of the batch.
        budget: Largest N · T² of a group; a longer text is a group by itself.
        reads: What the head of the model reads.

    Yields:
        Every text in one group, short texts first.
    """
    mask = trace.inputs.attention_mask
    positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    # The position of the last token: padding may also be on the left or in between.
    lengths = (mask.ne(0) * positions).amax(1).clamp(min=1)
    order = lengths.argsort(stable=True)
    sizes, start = lengths[order].tolist(), 0
    while start < len(sizes):
        stop, work = start + 1, sizes[start] ** 2
        while stop < len(sizes):
            padded, work = (stop + 1 - start) * sizes[stop] ** 2, work + sizes[stop] ** 2
            if padded > budget or padded > PADDING * work:
                break
            stop += 1
        rows = order[start:stop]
        yield Group(trace, rows, mask[rows, : sizes[stop - 1]], reads)
        start = stop


def readout_weights(trace: Trace, reads: Readout) -> Tensor:
    """Return the head's weights of the tokens (B, T): 1 at the first, or 1/T at each of a text."""
    mask = trace.inputs.attention_mask.to(wide(trace.logits).dtype)
    if reads == "mean":
        return mask / mask.sum(1, keepdim=True)
    first = torch.zeros_like(mask)
    first[:, 0] = 1
    return first
