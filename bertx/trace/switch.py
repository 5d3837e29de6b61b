"""One forward, many backwards: the forward is the ordinary one, the backward is chosen later.

While a model runs inside of `recording_functions`, every norm, activation, softmax, product and
linear map of the graph is followed by a node that passes its output on unchanged. In the backward
this node sends the gradient on through the operation, or through the linear map that `Rules` put in
its place. Nothing is patched: calls are seen by a mode of this thread, activation modules by hooks.

Norms that a model writes out are seen by their root, √(Var x + eps), which is their denominator.
Nonlinear functions without a rule are refused by name as soon as relevance arrives at them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bertx.errors import InputError
from bertx.models.activations import NOT_ZERO_AT_ZERO, ActivationMode, Elementwise, watching
from bertx.models.scope import exclusive
from bertx.trace.attend import Core, Watch, attend, gradients_of
from bertx.trace.rules import ConstantDenominator, LinearMap, Rules, Secant
from bertx.trace.skipping import skipping_linear

_GRADIENT = Rules()
_QKV = ("query", "key", "value")

_NEAR = 4
"""Steps, such as casts and reciprocals, between the root of a norm and its use."""

_NO_RULE = "{} of what depends on the text has no relevance rule"


class Switch:
    """What the nodes of one graph do in the next backward: `rules`."""

    def __init__(self) -> None:
        self.rules = _GRADIENT

    @contextmanager
    def set_to(self, rules: Rules) -> Iterator[None]:
        """Follow ``rules`` within the body, the gradient after it."""
        self.rules = rules
        try:
            yield
        finally:
            self.rules = _GRADIENT


class FunctionRecorder(ActivationMode):
    """Puts switchable nodes behind the functions that a model calls, and keeps attention weights.

    Args:
        switch: The switch of the graph, or None for no nodes.
        linear: Whether linear maps get nodes too, which keeps their inputs.

    Attributes:
        attention: Every softmax of four dimensions that an encoder computed: (B, H, T, T). What a
            head above it computes is none of its layers.
        watch: Hears of these weights.
        part: The name of the linear map that runs, where these get nodes.
    """

    def __init__(self, switch: Switch | None, linear: bool) -> None:
        super().__init__()
        self.switch = switch
        self.linear = linear
        self.part = ""
        self.attention: list[Tensor] = []
        self.watch = Watch()
        self._above = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Called for every function of torch."""
        if func in NOT_ZERO_AT_ZERO and not self._inside:
            return self._unruled(func, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs)

    def leave_encoder(self, *_: Any) -> None:
        """The layers are through; what follows is the head."""
        self._above = True

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        """`attend` with one node behind it; the weights are no part of the graph."""
        context, weights = attend(query.detach(), key.detach(), value.detach(), mask, scale)
        if torch.is_grad_enabled() and (query.requires_grad or value.requires_grad):
            number = -1 if self._above else len(self.attention) - 1
            how = (scale, self.switch, self.watch, number)
            context = _Core.apply(query, key, value, context, weights, *how)
        return context, weights

    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """``y`` with a node behind it."""
        if not self._explained(y):
            return y
        return _Linearized.apply(x, y, self.switch, "activation", Secant(function))

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``function`` gives, with a node before or behind it."""
        handler = _HANDLERS.get(function)
        return (
            function(*args, **kwargs) if handler is None else handler(self, function, args, kwargs)
        )

    def _norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = func(*args, **kwargs)
        if not self._explained(y):
            return y
        given = dict(zip(("input", "shape", "weight", "bias", "eps"), args, strict=False)) | kwargs
        held = ConstantDenominator(given.get("weight"), given.get("eps", 1e-5))
        return _Linearized.apply(given["input"], y, self.switch, "norm", held)

    def _root(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """The denominator of a norm that is written out, or one over it."""
        y = func(*args, **kwargs)
        return _Shared.apply(y, self.switch, ("norm",)) if self._explained(y) else y

    def _quotient(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = func(*args, **kwargs)
        divisor = args[1]
        if not self._explained(divisor) or _is_root(divisor):
            return y
        return _Refused.apply(y, self.switch, "a division by what depends on the text")

    def _unruled(self, func: Any, args: Any, kwargs: Any) -> Any:
        y = func(*args, **kwargs)
        if not self._explained(y) or any(map(_is_root, args)):
            return y
        return _Refused.apply(y, self.switch, func.__name__)

    def _in_place(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self._both_explained(args) and not _is_root(args[1]):
            raise InputError(_NO_RULE.format(func.__name__))
        return func(*args, **kwargs)

    def _linear(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = skipping_linear(*args, **kwargs)
        if self.switch is None or not self.linear or not y.requires_grad:
            return y
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        operands = (self.part, given["weight"], given.get("bias"))
        return _Linear.apply(given["input"], y, self.switch, *operands)

    def _softmax(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        weights = func(*args, **kwargs)
        if self._explained(weights):
            weights = _Shared.apply(weights, self.switch, ("softmax",))
        if weights.dim() == 4 and not self._above:
            self.attention.append(weights)
        return weights

    def _product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if not self._both_explained(args):
            return func(*args, **kwargs)
        a, b = args[:2]
        if a.shape[-1] > b.shape[-1]:  # cheaper at the output, and the same
            return _Shared.apply(func(*args, **kwargs), self.switch, ("product",))
        return func(*self._factors(args, "product"), **kwargs)

    def _contraction(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        if sum(map(self._explained, operands)) > 2:
            raise InputError(_NO_RULE.format("einsum of three"))
        return func(equation, *self._factors(operands, "product"), **kwargs)

    def _gate(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if any(map(_is_root, args[:2])):
            return func(*args, **kwargs)
        return func(*self._factors(args, "gate"), **kwargs)

    def _fused(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Attention in one kernel: what its softmax and products share out ends at q, k and v."""
        given = dict(zip(_QKV, args, strict=False)) | kwargs
        shares = ("softmax", "product", "product")
        for name, kinds in (("query", shares), ("key", shares), ("value", ("product",))):
            if self._explained(given[name]):
                given[name] = _Shared.apply(given[name], self.switch, kinds)
        return func(*(given.pop(name) for name in _QKV), *args[3:], **given)

    def _explained(self, value: Any) -> bool:
        return self.switch is not None and isinstance(value, Tensor) and value.requires_grad

    def _both_explained(self, args: Any) -> bool:
        return all(map(self._explained, args[:2]))

    def _factors(self, args: Any, kind: str) -> Any:
        if not self._both_explained(args):
            return args
        return (*(_Shared.apply(a, self.switch, (kind,)) for a in args[:2]), *args[2:])


