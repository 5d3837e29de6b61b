"""The encoder computed again from its parts, with the attention weights of a trace held fixed.

One description of a layer serves every kind of state that can go through it: plain vectors
(`Plain`), or vectors that are kept as sums (`bertx.attribution.decomposition`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear

from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.models.activations import Elementwise
from bertx.models.anatomy import Anatomy, GatedLayer, Layer
from bertx.trace import Trace
from bertx.trace.rules import wide

AnyLayer = Layer | GatedLayer

PADDING = 1.25
"""Texts of different lengths share a group while padding adds at most a quarter to its work."""

SUM_TOLERANCE = 0.05
"""Largest difference between recomputed logits and the model's, in units of the largest logit."""


@dataclass(frozen=True)
class Affine:
    """A linear map x Wᵀ + b as tensors: weight (O, I), bias (O,) or None."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, part: nn.Linear) -> "Affine":
        """The map of a module in float32 or wider, without a graph."""
        bias: Tensor | None = part.bias
        return cls(wide(part.weight.detach()), None if bias is None else wide(bias.detach()))

    def __call__(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return linear(x, self.weight, self.bias)


class State(Protocol):
    """What can go through a layer."""

    def linear(self, part: nn.Linear) -> Self:
        """Through a linear map."""
        ...

    def norm(self, part: nn.LayerNorm) -> Self:
        """Through a LayerNorm."""
        ...

    def activate(self, function: Elementwise) -> Self:
        """Through an elementwise function."""
        ...

    def gated(self, function: Elementwise) -> Self:
        """f(first half) ⊙ second half of the features."""
        ...

    def plus(self, other: Self) -> Self:
        """Sum."""
        ...


S = TypeVar("S", bound=State)


@dataclass
class Plain:
    """Vectors (..., D) as they are; see `State`."""

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
    """What the values are computed from."""
    norm = layer.attend_norm if isinstance(layer, GatedLayer) else None
    return x if norm is None else x.norm(norm)


def after_attention(layer: AnyLayer, attended: S) -> S:
    """The output of a layer from the sum of its input and its mixed values."""
    if isinstance(layer, GatedLayer):
        inner = attended.norm(layer.up_norm).linear(layer.up).gated(layer.activation)
        return inner.linear(layer.down).plus(attended)
    middle = attended.norm(layer.mix_norm)
    inner = middle.linear(layer.up).activate(layer.activation).linear(layer.down)
    return inner.plus(middle).norm(layer.down_norm)


def through_head(parts: Anatomy, read: S) -> S:
    """The logits from the vector that the head reads."""
    for step in parts.head:
        read = read.linear(step.linear)
        read = read if step.activation is None else read.activate(step.activation)
        read = read if step.norm is None else read.norm(step.norm)
    return read


def value_map(layer: AnyLayer) -> Affine:
    """The map from `before_attention` to the values of all heads."""
    if isinstance(layer, Layer):
        return Affine.of(layer.value)
    fused = Affine.of(layer.fused)
    bias = None if fused.bias is None else fused.bias.chunk(3)[2]
    return Affine(fused.weight.chunk(3)[2], bias)


def by_head(values: Tensor, heads: int) -> Tensor:
    """(B, T, D) -> (B, H, T, D / H)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def mix_values(layer: AnyLayer, x: Tensor, weights: Tensor) -> Tensor:
    """Input plus mixed values under given attention weights.

    Args:
        layer: The layer.
        x: Its input (B, T, D).
        weights: Attention weights of the queries of the first R tokens (B, H, R, T).

    Returns:
        (B, R, D).
    """
    values = by_head(value_map(layer)(before_attention(layer, Plain(x)).value), weights.shape[1])
    context = (weights @ values).transpose(1, 2).flatten(2)
    return x[:, : weights.shape[2]] + Affine.of(layer.mix)(context)


@dataclass(frozen=True)
class Group:
    """Texts of about the same length, without most of their padding.

    Attributes:
        trace: The trace that they are from.
        rows: Their places in its batch (N,).
        mask: 1 for tokens, 0 for padding (N, T), T the length of the longest of them.
    """

    trace: Trace
    rows: Tensor
    mask: Tensor

    @property
    def embeddings(self) -> Tensor:
        """Output of the embedding block (N, T, D), float32 or wider."""
        return wide(self.trace.embeddings[self.rows, : self.mask.shape[1]])

    def attention(self, layer: int, queries: int) -> Tensor:
        """Attention weights (N, H, R, T) of the first R queries in a layer."""
        width = self.mask.shape[1]
        weights = self.trace.attention[layer].detach()[self.rows, :, :queries, :width]
        return wide(weights)

    def queries(self, layer: int, parts: Anatomy) -> int:
        """How many tokens of a layer's output matter: all, or the first where the head reads it."""
        top = layer == len(parts.layers) - 1
        return 1 if top and _reads_first(self.trace) else self.mask.shape[1]

    def reading(self) -> Tensor:
        """How the head reads the last layer's tokens: weights (N, T) that sum to 1."""
        return _weights(self.trace, _reads_first(self.trace))[self.rows, : self.mask.shape[1]]

    def compare(self, logits: Tensor) -> None:
        """Make sure that the parts computed together are what the model computes.

        Args:
            logits: The recomputed logits (N, C).

        Raises:
            InputError: If they are not the model's, as after a change to its forward.
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


def groups(trace: Trace, budget: int) -> Iterator[Group]:
    """Cut a batch into groups of texts of about the same length.

    Args:
        trace: The trace of the batch.
        budget: Largest N · T² of a group; a longer text is a group of its own.

    Yields:
        Every text once, the shortest first.
    """
    mask = trace.inputs.attention_mask
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    lengths = (
        (mask.ne(0) * places).amax(1).clamp(min=1)
    )  # up to the last token, whatever lies between
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
        yield Group(trace, rows, mask[rows, : sizes[stop - 1]])
        start = stop


def reading(trace: Trace) -> Tensor:
    """How the head reads the tokens: one-hot at the first, or the mean of a text's own (B, T).

    Raises:
        UnsupportedArchitecture: If it is not known what the head of the model reads.
    """
    return _weights(trace, head_reads(trace.model, "this method", trace.inputs) == "first")


def _weights(trace: Trace, reads_first: bool) -> Tensor:
    mask = trace.inputs.attention_mask.to(wide(trace.logits).dtype)
    if not reads_first:
        return mask / mask.sum(1, keepdim=True)
    first = torch.zeros_like(mask)
    first[:, 0] = 1
    return first


def _reads_first(trace: Trace) -> bool:
    return head_reads(trace.model, "this method") == "first"
