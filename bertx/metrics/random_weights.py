"""Temporary replacement of trained weights by random ones, part by part.

Weights for the whole model are drawn by its own initialization. Any parts of the model can then use
them inside a ``with`` block. The trained weights are kept aside and never modified.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.models.anatomy import Part, UnsupportedArchitecture, weight_parts
from bertx.models.scope import alone, exclusive, isolated_rng

_NAME = "Model randomization"

Weights = Mapping[nn.Parameter, Tensor]
"""From each parameter of a model to its random values."""


@alone()
def parts(model: PreTrainedModel) -> tuple[Part, ...]:
    """Return the parts of a model that can be randomized, from the top down.

    See `bertx.models.anatomy.weight_parts`.

    Raises:
        UnsupportedArchitecture: If the model cannot be divided into parts.
    """
    return weight_parts(model, _NAME)


@alone()
def redrawn(model: PreTrainedModel, seed: int = 0) -> Weights:
    """Draw new weights for a whole model by its ``_init_weights``, as before pretraining.

    The model does not change. The same seed gives the same weights on every device.

    Args:
        model: The model.
        seed: Seed of the draw.

    Returns:
        Values for all parameters, on the CPU, in the model's precision.

    Raises:
        UnsupportedArchitecture: If ``_init_weights`` does not initialize all parameters.
    """
    with torch.inference_mode(False), torch.no_grad(), isolated_rng():
        # New parameters, because transformers skips loaded ones, which it marks as initialized.
        # They are filled with NaN to find those that are not initialized.
        drawn: dict[Tensor, Tensor] = {
            weight: nn.Parameter(torch.full_like(weight, torch.nan, device="cpu"))
            for weight in model.parameters()
        }
        buffers: dict[Tensor, Tensor] = {
            buffer: buffer.to("cpu", copy=True) for buffer in model.buffers()
        }
        with _replaced(model, drawn | buffers):
            torch.default_generator.manual_seed(seed)
            _initialize(model, model)
    missing = [name for name, weight in model.named_parameters() if drawn[weight].isnan().any()]
    if missing:
        names = ", ".join(missing)
        supported = f"models that initialize all their weights: this one leaves out {names}"
        raise UnsupportedArchitecture(_NAME, model, supported)
    return {weight: drawn[weight].detach() for weight in model.parameters()}


@exclusive
def randomized(model: nn.Module, parts: Iterable[Part], weights: Weights) -> Iterator[None]:
    """Replace the weights of some parts of a model, and restore them after the body.

    Args:
        model: The model.
        parts: Some of its `parts`.
        weights: Weights of the model from `redrawn`.
    """
    with torch.inference_mode(False):
        others: dict[Tensor, Tensor] = {
            weight: nn.Parameter(weights[weight].to(weight.device), weight.requires_grad)
            for part in parts
            for weight in part.parameters
        }
    with _replaced(model, others):
        yield


@exclusive
def _replaced(model: nn.Module, others: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Replace parameters and buffers by other tensors wherever the model refers to them."""
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (slots, name, tensor)
        for module in model.modules()
        for slots in (module._parameters, module._buffers)
        for name, tensor in slots.items()
        if tensor is not None and tensor in others
    ]
    try:
        for slots, name, tensor in places:
            slots[name] = others[tensor]
        yield
    finally:
        for slots, name, tensor in places:
            slots[name] = tensor


def _initialize(module: nn.Module, owner: PreTrainedModel) -> None:
    """Initialize a module as transformers does: children first, each by its innermost model."""
    for child in module.children():
        _initialize(child, child if isinstance(child, PreTrainedModel) else owner)
    owner._init_weights(module)
