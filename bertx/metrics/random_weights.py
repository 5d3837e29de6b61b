"""Random weights in place of trained ones, part by part, and the trained ones back.

A whole set of weights is drawn as the model's own class draws them before training; then any parts
of the model can stand on them for a while. The trained weights are put aside, never written to.
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
"""Other values for each parameter of a model, by the parameter."""


@alone()
def parts(model: PreTrainedModel) -> tuple[Part, ...]:
    """See `bertx.models.anatomy.weight_parts`."""
    return weight_parts(model, _NAME)


@alone()
def redrawn(model: PreTrainedModel, seed: int = 0) -> Weights:
    """Weights for a whole model as it had them before any training: by its own ``_init_weights``.

    The model is as before; the same seed gives the same weights on every device.

    Args:
        model: The model.
        seed: Another seed is another draw.

    Returns:
        Values for all parameters, on the CPU, in the model's precision.

    Raises:
        UnsupportedArchitecture: If ``_init_weights`` leaves a parameter out.
    """
    with torch.inference_mode(False), torch.no_grad(), isolated_rng():
        # What is not drawn stays NaN. Parameters that were loaded bear a mark that lets
        # transformers' initialization pass over them; these are new and have none.
        drawn: dict[Tensor, Tensor] = {
            weight: nn.Parameter(torch.full_like(weight, torch.nan, device="cpu"))
            for weight in model.parameters()
        }
        aside: dict[Tensor, Tensor] = {
            weight: weight.to("cpu", copy=True) for weight in model.buffers()
        }
        with _exchanged(model, drawn | aside):
            torch.default_generator.manual_seed(seed)
            _initialize(model, model)
    left = [name for name, weight in model.named_parameters() if drawn[weight].isnan().any()]
    if left:
        names = ", ".join(left)
        supported = f"models that initialize all their weights: this one leaves out {names}"
        raise UnsupportedArchitecture(_NAME, model, supported)
    return {weight: drawn[weight].detach() for weight in model.parameters()}


@exclusive
def randomized(model: nn.Module, parts: Iterable[Part], weights: Weights) -> Iterator[None]:
    """Let parts of a model stand on other weights; after the body, also if it raises, on their own.

    Args:
        model: The model.
        parts: Some of its `bertx.models.anatomy.weight_parts`.
        weights: What `redrawn` gave for it.
    """
    with torch.inference_mode(False):
        chosen: dict[Tensor, Tensor] = {
            weight: nn.Parameter(weights[weight].to(weight.device), weight.requires_grad)
            for part in parts
            for weight in part.parameters
        }
    with _exchanged(model, chosen):
        yield


@exclusive
def _exchanged(model: nn.Module, others: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Put other tensors in the places of parameters and buffers, all places of a shared one."""
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
    """Initialize a module as transformers does: from the inside out, each by the model it is of."""
    for child in module.children():
        _initialize(child, child if isinstance(child, PreTrainedModel) else owner)
    owner._init_weights(module)
