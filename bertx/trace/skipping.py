"""Linear maps whose backward leaves out the tokens that have no gradient.

Where a classifier reads its first token alone, the gradient of the last layer's other tokens is 0
up to the attention: most of that layer's backward multiplies zeros. On a CPU these are skipped. The
forward is the ordinary one, and so is the gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

linear = nn.functional.linear


class Skipping(TorchFunctionMode):
    """Within it, linear maps of a graph skip tokens without gradient in their backward."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace linear maps; see `torch.overrides.TorchFunctionMode`."""
        return (skipping_linear if func is linear else func)(*args, **(kwargs or {}))


def skipping_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``; its backward skips tokens where that can pay.

    Args:
        input: (B, T, I), or of any other shape for the ordinary map.
        weight: (O, I). If it wants a gradient the map is the ordinary one.
        bias: (O,) or None.
    """
    fixed = type(weight) in (Tensor, nn.Parameter) and not weight.requires_grad
    tokens = input.dim() == 3 and input.shape[1] > 1 and input.device.type == "cpu"
    if not (fixed and tokens and input.requires_grad and torch.is_grad_enabled()):
        return linear(input, weight, bias)
    return _Linear.apply(input, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight)
        ctx.dtype = x.dtype
        if bias is None or not x.is_contiguous():
            return linear(x, weight, bias)
        # The same product, but no view, so that a model may write into what comes out.
        return torch.ops.aten._unsafe_view(
            linear(x.flatten(0, 1), weight, bias), [*x.shape[:2], len(weight)]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        if grad is None:
            return None, None, None
        weight = ctx.saved_tensors[0].to(grad.dtype)
        if grad[:, 1].any():  # one token tells most maps apart
            through = grad.flatten(0, 1) @ weight  # one product, whatever the weight wants
            return through.unflatten(0, grad.shape[:2]).to(ctx.dtype), None, None
        used = grad.any(-1)
        through = grad.new_zeros(*grad.shape[:2], weight.shape[1], dtype=ctx.dtype)
        through[used] = (grad[used] @ weight).to(ctx.dtype)
        return through, None, None
