"""Attention with explicit weights: the ordinary forward, and a backward written by hand.

Autograd writes several tensors of the size of the weights (B, H, T, T) to memory and reads them
back. The backward here works in blocks that stay in a CPU's cache. On a CPU it also skips queries
without a gradient: where a classifier reads its first token alone, all others of the last layer.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from bertx.trace.rules import wide

BLOCK = 1 << 20
"""Largest number of weights in one block on a CPU."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Compute softmax(q kᵀ · scale + mask) v, bit for bit as transformers' eager attention does.

    Args:
        query: (B, H, T, D/H).
        key: (B, H, T, D/H).
        value: (B, H, T, D/H).
        mask: Added to the attention logits (B, 1, T, T), or None.
        scale: Factor of the attention logits.

    Returns:
        Context (B, T, H, D/H) and weights (B, H, T, T).
    """
    logits = (query @ key.transpose(-1, -2)).mul_(scale)
    # Without padding the mask is 0 everywhere. Reading it is cheap on a CPU, a sync elsewhere.
    if mask is not None and (mask.device.type != "cpu" or mask.any()):
        promoted = logits.dtype != mask.dtype  # as under autocast
        logits = logits + mask if promoted else logits.add_(mask)
    if logits.device.type == "cpu" and logits.dtype == value.dtype and not logits.requires_grad:
        weights = torch.softmax(logits, -1, out=logits)  # allocating costs more than the softmax
    else:
        weights = logits.softmax(-1).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@torch.no_grad()
def attend_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context: Tensor,
    weights: Tensor,
    *,
    through_logits: bool = True,
    weighted: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor | None]:
    """Compute the vector-Jacobian products of `attend`.

    With A the weights, c the context and G = ∂y/∂c: ∂y/∂v = Aᵀ G and ∂y/∂A = G vᵀ. The gradient
    of the attention logits is A ⊙ (∂y/∂A - Σ_d G ⊙ c), because each row of A ⊙ ∂y/∂A sums to the
    same number as that row of G ⊙ c.

    Args:
        grad: G (B, T, H, D/H).
        query: (B, H, T, D/H).
        key: (B, H, T, D/H).
        value: (B, H, T, D/H).
        context: c (B, T, H, D/H).
        weights: A (B, H, T, T).
        through_logits: Whether to compute the gradients of queries and keys.
        weighted: Whether to compute the mean over heads of max(A ⊙ ∂y/∂A, 0).

    Returns:
        ∂y/∂q and ∂y/∂k without the factor ``scale`` and ∂y/∂v, each (B, H, T, D/H), then
        mean_H max(A ⊙ ∂y/∂A, 0) (B, T, T). What was not requested is None.
    """
    texts, heads, _, _ = weights.shape
    rows = _rows_with_gradient(grad)
    # (B·H, R, ...), with R the number of queries that have a gradient.
    a, q = weights[:, :, rows].flatten(0, 1), query[:, :, rows].flatten(0, 1)
    g, c = (x[:, rows].transpose(1, 2).flatten(0, 1) for x in (grad.to(value.dtype), context))
    k, v = key.flatten(0, 1), value.flatten(0, 1)
    row_sums = (wide(g) * wide(c)).sum(-1, keepdim=True)
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    total = wide(a).new_zeros(texts, *a.shape[1:]) if weighted else None
    for block in _blocks(texts, heads, a):
        dv[block] = a[block].mT @ g[block]
        if not (through_logits or weighted):
            continue
        da = wide(g[block] @ v[block].mT)
        if total is not None:
            some = slice(block.start // heads, (block.stop - 1) // heads + 1)
            by_text = (x.unflatten(0, (some.stop - some.start, -1)) for x in (a[block], da))
            add_positive(total[some], *by_text)
        if through_logits:
            dlogits = da.sub_(row_sums[block]).mul_(a[block]).to(q.dtype)
            dq[block], dk[block] = dlogits @ k[block], dlogits.mT @ q[block]
    return (
        _scatter_rows(dq, rows, query) if through_logits else None,
        dk.view_as(key) if through_logits else None,
        dv.view_as(value),
        None if total is None else _scatter_rows(total / heads, rows, weights[:, 0]),
    )


def add_positive(total: Tensor, weights: Tensor, grad: Tensor) -> None:
    """Add Σ_H max(A ⊙ ∂y/∂A, 0) to ``total``, one head at a time to save memory.

    Args:
        total: (B, T, T).
        weights: A (B, H, T, T).
        grad: ∂y/∂A (B, H, T, T).
    """
    for a, da in zip(weights.unbind(1), grad.unbind(1), strict=True):
        total.addcmul_(wide(a), wide(da).clamp(min=0))  # A is never negative


def _rows_with_gradient(grad: Tensor) -> slice | Tensor:
    # In most layers the second token has a gradient, and then all are used: a cheap first look.
    if grad.device.type != "cpu" or grad[:, 1:2].any():
        return slice(None)
    return grad.flatten(2).any(-1).any(0).nonzero()[:, 0]


def _blocks(texts: int, heads: int, weights: Tensor) -> Iterator[slice]:
    """Cut B·H into slices of at most `BLOCK` weights: several whole texts, or heads of one text."""
    most = BLOCK if weights.device.type == "cpu" else weights.numel()
    fitting = max(most // max(weights[0].numel(), 1), 1)  # heads that fit into a block
    if fitting >= heads:
        step, run = fitting // heads * heads, texts * heads
    else:
        step, run = fitting, heads
    for first in range(0, texts * heads, run):
        for start in range(first, first + run, step):
            yield slice(start, min(start + step, first + run))


def _scatter_rows(x: Tensor, rows: slice | Tensor, like: Tensor) -> Tensor:
    """Put the results of the used queries into a tensor of all queries, 0 elsewhere."""
    if isinstance(rows, slice):
        return x.view_as(like)
    full = x.new_zeros(like.shape)
    full[..., rows, :] = x.view(*like.shape[:-2], len(rows), like.shape[-1])
    return full
