"""Everything with an undo: what explaining a model needs, gone after the body, also if it raises.

No function here changes a class or a setting of the Trainer. What a body changes is seen by all
threads of the process, so that one of them explains at a time: see `alone`.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    _GeneratorContextManager,
    contextmanager,
    nullcontext,
)
from functools import wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bertx.errors import InputError

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
    Tensors made in inference mode cannot enter a graph: pass them through `for_autograd` inside.
    """
    with torch.inference_mode(False), torch.enable_grad(), _uncompiled():
        yield


def for_autograd(tensor: Tensor) -> Tensor:
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
    parameters = [weight for module in modules for weight in module._parameters.values()]
    trained = [weight for weight in parameters if weight is not None and weight.requires_grad]
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
def leaf(module: nn.Module, width: int | None = None) -> Iterator[list[Tensor]]:
    """Cut the graph at a module: its output becomes the one tensor that needs a gradient.

    Args:
        module: Its output is (B, T, D).
        width: The texts' own number of tokens T; what a model pads them with is no part of it.

    Yields:
        A list that holds this tensor after the module has run, one for each time.

    Raises:
        InputError: If the module gives anything but one tensor.
    """
    cut: list[Tensor] = []

    def replace(module: nn.Module, _args: tuple[Tensor, ...], output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            got = type(output).__name__
            raise InputError(f"{type(module).__name__}: expected embeddings (B, T, D), got {got}")
        states, padding = output.detach()[:, :width], output.detach()[:, width or output.shape[1] :]
        cut.append(states.requires_grad_(torch.is_grad_enabled()))
        return torch.cat([states, padding], 1) if padding.shape[1] else states

    handle = module.register_forward_hook(replace)
    try:
        yield cut
    finally:
        handle.remove()


def _uncompiled() -> AbstractContextManager[None]:
    if torch.compiler.is_compiling():
        return nullcontext()
    return torch.compiler.set_stance("force_eager")
