"""The core of attention with its weights as such: the ordinary forward, the backward in one piece.

An ordinary backward writes several tensors of the size of the weights (B, H, T, T) into memory and
reads them again. Here it goes by blocks that stay in the caches, and on a CPU it leaves out queries
without gradient: where a classifier reads its first token alone, those of the last layer's others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bertx.trace.rules import wide

BLOCK = 1 << 20
"""How many weights a CPU handles at once."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ · scale + mask) v, as transformers' eager attention computes it, bit for bit.

    Args:
        query: (B, H, T, D/H).
        key: (B, H, T, D/H).
        value: (B, H, T, D/H).
        mask: Added to the logits (B, 1, T, T), or None.
        scale: Factor of the logits.

    Returns:
        Context (B, T, H, D/H) and weights (B, H, T, T).
    """
    logits = (query @ key.transpose(-1, -2)).mul_(scale)
    if mask is not None and (mask.device.type != "cpu" or mask.any()):  # without padding, zeros
        wider = logits.dtype != mask.dtype  # as under autocast
        logits = logits + mask if wider else logits.add_(mask)
    if logits.device.type == "cpu" and logits.dtype == value.dtype and not logits.requires_grad:
        weights = torch.softmax(logits, -1, out=logits)  # new memory would cost more than the sums
    else:
        weights = logits.softmax(-1).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class Core(NamedTuple):
    """One `attend` of a forward.

    Attributes:
        query: (B, H, T, D/H).
        key: (B, H, T, D/H).
        value: (B, H, T, D/H).
        context: What came out (B, T, H, D/H).
        weights: (B, H, T, T).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    context: Tensor
    weights: Tensor


class Gradients(NamedTuple):
    """What a backward through a `Core` gives.

    Attributes:
        query: ∂y/∂q (B, H, T, D/H), without the factor of the logits; None if it was not wanted.
        key: ∂y/∂k likewise.
        value: ∂y/∂v (B, H, T, D/H).
        weighted: mean_H max(A ⊙ ∂y/∂A, 0) (B, T, T), A the weights; None if it was not wanted.
    """

    query: Tensor | None
    key: Tensor | None
    value: Tensor
    weighted: Tensor | None


@torch.no_grad()
def gradients_of(
    core: Core, grad: Tensor, logits: bool = True, weighted: bool = False
) -> Gradients:
    """Vector-Jacobian products of a core.

    With G = ∂y/∂c at the context c: ∂y/∂v = Aᵀ G, ∂y/∂A = G vᵀ, and at the logits
    A ⊙ (∂y/∂A - Σ_d G ⊙ c), because the rows of A ⊙ ∂y/∂A sum to those of G ⊙ c.

    Args:
        core: The forward.
        grad: G (B, T, H, D/H).
        logits: Whether gradients of queries and keys are wanted.
        weighted: Whether the weighted weights are.
    """
    texts, heads, _, _ = core.weights.shape
    rows = _used(grad)
    a, q = _flat(core.weights[:, :, rows]), _flat(core.query[:, :, rows])
    g, c = (_flat(x[:, rows].transpose(1, 2)) for x in (grad.to(core.value.dtype), core.context))
    k, v = _flat(core.key), _flat(core.value)
    level = (wide(g) * wide(c)).sum(-1, keepdim=True)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    total = wide(a).new_zeros(texts, *a.shape[1:]) if weighted else None
    for block in _blocks(texts, heads, a):
        dv[block] = a[block].mT @ g[block]
        if not (logits or weighted):
            continue
        change = wide(g[block] @ v[block].mT)
        if total is not None:
            some = slice(block.start // heads, (block.stop - 1) // heads + 1)
            by_text = (x.unflatten(0, (some.stop - some.start, -1)) for x in (a[block], change))
            add_positive(total[some], *by_text)
        if logits:
            flow = change.sub_(level[block]).mul_(a[block]).to(q.dtype)
            dq[block], dk[block] = flow @ k[block], flow.mT @ q[block]
    return Gradients(
        _placed(dq, rows, core.query) if logits else None,
        dk.view_as(core.key) if logits else None,
        dv.view_as(core.value),
        None if total is None else _placed(total / heads, rows, core.weights[:, 0]),
    )


class Watch:
    """Hears of attention weights in a backward.

    Attributes:
        weighted: Where mean_H max(A ⊙ ∂y/∂A, 0) of each layer (B, T, T) goes in the next backward;
            None if it is not wanted.
    """

    def __init__(self) -> None:
        self.weighted: dict[int, Tensor] | None = None

    @contextmanager
    def writing(self, weighted: dict[int, Tensor], attention: list[Tensor]) -> Iterator[None]:
        """Fill ``weighted`` by the backward in the body.

        Args:
            weighted: The place, by number of layer.
            attention: The weights of all layers.
        """
        hooks = [
            weights.register_hook(partial(_weigh, weighted, number, weights.detach()))
            for number, weights in enumerate(attention)
            if weights.requires_grad  # by a model's own softmax, not by a core
        ]
        self.weighted = weighted
        try:
            yield
        finally:
            self.weighted = None
            for hook in hooks:
                hook.remove()


def _weigh(weighted: dict[int, Tensor], number: int, weights: Tensor, change: Tensor) -> None:
    total = torch.zeros_like(wide(change[:, 0]))
    add_positive(total, weights, change)
    weighted[number] = total / change.shape[1]


def add_positive(total: Tensor, weights: Tensor, change: Tensor) -> None:
    """Add Σ_H max(A ⊙ ∂y/∂A, 0).

    Args:
        total: (B, T, T).
        weights: A (B, H, T, T).
        change: ∂y/∂A (B, H, T, T).
    """
    for head, gradient in zip(weights.unbind(1), change.unbind(1), strict=True):
        total.addcmul_(wide(head), wide(gradient).clamp(min=0))  # no weight is negative


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


def _used(grad: Tensor) -> slice | Tensor:
    """The queries that have a gradient; one of them tells most layers apart."""
    if grad.device.type != "cpu" or grad[:, 1:2].any():
        return slice(None)
    return grad.flatten(2).any(-1).any(0).nonzero()[:, 0]


def _blocks(texts: int, heads: int, weights: Tensor) -> Iterator[slice]:
    """Parts of B·H: some whole texts, or some heads of one."""
    most = BLOCK if weights.device.type == "cpu" else weights.numel()
    per = max(most // max(weights[0].numel(), 1), 1)
    width, whole = (per // heads * heads, texts * heads) if per >= heads else (per, heads)
    for first in range(0, texts * heads, whole):
        for start in range(first, first + whole, width):
            yield slice(start, min(start + width, first + whole))


def _placed(x: Tensor, rows: slice | Tensor, like: Tensor) -> Tensor:
    """What was computed of some queries, in the shape of all."""
    if isinstance(rows, slice):
        return x.view_as(like)
    placed = x.new_zeros(like.shape)
    placed[..., rows, :] = x.view(*like.shape[:-2], len(rows), like.shape[-1])
    return placed
