"""Autograd nodes whose backward follows the `Rules` that are set while it runs.

`bertx.trace.recording` puts a node before or behind each operation of interest during the forward.
A node passes its tensor on unchanged. In the backward it looks up the rules in the `Switch` of its
graph. It then sends the gradient through the operation or through a linear map in its place, or
scales it. One forward thus serves any number of backwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from bertx.trace.attend import add_positive, attend_backward
from bertx.trace.rules import LinearMap, Rules, wide

_GRADIENT = Rules()
"""The rules that change nothing."""

_NEAR = 8
"""Most operations, such as casts and reciprocals, between the root of a norm and its use."""


class Switch:
    """What the nodes of one graph do in the next backward.

    Attributes:
        rules: The rules that they follow.
        weighted: Where they put mean_H max(A ⊙ ∂y/∂A, 0) of each layer's attention weights A
            (B, T, T), by the layer's number; None if not wanted.
    """

    def __init__(self) -> None:
        self.rules = _GRADIENT
        self.weighted: dict[int, Tensor] | None = None

    @contextmanager
    def set_to(self, rules: Rules) -> Iterator[None]:
        """Follow ``rules`` within the body, and the gradient again after it."""
        self.rules = rules
        try:
            yield
        finally:
            self.rules = _GRADIENT

    @contextmanager
    def weighing(self, attention: list[Tensor]) -> Iterator[dict[int, Tensor]]:
        """Yield a dictionary that the backward in the body fills as `weighted`.

        Args:
            attention: The weights of all layers (B, H, T, T).
        """
        weighted: dict[int, Tensor] = {}
        # Weights that a model's own softmax computed are part of the graph and have a gradient.
        # An `AttentionNode` computes that of all others.
        hooks = [
            weights.register_hook(partial(_weigh, weighted, number, weights.detach()))
            for number, weights in enumerate(attention)
            if weights.requires_grad
        ]
        self.weighted = weighted
        try:
            yield weighted
        finally:
            self.weighted = None
            for hook in hooks:
                hook.remove()


def _weigh(weighted: dict[int, Tensor], number: int, weights: Tensor, grad: Tensor) -> None:
    total = torch.zeros_like(wide(grad[:, 0]))
    add_positive(total, weights, grad)
    weighted[number] = total / grad.shape[1]


class ScaleNode(torch.autograd.Function):
    """Multiplies the gradient of a tensor by the shares that the rules give to ``kinds``.

    ``operands`` serves `bertx.trace.unruled` alone. Behind an operation, it holds the graph nodes
    of the operation's operands, which have their shares; elsewhere it is None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        tensor: Tensor,
        switch: Switch,
        kinds: tuple[str, ...],
        operands: list[Any] | None = None,
    ) -> Tensor:
        """Pass the tensor on."""
        ctx.set_materialize_grads(False)
        ctx.switch, ctx.kinds, ctx.operands = switch, kinds, operands
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the scaled gradient."""
        (grad,) = grads
        share = prod(getattr(ctx.switch.rules, kind) for kind in ctx.kinds)
        if grad is None or share == 0:
            return None, None, None, None
        return (grad if share == 1 else grad * share), None, None, None


class LinearizeNode(torch.autograd.Function):
    """Behind y = f(x): a share of the gradient goes to y, the rest to x through a linear map."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, switch: Switch, kind: str, linear: LinearMap
    ) -> Tensor:
        """Pass y on."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.switch, ctx.kind, ctx.linear, ctx.slope = switch, kind, linear, None
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradients of x and y."""
        (grad,) = grads
        share = getattr(ctx.switch.rules, ctx.kind)
        if grad is None or share == 1:
            return None, grad, None, None, None
        if ctx.slope is None:  # kept for later backwards
            ctx.slope = ctx.linear.slope(*ctx.saved_tensors)
        through_x = ctx.linear.back(grad, ctx.slope)
        if share == 0:
            return through_x, None, None, None, None
        return through_x * (1 - share), grad * share, None, None, None


class LinearNode(torch.autograd.Function):
    """Behind y = x Wᵀ + b: the gradient goes to y, or to x as a rule for linear maps hands it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        switch: Switch,
        module: str,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Pass y on."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, weight, bias)
        ctx.switch, ctx.module = switch, module
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradients of x and y."""
        (grad,) = grads
        rule_of = ctx.switch.rules.linear
        rule = None if rule_of is None else rule_of(ctx.module)
        if grad is None or rule is None:
            return None, grad, None, None, None, None
        x, y, weight, bias = ctx.saved_tensors
        return rule(x, y, weight, bias, grad), None, None, None, None, None


class AttentionNode(torch.autograd.Function):
    """Behind `bertx.trace.attend.attend`: its backward in one piece, with the shares of the rules.

    The context was computed without a graph, so this node is its only way to q, k and v.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        context: Tensor,
        weights: Tensor,
        scale: float,
        switch: Switch,
        layer: int,
    ) -> Tensor:
        """Pass the context on."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(query, key, value, context, weights)
        ctx.scale, ctx.switch, ctx.layer = scale, switch, layer
        return context.view_as(context)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return the gradients of queries, keys and values."""
        (grad,) = grads
        rules, weighted = ctx.switch.rules, ctx.switch.weighted
        if grad is None or (rules.product == 0 and weighted is None):
            return (None,) * 8
        # Queries and keys are factors of two products, q kᵀ and A v, with a softmax in between.
        share = rules.softmax * rules.product
        with torch.autocast(grad.device.type, enabled=False):
            dq, dk, dv, total = attend_backward(
                grad, *ctx.saved_tensors, through_logits=share != 0, weighted=weighted is not None
            )
        if weighted is not None:
            weighted[ctx.layer] = total
        factor = ctx.scale * share * rules.product
        dq, dk = (None if x is None else x.mul_(factor) for x in (dq, dk))
        return dq, dk, dv.mul_(rules.product), None, None, None, None, None


def comes_from(value: Any, kind: str) -> bool:
    """Return whether a tensor, or a node of the graph, comes straight from a `ScaleNode`.

    Operations with one operand, such as casts, may stand in between. With kind ``norm`` this
    recognizes the denominator of a norm, with ``softmax`` attention weights.
    """
    node = value.grad_fn if isinstance(value, Tensor) else value
    for _ in range(_NEAR):
        if getattr(node, "kinds", None) == (kind,):
            return True
        below = [below for below, _ in getattr(node, "next_functions", ()) if below is not None]
        if len(below) != 1:
            return False
        node = below[0]
    return False