class _Shared(torch.autograd.Function):
    """The tensor itself; its gradient times the shares that the rules name."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, switch: Switch, kinds: tuple[str, ...]) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.switch, ctx.kinds = switch, kinds
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        share = prod(getattr(ctx.switch.rules, kind) for kind in ctx.kinds)
        if grad is None or share == 0:
            return None, None, None
        return (grad if share == 1 else grad * share), None, None


def _is_root(value: Any) -> bool:
    """Whether a tensor is the denominator of a norm that is written out, or made of it alone."""
    node = value.grad_fn if isinstance(value, Tensor) else None
    for _ in range(_NEAR):
        if getattr(node, "kinds", None) == ("norm",):
            return True
        below = [] if node is None else [one for one, _ in node.next_functions if one is not None]
        if len(below) != 1:
            return False
        node = below[0]
    return False


class _Refused(torch.autograd.Function):
    """The tensor itself; relevance that arrives at it is refused, a gradient is passed on.

    Where the root of a norm passes a gradient on, what it is made of is part of the norm.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, switch: Switch, name: str) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.switch, ctx.name = switch, name
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        rules = ctx.switch.rules
        if grad is not None and rules != _GRADIENT and rules.norm == 0:
            raise InputError(_NO_RULE.format(ctx.name))
        return grad, None, None


class _Linearized(torch.autograd.Function):
    """``y`` itself; a share of its gradient goes to y, the rest through a linear map to x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, switch: Switch, kind: str, linear: LinearMap
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.switch, ctx.kind, ctx.linear, ctx.slope = switch, kind, linear, None
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        share = getattr(ctx.switch.rules, ctx.kind)
        if grad is None or share == 1:
            return None, grad, None, None, None
        if ctx.slope is None:
            ctx.slope = ctx.linear.slope(*ctx.saved_tensors)
        through_x = ctx.linear.back(grad, ctx.slope)
        if share == 0:
            return through_x, None, None, None, None
        return through_x * (1 - share), grad * share, None, None, None


class _Linear(torch.autograd.Function):
    """``y`` itself; its gradient goes to y, or to x as a rule for linear maps says."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        switch: Switch,
        part: str,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, weight, bias)
        ctx.switch, ctx.part = switch, part
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        x, y, weight, bias = ctx.saved_tensors
        rule = ctx.switch.rules.rule_for(ctx.part)
        if grad is None or rule is None:
            return None, grad, None, None, None, None
        return rule(x, y, weight, bias, grad), None, None, None, None, None


