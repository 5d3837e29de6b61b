"""The last layer for the one token that the head reads: a tenth of a short text's forward less."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.models.anatomy import (
    Layer,
    UnsupportedArchitecture,
    anatomy,
    embedding_block,
    own_code,
    readout,
)
from bertx.models.scope import exclusive


@exclusive
def first_token_alone(model: PreTrainedModel) -> Iterator[None]:
    """Let what follows the last layer's attention see the first token alone.

    The logits are the same up to rounding, with their gradients. Nothing happens where the head
    reads more than that token, where the parts of the model are not known or not transformers',
    where a hook of somebody else's may look at the others, or where a module is compiled.

    Args:
        model: A Hugging Face sequence classifier; it is as before after the body.
    """
    handles = [part.register_forward_pre_hook(_first) for part in _narrowed(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _narrowed(model: PreTrainedModel) -> list[nn.Module]:
    """What closes the attention of the last layer: its map, and the LayerNorm behind the residual.

    The residual between them adds the other tokens again.
    """
    try:
        last = anatomy(model, "last layer").layers[-1]
    except UnsupportedArchitecture:
        return []
    shared = isinstance(last, Layer) and last.call > 0
    if shared or readout(model, "last layer") != "first" or own_code(model) or _watched(model):
        return []
    return [last.mix, last.mix_norm if isinstance(last, Layer) else last.up_norm]


def _watched(model: PreTrainedModel) -> bool:
    """Whether a module has a hook that may see states above the embeddings, or was compiled."""
    others = {model, *embedding_block(model, "last layer").modules()}
    return torch.compiler.is_compiling() or any(
        module._compiled_call_impl
        or (module not in others and (module._forward_hooks or module._forward_pre_hooks))
        for module in model.modules()
    )


def _first(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # Torch multiplies a slice by weights without a gradient text by text, which is slower.
    return (args[0][:, :1].contiguous(),)
