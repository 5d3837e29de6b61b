"""Everything with an undo: what explaining a model needs, gone after the body, also if it raises.

No function here changes a class or a setting of the Trainer. What a body changes is seen by all
threads of the process, so that one of them explains at a time: see `alone`.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import (
    AbstractContextManager,
    _GeneratorContextManager,
    contextmanager,
    nullcontext,
)
from functools import wraps
from threading import RLock
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bertx.attend import attend
from bertx.errors import InputError

AttentionCore = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
"""Computes attention as `bertx.attend.attend` does."""

Record = dict[nn.Module, list[tuple[Tensor, Tensor]]]
"""First input and output of each call of every recorded module, in the live graph."""

_SOFTMAX = ("eager", "sdpa", "flash", "flex", "bertx_")
"""What the names of attention functions contain that are softmax(q kᵀ / √d) v."""

_ALWAYS_EXPLICIT = ("mpnet", "deberta", "deberta-v2")
"""Model types whose only attention computes its weights with a softmax."""


P = ParamSpec("P")
T = TypeVar("T")

_lock = RLock()


@contextmanager
def alone() -> Iterator[None]:
    """One thread of the process at a time; it may come in again.

    What explaining changes of a model (modes, hooks, attention, frozen parameters) is looked at,
    set and undone in here. There is one lock for all models: two may share an encoder or a config,
    and the random streams, the stance of torch.compile, the filters of warnings and transformers'
    table of attention functions belong to the process. As there is no second one, no two threads
    can wait for each other.

    Also a decorator: ``@alone()``.
    """
    with _lock:
        yield


def exclusive(scope: Callable[P, Iterator[T]]) -> Callable[P, _GeneratorContextManager[T]]:
    """A context manager out of a generator, as `contextmanager` makes it, that is `alone`."""

    @contextmanager
    @wraps(scope)
    def entered(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with _lock:
            yield from scope(*args, **kwargs)

    return entered


@exclusive
def gradients() -> Iterator[None]:
    """Gradients anywhere in a training loop, also where it validates in inference mode.

    Compiled modules run eagerly inside, because they ignore hooks that were added later.
    Tensors made in inference mode cannot enter a graph: pass them through `normal` inside.
    """
    with torch.inference_mode(False), torch.enable_grad(), _uncompiled():
        yield


def normal(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy that autograd may keep if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


@exclusive
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off; every module gets back the flag that it had of its own.

    Flags are set as such: ``model.eval()`` costs more, and what a module's own ``train`` does, such
    as merging weights, would not be undone.
    """
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@exclusive
def isolated_rng() -> Iterator[None]:
    """Whatever the body draws, the random streams of Python, NumPy and torch go on as before."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@exclusive
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter needs a gradient: a graph made inside leads to activations alone.

    Nor does it call hooks of a module's backward: they are for the training, and what they put
    into the graph would part a module's input from that of its neighbours.
    """
    modules = list(model.modules())
    parameters = [own for module in modules for own in module._parameters.values()]
    trained = [own for own in parameters if own is not None and own.requires_grad]
    names = ("_backward_hooks", "_backward_pre_hooks")
    hooked = [(m, n, vars(m)[n]) for m in modules for n in names if vars(m).get(n)]
    for parameter in trained:
        parameter.requires_grad_(False)
    for module, name, hooks in hooked:
        setattr(module, name, type(hooks)())
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, name, hooks in hooked:
            setattr(module, name, hooks)


@exclusive
def explicit_attention(model: PreTrainedModel, core: AttentionCore = attend) -> Iterator[None]:
    """Compute attention weights as such, through transformers' own interface.

    ``output_attentions=True`` would do, but leaves hooks on the model for good.

    Args:
        model: The model.
        core: What computes them, where the model takes its attention from the interface.

    Raises:
        InputError: If the model does not take its attention function from the interface, and is
            none of those that always compute the weights; or if it was given another attention
            than a softmax.
    """
    if model.config.model_type in _ALWAYS_EXPLICIT:
        yield
        return
    name, before = f"bertx_{id(model)}", str(model.config._attn_implementation)
    if not any(known in before for known in _SOFTMAX):
        raise InputError(
            f"attention {before!r} of {type(model).__name__} is not known to be a softmax of "
            "products. Set model.set_attn_implementation('sdpa') if it may be"
        )
    ALL_ATTENTION_FUNCTIONS[name] = _called_by_transformers(core)
    AttentionMaskInterface.register(name, eager_mask)  # a mask of one instance is not looked up
    try:
        model.set_attn_implementation(name)
        if model.config._attn_implementation != name:
            raise InputError(f"{type(model).__name__} has an attention of its own")
        yield
    finally:
        model.set_attn_implementation(before)
        del ALL_ATTENTION_FUNCTIONS[name], AttentionMaskInterface._global_mapping[name]


def _called_by_transformers(core: AttentionCore) -> Callable[..., tuple[Tensor, Tensor]]:
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
def recording(modules: Iterable[nn.Module]) -> Iterator[Record]:
    """Collect the first input and the output of each module's calls, in their order."""
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
def leaf(module: nn.Module, width: int | None = None) -> Iterator[list[Tensor]]:
    """Cut the graph at a module: its output becomes the one tensor that needs a gradient.

    Args:
        module: Its output is (B, T, D).
        width: The texts' own number of tokens T; what a model pads them with is no part of it.

    Yields:
        A list that holds this tensor after the module has run.
    """
    cut: list[Tensor] = []

    def replace(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own, padding = output.detach()[:, :width], output.detach()[:, width or output.shape[1] :]
        cut[:] = [own.requires_grad_(torch.is_grad_enabled())]
        return torch.cat([own, padding], 1) if padding.shape[1] else own

    handle = module.register_forward_hook(replace)
    try:
        yield cut
    finally:
        handle.remove()


def _uncompiled() -> AbstractContextManager[None]:
    if torch.compiler.is_compiling():
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
