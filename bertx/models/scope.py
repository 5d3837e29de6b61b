"""Context managers that change a model or the process for an explanation and undo the change.

They also undo it if the body raises. None changes a class or a setting of the Trainer. All threads
of the process see the changes, so only one thread explains at a time: see `alone`.
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
    """Hold the reentrant lock of the process, also as a decorator: ``@alone()``.

    Everything that an explanation changes of a model (modes, hooks, attention, frozen parameters)
    is read, set and undone under this lock. There is one for all models, because models may share
    an encoder or a config, and because random streams, the stance of torch.compile, warning filters
    and transformers' table of attention functions belong to the process. With a single lock, no
    deadlock is possible.
    """
    with _lock:
        yield


def exclusive(scope: Callable[P, Iterator[T]]) -> Callable[P, _GeneratorContextManager[T]]:
    """Make a context manager from a generator, as `contextmanager` does, that holds the lock."""

    @contextmanager
    @wraps(scope)
    def entered(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with _lock:
            yield from scope(*args, **kwargs)

    return entered


@exclusive
def gradients() -> Iterator[None]:
    """Enable gradients, also during validation in inference mode.

    Compiled modules run eagerly inside, because they ignore hooks that are added after compilation.
    Tensors created in inference mode cannot be part of a graph: pass them through `for_autograd`.
    """
    eager: AbstractContextManager[None] = nullcontext()
    if not torch.compiler.is_compiling():
        eager = torch.compiler.set_stance("force_eager")
    with torch.inference_mode(False), torch.enable_grad(), eager:
        yield


def for_autograd(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy that autograd can save if it is from inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


@exclusive
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards every module has its previous mode.

    The flags are set directly: ``model.eval()`` is slower, and side effects of ``train``, such as
    merging weights, would not be undone.
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
    """Restore the random states of Python, NumPy and torch after the body."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@exclusive
def frozen(model: nn.Module) -> Iterator[None]:
    """Disable the gradients of all parameters, so that graphs lead to activations only.

    Backward hooks of modules are removed as well: they are meant for training, and their nodes in
    the graph would separate a module's input from the same tensor elsewhere.
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
    """Cut the graph at a module: its output becomes a leaf that requires a gradient.

    Args:
        module: A module with output (B, T, D).
        width: Number of tokens T of the texts; padding that the model adds is not part of the leaf.

    Yields:
        A list of the leaves, one for each run of the module.

    Raises:
        InputError: If the output of the module is not a single tensor.
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
