"""The precision in which sums are made."""

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 if it was."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
