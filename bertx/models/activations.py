"""Interception of a model's elementwise activations, computed by modules or by functions."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bertx.models.scope import exclusive

Elementwise = Callable[[Tensor], Tensor]

NOT_ZERO_AT_ZERO = (functional.softplus, torch.sigmoid, Tensor.sigmoid)
"""Activations that are not 0 at 0, so that no line through the origin equals them."""

_FUNCTIONS = {
    functional.elu, functional.gelu, functional.mish, functional.relu, functional.silu,
    functional.tanh, torch.relu, torch.tanh, Tensor.relu, Tensor.tanh, *NOT_ZERO_AT_ZERO,
}  # fmt: skip

_NOT_ELEMENTWISE = (
    nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.GLU,
)  # fmt: skip

_FUNCTION_NAMES = ("gelu", "relu", "silu", "swish", "tanh")
"""Names by which transformers calls these functions."""


class ActivationMode(TorchFunctionMode):
    """Replaces the output of every activation inside of `watching`, in its thread only.

    An activation module counts as one activation; functions that it calls are not intercepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._inside = 0

    @abstractmethod
    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """Return the output to use for an activation.

        Args:
            function: The activation.
            x: Its input.
            y: Its output, ``function(x)``.
        """

    def called(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the output to use for any other function."""
        return function(*args, **kwargs)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Handle a function of torch."""
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        if func in _FUNCTIONS and args and not kwargs.get("inplace"):
            y = func(*args, **kwargs)
            return self.activated(lambda x: func(x, *args[1:], **kwargs), args[0], y)
        return self.called(func, args, kwargs)

    def enter(self, _module: nn.Module, _args: Any) -> None:
        """Note that an activation module begins."""
        self._inside += 1

    def leave(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return the output to use for an activation module that has ended."""
        self._inside -= 1
        if getattr(module, "inplace", False):  # its input was overwritten
            return output
        return self.activated(module.forward, args[0], output)


@exclusive
def watching(model: nn.Module, mode: ActivationMode) -> Iterator[None]:
    """Apply ``mode`` to the activations of ``model`` within the body."""
    handles = []
    for module in activation_modules(model):
        handles.append(module.register_forward_pre_hook(mode.enter))
        handles.append(module.register_forward_hook(mode.leave))
    try:
        with mode:
            yield
    finally:
        for handle in handles:
            handle.remove()


def activation_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules of a model that compute an elementwise function."""
    return [module for module in model.modules() if _is_activation(module)]


def unseen_activations(model: nn.Module) -> list[str]:
    """Return the settings of a model whose activation would not be intercepted.

    DeBERTa creates these modules anew in every forward, so that they have no hooks. They are only
    intercepted if they call one of torch's functions.
    """
    config = getattr(model, "config", None)
    named = {name: getattr(config, name, None) for name in ("pooler_hidden_act", "conv_act")}
    return [name for name, value in named.items() if value not in (None, *_FUNCTION_NAMES)]


def _is_activation(module: nn.Module) -> bool:
    home = type(module).__module__
    return home == "transformers.activations" or (
        home == "torch.nn.modules.activation" and not isinstance(module, _NOT_ELEMENTWISE)
    )
