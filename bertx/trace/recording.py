"""Context managers that record a forward and leave nothing behind.

Nothing is patched. Attention is set through transformers' interface, modules are recorded by hooks,
and functions by a `torch.overrides.TorchFunctionMode`, which sees the calls of its thread alone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bertx.errors import InputError
from bertx.models.activations import NOT_ZERO_AT_ZERO, ActivationMode, Elementwise, watching
from bertx.models.scope import exclusive
from bertx.trace.attend import attend
from bertx.trace.needs import SWITCHED, Needs
from bertx.trace.nodes import (
    AttentionNode,
    LinearizeNode,
    LinearNode,
    ScaleNode,
    Switch,
    comes_from,
)
from bertx.trace.rules import ConstantDenominator, Secant
from bertx.trace.skipping import skipping_linear

AttentionCore = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
"""A function with the arguments and results of `bertx.trace.attend.attend`."""

Record = dict[nn.Module, list[tuple[Tensor, Tensor]]]
"""First input and output of each call of every recorded module, in the live graph."""

_SOFTMAX = ("eager", "sdpa", "flash", "flex", "bertx_")
"""Parts of the names of attention functions that compute softmax(q kᵀ / √d) v."""


@exclusive
def explicit_attention(model: PreTrainedModel, core: AttentionCore = attend) -> Iterator[None]:
    """Make a model compute its attention weights explicitly, through transformers' interface.

    ``output_attentions=True`` would leave hooks on the model for good. A model that does not take
    its attention function from the interface is left as it is; it calls functions that a
    `FunctionRecorder` sees.

    Args:
        model: The model.
        core: The function that computes attention.

    Raises:
        InputError: If the model's attention function may not be a softmax of products, or the
            model does not take another one.
    """
    if not _takes_attention(model):
        yield
        return
    name, before = f"bertx_{id(model)}", str(model.config._attn_implementation)
    if not any(kind in before for kind in _SOFTMAX):
        raise InputError(
            f"attention {before!r} of {type(model).__name__} may not be a softmax of products. "
            "Call model.set_attn_implementation('sdpa') if it can be replaced"
        )
    ALL_ATTENTION_FUNCTIONS[name] = _transformers_function(core)
    # Transformers looks a mask up in the class, not in an instance of the interface.
    AttentionMaskInterface.register(name, eager_mask)
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise InputError(f"{type(model).__name__} does not accept another attention function")
        yield
    finally:
        model.set_attn_implementation(before)
        del ALL_ATTENTION_FUNCTIONS[name], AttentionMaskInterface._global_mapping[name]


def _takes_attention(model: PreTrainedModel) -> bool:
    base = model.base_model if isinstance(model.base_model, PreTrainedModel) else model
    takes: bool = type(base)._can_set_attn_implementation()
    return takes


def _transformers_function(core: AttentionCore) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return ``core`` with the signature of transformers' attention functions."""

    def attention(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return core(query, key, value, attention_mask, scale)

    return attention


@exclusive
def recording_modules(modules: Iterable[nn.Module]) -> Iterator[Record]:
    """Yield a dictionary that collects the first input and the output of each module's calls."""
    record: Record = {module: [] for module in modules}

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        record[module].append((args[0], output))

    handles = [module.register_forward_hook(note) for module in record]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


@exclusive
def recording_functions(
    model: nn.Module, switch: Switch, needs: Needs = Needs.RELEVANCE
) -> Iterator["FunctionRecorder"]:
    """Record and switch the functions that a model calls.

    Args:
        model: The model that runs in the body.
        switch: The switch that the nodes of the graph look their rules up in.
        needs: What to record; see `FunctionRecorder`.
    """
    recorder = FunctionRecorder(switch, needs)
    encoder = getattr(model, "base_model", model)
    handle = encoder.register_forward_hook(recorder.leave_encoder)
    linear = _naming_linear(model, recorder) if Needs.LINEAR in needs else nullcontext()
    try:
        with watching(model, recorder), linear:
            yield recorder
    finally:
        handle.remove()


@exclusive
def _naming_linear(model: nn.Module, recorder: "FunctionRecorder") -> Iterator[None]:
    """Tell the recorder which linear module is running.

    Its weight does not identify it: it may be shared, or computed anew in each forward.
    """

    def enter(name: str, *_: Any) -> None:
        recorder.module = name

    def leave(*_: Any) -> None:
        recorder.module = ""

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


class FunctionRecorder(ActivationMode):
    """Mode of torch that puts switchable nodes into the graph and keeps attention weights.

    Nodes stand behind norms, activations, softmax and linear maps, and before or behind products.
    Other functions run as they are; `bertx.trace.unruled` finds those that need a rule.

    Args:
        switch: The switch of the graph.
        needs: With `Needs.RELEVANCE` or `Needs.LINEAR` there are nodes, with `Needs.LINEAR` behind
            linear maps too, which keeps their inputs in memory.

    Attributes:
        attention: The weights of each layer (B, H, T, T): every softmax of four dimensions that
            the encoder computes. The head's are not among them.
        module: The name of the linear module that is running, where linear maps get nodes.
    """

    def __init__(self, switch: Switch, needs: Needs = Needs.RELEVANCE) -> None:
        super().__init__()
        self.switch = switch
        self.attention: list[Tensor] = []
        self.module = ""
        self._switched = bool(needs & SWITCHED)
        self._linear_nodes = Needs.LINEAR in needs
        self._in_head = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Handle a call of any function of torch; see `torch.overrides.TorchFunctionMode`."""
        # These are not 0 at 0 and have no secant through 0. Outside of an activation module they
        # get no node, so that `bertx.trace.unruled` finds them.
        if func in NOT_ZERO_AT_ZERO and not self._inside:
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)

    def leave_encoder(self, *_: Any) -> None:
        """Forward hook of the encoder: what runs from here on is the head."""
        self._in_head = True

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Compute `bertx.trace.attend.attend` with one node behind it, and weights without graph.

        The softmax inside calls `_softmax`, which keeps the weights.
        """
        context, weights = attend(query.detach(), key.detach(), value.detach(), mask, scale)
        if torch.is_grad_enabled() and (query.requires_grad or value.requires_grad):
            layer = -1 if self._in_head else len(self.attention) - 1  # -1: read by nobody
            context = AttentionNode.apply(
                query, key, value, context, weights, scale, self.switch, layer
            )
        return context, weights

    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """Return ``y`` with a node behind it."""
        if not self._gets_node(y):
            return y
        return LinearizeNode.apply(x, y, self.switch, "activation", Secant(function))

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of torch that is not an activation."""
        handler = _HANDLERS.get(function)
        if handler is None:
            return function(*args, **kwargs)
        return handler(self, function, args, kwargs)

    def _norm(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = func(*args, **kwargs)
        given = _by_name(("input", "shape", "weight", "bias", "eps"), args, kwargs)
        if not self._gets_node(y) or len(given.get("shape", ())) > 1:
            return y
        constant = ConstantDenominator(given.get("weight"), given.get("eps", 1e-5))
        return LinearizeNode.apply(given["input"], y, self.switch, "norm", constant)

    def _root(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Put a node behind a root, which may be the denominator of a norm that is written out."""
        y = func(*args, **kwargs)
        return ScaleNode.apply(y, self.switch, ("norm",)) if self._gets_node(y) else y

    def _linear(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        y = skipping_linear(*args, **kwargs)
        if not self._linear_nodes or not y.requires_grad:
            return y
        given = _by_name(("input", "weight", "bias"), args, kwargs)
        x, weight, bias = given["input"], given["weight"], given.get("bias")
        return LinearNode.apply(x, y, self.switch, self.module, weight, bias)

    def _softmax(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        weights = func(*args, **kwargs)
        if self._gets_node(weights):
            logits = _by_name(("input",), args, kwargs)["input"]
            weights = ScaleNode.apply(weights, self.switch, ("softmax",), [logits.grad_fn])
        if weights.dim() == 4 and not self._in_head:
            self.attention.append(weights)
        return weights

    def _product(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if not self._both_get_nodes(args):
            return func(*args, **kwargs)
        a, b = args[:2]
        # Both factors get the same share, so that one node at the product does the same as two at
        # the factors. It is cheaper where the product is the smaller tensor.
        if a.shape[-1] > b.shape[-1]:
            y = func(*args, **kwargs)
            return ScaleNode.apply(y, self.switch, ("product",), [a.grad_fn, b.grad_fn])
        return func(*self._scaled_factors(args, "product"), **kwargs)

    def _contraction(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        places = [i for i, operand in enumerate(operands) if self._gets_node(operand)]
        if len(places) == 2:
            for i in places:
                operands[i] = ScaleNode.apply(operands[i], self.switch, ("product",))
        return func(equation, *operands, **kwargs)

    def _gate(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        if any(comes_from(factor, "norm") for factor in args[:2]):
            return func(*args, **kwargs)  # x / √(Var x + eps): the root has the share
        pooled = any(comes_from(factor, "softmax") for factor in args[:2])  # a weighted mean
        return func(*self._scaled_factors(args, "product" if pooled else "gate"), **kwargs)

    def _fused(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """Put nodes at q, k and v, with the shares of the softmax and products in the kernel."""
        names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
        given = _by_name(names, args, kwargs)
        qkv = [given.pop(name) for name in names[:3]]
        if not all(map(self._gets_node, qkv)) or self._gets_node(given.get("attn_mask")):
            return func(*args, **kwargs)
        logits = ("softmax", "product", "product")  # factors of q kᵀ, which is a factor of A v
        query, key, value = (
            ScaleNode.apply(x, self.switch, kinds)
            for x, kinds in zip(qkv, (logits, logits, ("product",)), strict=True)
        )
        y = func(query, key, value, **given)
        return ScaleNode.apply(y, self.switch, (), [query.grad_fn, key.grad_fn, value.grad_fn])

    def _gets_node(self, value: Any) -> bool:
        return self._switched and isinstance(value, Tensor) and value.requires_grad

    def _both_get_nodes(self, args: Any) -> bool:
        return len(args) > 1 and all(map(self._gets_node, args[:2]))

    def _scaled_factors(self, args: Any, kind: str) -> Any:
        if not self._both_get_nodes(args):
            return args
        return (*(ScaleNode.apply(factor, self.switch, (kind,)) for factor in args[:2]), *args[2:])


def _by_name(names: tuple[str, ...], args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name; ``names`` are those of the positional ones."""
    return dict(zip(names, args, strict=False)) | kwargs


_PRODUCTS = (
    torch.matmul, torch.bmm, torch.mm, torch.linalg.matmul,
    Tensor.matmul, Tensor.bmm, Tensor.mm, Tensor.__matmul__,
)  # fmt: skip
_MULTIPLICATIONS = (torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__)
_ROOTS = (torch.sqrt, torch.rsqrt, Tensor.sqrt, Tensor.rsqrt)

_HANDLERS: dict[Any, Any] = {
    nn.functional.layer_norm: FunctionRecorder._norm,
    nn.functional.linear: FunctionRecorder._linear,
    nn.functional.scaled_dot_product_attention: FunctionRecorder._fused,
    torch.einsum: FunctionRecorder._contraction,
    nn.functional.softmax: FunctionRecorder._softmax,
    torch.softmax: FunctionRecorder._softmax,
    Tensor.softmax: FunctionRecorder._softmax,
    **dict.fromkeys(_PRODUCTS, FunctionRecorder._product),
    **dict.fromkeys(_MULTIPLICATIONS, FunctionRecorder._gate),
    **dict.fromkeys(_ROOTS, FunctionRecorder._root),
}