class _Core(torch.autograd.Function):
    """The context itself; its gradient goes to queries, keys and values as the rules say."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        ctx.set_materialize_grads(False)
        *tensors, ctx.scale, ctx.switch, ctx.watch, ctx.number = args
        ctx.save_for_backward(*tensors)
        context = tensors[3]
        return context.view_as(context)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        rules = _GRADIENT if ctx.switch is None else ctx.switch.rules
        weighted, share = ctx.watch.weighted, rules.softmax * rules.product
        if grad is None or (rules.product == 0 and weighted is None):
            return (None,) * 9
        core = Core(*ctx.saved_tensors)
        with torch.autocast(grad.device.type, enabled=False):
            gradients = gradients_of(core, grad, share != 0, weighted is not None)
        if weighted is not None:
            weighted[ctx.number] = gradients.weighted
        factor = ctx.scale * share * rules.product
        logits = (None if gradient is None else gradient.mul_(factor) for gradient in gradients[:2])
        return *logits, gradients.value.mul_(rules.product), *(None,) * 6


_UNRULED: tuple[Any, ...] = (
    nn.functional.glu, nn.functional.group_norm, nn.functional.instance_norm,
    nn.functional.log_softmax, nn.functional.normalize, nn.functional.rms_norm, torch.abs,
    torch.baddbmm, torch.cos, torch.cumprod, torch.erf, torch.exp, torch.log, torch.log_softmax,
    torch.logsumexp, torch.norm, torch.pow, torch.prod, torch.reciprocal, torch.sin, torch.square,
    torch.std, torch.var, Tensor.__pow__, Tensor.__rtruediv__, Tensor.abs, Tensor.baddbmm,
    Tensor.cos, Tensor.cumprod, Tensor.erf, Tensor.exp, Tensor.log, Tensor.log_softmax,
    Tensor.logsumexp, Tensor.norm, Tensor.pow, Tensor.prod, Tensor.reciprocal, Tensor.sin,
    Tensor.square, Tensor.std, Tensor.var,
)  # fmt: skip
"""Nonlinear functions for which there is no rule, except in the denominator of a norm."""

_HANDLERS: dict[Any, Any] = {
    nn.functional.layer_norm: FunctionRecorder._norm,
    torch.einsum: FunctionRecorder._contraction,
    nn.functional.linear: FunctionRecorder._linear,
    nn.functional.scaled_dot_product_attention: FunctionRecorder._fused,
    **dict.fromkeys(
        (nn.functional.softmax, torch.softmax, Tensor.softmax), FunctionRecorder._softmax
    ),
    **dict.fromkeys(
        (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__),
        FunctionRecorder._product,
    ),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__), FunctionRecorder._gate),
    **dict.fromkeys((torch.sqrt, torch.rsqrt, Tensor.sqrt, Tensor.rsqrt), FunctionRecorder._root),
    **dict.fromkeys(
        (torch.div, torch.true_divide, Tensor.div, Tensor.true_divide, Tensor.__truediv__),
        FunctionRecorder._quotient,
    ),
    **dict.fromkeys((Tensor.mul_, Tensor.div_), FunctionRecorder._in_place),
    **dict.fromkeys(_UNRULED, FunctionRecorder._unruled),
}


@exclusive
def recording_functions(
    model: nn.Module, switch: Switch | None, linear: bool = False
) -> Iterator[FunctionRecorder]:
    """Let the functions that a model calls be recorded and switched; gone after the body.

    Args:
        model: The model that runs inside.
        switch: The switch of the graph; None keeps attention weights alone.
        linear: Whether linear maps can be switched too.
    """
    recorder = FunctionRecorder(switch, linear)
    encoder = getattr(model, "base_model", model)
    handle = encoder.register_forward_hook(recorder.leave_encoder)
    try:
        with watching(model, recorder), _naming(model, recorder) if linear else nullcontext():
            yield recorder
    finally:
        handle.remove()


@exclusive
def _naming(model: nn.Module, recorder: FunctionRecorder) -> Iterator[None]:
    """Tell the recorder which linear map runs: its weight may be shared, or made anew each time."""

    def enter(name: str, *_: Any) -> None:
        recorder.part = name

    def leave(*_: Any) -> None:
        recorder.part = ""

    handles = []
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):
            handles.append(part.register_forward_pre_hook(partial(enter, name)))
            handles.append(part.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
