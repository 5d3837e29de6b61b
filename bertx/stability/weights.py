"""Random weights in place of trained ones, part by part, and the trained ones back.

A whole set of weights is drawn as the model's own class draws them before training; then any parts
of the model can stand on them for a while. The trained weights are put aside, never written to.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.anatomy import GatedLayer, Layer, UnsupportedArchitecture, anatomy
from bertx.scope import alone, exclusive, isolated_rng

_NAME = "Model randomisation"

Weights = Mapping[nn.Parameter, Tensor]
"""Other values for each parameter of a model, by the parameter."""


@dataclass(frozen=True)
class Part:
    """Weights of a model that are randomised together.

    Attributes:
        name: ``classifier``, ``layer 1`` for the one above the embeddings (``layers 1, 2`` where
            layers share their weights), or ``embeddings``.
        parameters: The weights.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]


@alone()
def parts(model: PreTrainedModel) -> tuple[Part, ...]:
    """All weights of a classifier, from the top down: the head, each layer, the embeddings.

    The head is everything above the last layer. The embeddings are everything that the layers read,
    with a map to their width and tables of relative positions.

    Raises:
        UnsupportedArchitecture: If the model has no `bertx.anatomy.anatomy`.
    """
    found = anatomy(model, _NAME)
    blocks: dict[nn.Module, list[int]] = {}
    for number, layer in enumerate(found.layers, 1):
        blocks.setdefault(_block(model, layer), []).append(number)
    steps = [part for step in found.head for part in vars(step).values()]
    above = [part for part in (*steps, found.last_norm) if isinstance(part, nn.Module)]
    below = set(model.base_model.parameters())
    head = [*_parameters(above), *(own for own in model.parameters() if own not in below)]
    layers = [Part(_layer_name(numbers), _parameters([block])) for block, numbers in blocks.items()]
    known = {*head, *(own for part in layers for own in part.parameters)}
    rest = tuple(own for own in model.parameters() if own not in known)
    top = Part("classifier", tuple(dict.fromkeys(head)))
    return (top, *reversed(layers), Part("embeddings", rest))


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
        # transformers' initialisation pass over them; these are new and have none.
        drawn: dict[Tensor, Tensor] = {
            own: nn.Parameter(torch.full_like(own, torch.nan, device="cpu"))
            for own in model.parameters()
        }
        aside: dict[Tensor, Tensor] = {own: own.to("cpu", copy=True) for own in model.buffers()}
        with _exchanged(model, drawn | aside):
            torch.default_generator.manual_seed(seed)
            _initialise(model, model)
    left = [name for name, own in model.named_parameters() if drawn[own].isnan().any()]
    if left:
        known = f"models that initialise all their weights: this one leaves out {', '.join(left)}"
        raise UnsupportedArchitecture(_NAME, model, known)
    return {own: drawn[own].detach() for own in model.parameters()}


@exclusive
def randomised(model: nn.Module, parts: Iterable[Part], weights: Weights) -> Iterator[None]:
    """Let parts of a model stand on other weights; after the body, also if it raises, on their own.

    Args:
        model: The model.
        parts: Some of its `parts`.
        weights: What `redrawn` gave for it.
    """
    with torch.inference_mode(False):
        chosen: dict[Tensor, Tensor] = {
            own: nn.Parameter(weights[own].to(own.device), own.requires_grad)
            for part in parts
            for own in part.parameters
        }
    with _exchanged(model, chosen):
        yield


@exclusive
def _exchanged(model: nn.Module, others: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Put other tensors in the places of parameters and buffers, all places of a shared one."""
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (slots, name, own)
        for module in model.modules()
        for slots in (module._parameters, module._buffers)
        for name, own in slots.items()
        if own is not None and own in others
    ]
    try:
        for slots, name, own in places:
            slots[name] = others[own]
        yield
    finally:
        for slots, name, own in places:
            slots[name] = own


def _initialise(module: nn.Module, owner: PreTrainedModel) -> None:
    """Initialise a module as transformers does: from the inside out, each by the model it is of."""
    for child in module.children():
        _initialise(child, child if isinstance(child, PreTrainedModel) else owner)
    owner._init_weights(module)


def _block(model: nn.Module, layer: Layer | GatedLayer) -> nn.Module:
    """The innermost module that holds all of a layer."""
    maps = {part for part in vars(layer).values() if isinstance(part, (nn.Linear, nn.LayerNorm))}
    return [module for module in model.modules() if maps <= set(module.modules())][-1]


def _parameters(modules: Iterable[nn.Module]) -> tuple[nn.Parameter, ...]:
    return tuple(own for module in modules for own in module.parameters())


def _layer_name(numbers: list[int]) -> str:
    return f"layer{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
