"""Linear maps whose backward skips tokens without a gradient.

Where a classifier reads its first token alone, the other tokens of the last layer have no gradient
down to its attention, and most of that layer's backward multiplies zeros. On a CPU they are
skipped. Neither the forward nor the gradient changes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

linear = nn.functional.linear


class Skipping(TorchFunctionMode):
    """Context manager in which `torch.nn.functional.linear` is `skipping_linear`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Replace linear maps; see `torch.overrides.TorchFunctionMode`."""
        return (skipping_linear if func is linear else func)(*args, **(kwargs or {}))


def skipping_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``torch.nn.functional.linear``, with a backward that skips tokens where this pays.

    Args:
        input: (B, T, I); with any other shape the map is the ordinary one.
        weight: (O, I). If it requires a gradient, the map is the ordinary one.
        bias: (O,) or None.
    """
    frozen = type(weight) in (Tensor, nn.Parameter) and not weight.requires_grad
    tokens = input.dim() == 3 and input.shape[1] > 1 and input.device.type == "cpu"
    if not (frozen and tokens and input.requires_grad and torch.is_grad_enabled()):
        return linear(input, weight, bias)
    return _SkippingLinear.apply(input, weight, bias)


class _SkippingLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight)
        ctx.dtype = x.dtype
        if bias is None or not x.is_contiguous():
            return linear(x, weight, bias)
        # The same kernel as the ordinary map's. Not a view: models may write into the output.
        return torch.ops.aten._unsafe_view(
            linear(x.flatten(0, 1), weight, bias), [*x.shape[:2], len(weight)]
        )

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        if grad is None:
            return None, None, None
        weight = ctx.saved_tensors[0].to(grad.dtype)
        if grad[:, 1].any():  # a cheap first look: in most maps the second token has a gradient
            # Flattened, or matmul might run one product per text for a non-contiguous gradient.
            dx = grad.flatten(0, 1) @ weight
            return dx.unflatten(0, grad.shape[:2]).to(ctx.dtype), None, None
        used = grad.any(-1)
        dx = grad.new_zeros(*grad.shape[:2], weight.shape[1], dtype=ctx.dtype)
        dx[used] = (grad[used] @ weight).to(ctx.dtype)
        return dx, None, None
