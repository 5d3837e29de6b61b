"""A last layer that computes only the token that the head reads, a tenth of a short forward."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.models.anatomy import (
    Layer,
    UnsupportedArchitecture,
    anatomy,
    custom_code,
    embedding_block,
    readout,
)
from bertx.models.scope import exclusive


@exclusive
def first_token_alone(model: PreTrainedModel) -> Iterator[None]:
    """Restrict everything after the last layer's attention to the first token within the body.

    Logits and their gradients are the same up to rounding. Nothing changes if the head reads other
    tokens too, if the model is not a known one of transformers, if a foreign hook may read the
    other tokens, or if a module is compiled.

    Args:
        model: A Hugging Face sequence classifier.
    """
    handles = [part.register_forward_pre_hook(_first) for part in _narrowed(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _narrowed(model: PreTrainedModel) -> list[nn.Module]:
    """Return the output map of the last layer's attention and the LayerNorm after its residual.

    Both are needed, as the residual between them has all tokens again.
    """
    try:
        last = anatomy(model, "last layer").layers[-1]
    except UnsupportedArchitecture:
        return []
    shared = isinstance(last, Layer) and last.call > 0
    if shared or readout(model, "last layer") != "first" or custom_code(model) or _watched(model):
        return []
    return [last.mix, last.mix_norm if isinstance(last, Layer) else last.up_norm]


def _watched(model: PreTrainedModel) -> bool:
    """Return whether a module is compiled or has a hook that may read states of the layers."""
    others = {model, *embedding_block(model, "last layer").modules()}
    return torch.compiler.is_compiling() or any(
        module._compiled_call_impl
        or (module not in others and (module._forward_hooks or module._forward_pre_hooks))
        for module in model.modules()
    )


def _first(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # Torch multiplies a slice by frozen weights text by text, which is slower.
    return (args[0][:, :1].contiguous(),)
