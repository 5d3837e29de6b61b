"""One forward, many backwards: the forward is the ordinary one, the backward is chosen later.

While a model runs inside of `recording_functions`, every norm, activation, softmax, product and
linear map of the graph is followed by a node that passes its output on unchanged. In the backward
this node sends the gradient on through the operation, or through the linear map that `Rules` put in
its place. Nothing is patched: calls are seen by a mode of this thread, activation modules by hooks.

Norms that a model writes out are seen by their root, √(Var x + eps), which is their denominator.
What goes by without a node, `bertx.trace.ruled` finds in the graph.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bertx.models.activations import NOT_ZERO_AT_ZERO, ActivationMode, Elementwise, watching
from bertx.models.scope import exclusive
from bertx.trace.attend import Core, Watch, attend, gradients_of
from bertx.trace.rules import ConstantDenominator, LinearMap, Rules, Secant
from bertx.trace.skipping import skipping_linear

_GRADIENT = Rules()
_QKV = ("query", "key", "value")

_NEAR = 8
"""Steps, such as casts and reciprocals, between the root of a norm and its use."""


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
            return func(*args, **(kwargs or {}))
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
            context = Attended.apply(query, key, value, context, weights, *how)
        return context, weights

    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """``y`` with a node behind it."""
        if not self._explained(y):
            return y
        return Linearized.apply(x, y, self.switch, "activation", Secant(function))

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``function`` gives, with a node before or behind it."""
        handler = _HANDLERS.get(function)
        return (
            function(*args, **kwargs) if handler is None else handler(self, function, args, kwargs)
        )

    def _norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = func(*args, **kwargs)
        given = dict(zip(("input", "shape", "weight", "bias", "eps"), args, strict=False)) | kwargs
        if not self._explained(y) or len(given.get("shape", ())) > 1:
            return y
        held = ConstantDenominator(given.get("weight"), given.get("eps", 1e-5))
        return Linearized.apply(given["input"], y, self.switch, "norm", held)

    def _root(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """The denominator of a norm that is written out, or one over it."""
        y = func(*args, **kwargs)
        return Shared.apply(y, self.switch, ("norm",)) if self._explained(y) else y

    def _linear(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = skipping_linear(*args, **kwargs)
        if self.switch is None or not self.linear or not y.requires_grad:
            return y
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        operands = (self.part, given["weight"], given.get("bias"))
        return Linear.apply(given["input"], y, self.switch, *operands)

    def _softmax(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        weights = func(*args, **kwargs)
        if self._explained(weights):
            weights = Shared.apply(weights, self.switch, ("softmax",))
        if weights.dim() == 4 and not self._above:
            self.attention.append(weights)
        return weights

    def _product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if not self._both_explained(args):
            return func(*args, **kwargs)
        a, b = args[:2]
        if a.shape[-1] > b.shape[-1]:  # cheaper at the output, and the same
            return Shared.apply(func(*args, **kwargs), self.switch, ("product",), True)
        return func(*self._factors(args, "product"), **kwargs)

    def _contraction(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        places = [i for i, operand in enumerate(operands) if self._explained(operand)]
        for i in places if len(places) == 2 else ():
            operands[i] = Shared.apply(operands[i], self.switch, ("product",))
        return func(equation, *operands, **kwargs)

    def _gate(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if any(made_of(factor, "norm") for factor in args[:2]):
            return func(*args, **kwargs)
        pooled = any(made_of(factor, "softmax") for factor in args[:2])
        return func(*self._factors(args, "product" if pooled else "gate"), **kwargs)

    def _fused(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Attention in one kernel: what its softmax and products share out ends at q, k and v."""
        given = dict(zip((*_QKV, "attn_mask"), args, strict=False)) | kwargs
        if not all(self._explained(given[name]) for name in _QKV):
            return func(*args, **kwargs)
        if self._explained(given.get("attn_mask")):
            return func(*args, **kwargs)
        shares = ("softmax", "product", "product")
        for name, kinds in (("query", shares), ("key", shares), ("value", ("product",))):
            given[name] = Shared.apply(given[name], self.switch, kinds)
        inside = [given[name].grad_fn for name in _QKV]
        y = func(*(given.pop(name) for name in _QKV), *args[4:], **given)
        return Shared.apply(y, self.switch, (), inside)

    def _explained(self, value: Any) -> bool:
        return self.switch is not None and isinstance(value, Tensor) and value.requires_grad

    def _both_explained(self, args: Any) -> bool:
        return len(args) > 1 and all(map(self._explained, args[:2]))

    def _factors(self, args: Any, kind: str) -> Any:
        if not self._both_explained(args):
            return args
        return (*(Shared.apply(a, self.switch, (kind,)) for a in args[:2]), *args[2:])


class Shared(torch.autograd.Function):
    """The tensor itself; its gradient times the shares that the rules name.

    ``of`` says of what: True of the product that made the tensor, a list of nodes of the operation
    between it and these; else of the tensor alone.
    """

    @staticmethod
    def forward(
        ctx: Any, tensor: Tensor, switch: Switch, kinds: tuple[str, ...], of: Any = False
    ) -> Tensor:
        """Passes it on."""
        ctx.set_materialize_grads(False)
        ctx.switch, ctx.kinds, ctx.of = switch, kinds, of
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """What goes to the inputs."""
        (grad,) = grads
        share = prod(getattr(ctx.switch.rules, kind) for kind in ctx.kinds)
        if grad is None or share == 0:
            return (None,) * 4
        return (grad if share == 1 else grad * share), None, None, None


def made_of(value: Any, kind: str) -> bool:
    """Whether a tensor, or a node of the graph, is what a node of this kind passed on.

    That is the denominator of a norm that is written out, or weights of attention; casts and the
    like may stand between.
    """
    node = value.grad_fn if isinstance(value, Tensor) else value
    for _ in range(_NEAR):
        if getattr(node, "kinds", None) == (kind,):
            return True
        below = [one for one, _ in getattr(node, "next_functions", ()) if one is not None]
        if len(below) != 1:
            return False
        node = below[0]
    return False


class Linearized(torch.autograd.Function):
    """``y`` itself; a share of its gradient goes to y, the rest through a linear map to x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, switch: Switch, kind: str, linear: LinearMap
    ) -> Tensor:
        """Passes it on."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y)
        ctx.switch, ctx.kind, ctx.linear, ctx.slope = switch, kind, linear, None
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """What goes to the inputs."""
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


class Linear(torch.autograd.Function):
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
        """Passes it on."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, y, weight, bias)
        ctx.switch, ctx.part = switch, part
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """What goes to the inputs."""
        (grad,) = grads
        x, y, weight, bias = ctx.saved_tensors
        rule = ctx.switch.rules.rule_for(ctx.part)
        if grad is None or rule is None:
            return None, grad, None, None, None, None
        return rule(x, y, weight, bias, grad), None, None, None, None, None


class Attended(torch.autograd.Function):
    """The context itself; its gradient goes to queries, keys and values as the rules say."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        """Passes it on."""
        ctx.set_materialize_grads(False)
        *tensors, ctx.scale, ctx.switch, ctx.watch, ctx.number = args
        ctx.save_for_backward(*tensors)
        context = tensors[3]
        return context.view_as(context)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """What goes to the inputs."""
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


_HANDLERS: dict[Any, Any] = {
    nn.functional.layer_norm: FunctionRecorder._norm,
    torch.einsum: FunctionRecorder._contraction,
    nn.functional.linear: FunctionRecorder._linear,
    nn.functional.scaled_dot_product_attention: FunctionRecorder._fused,
    **dict.fromkeys(
        (nn.functional.softmax, torch.softmax, Tensor.softmax), FunctionRecorder._softmax
    ),
    **dict.fromkeys(
        (
            torch.matmul,
            torch.bmm,
            torch.mm,
            torch.linalg.matmul,
            Tensor.matmul,
            Tensor.bmm,
            Tensor.mm,
            Tensor.__matmul__,
        ),
        FunctionRecorder._product,
    ),
    **dict.fromkeys(
        (torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__),
        FunctionRecorder._gate,
    ),
    **dict.fromkeys((torch.sqrt, torch.rsqrt, Tensor.sqrt, Tensor.rsqrt), FunctionRecorder._root),
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
