"""Check that a model computes what its named parts compute together."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.layers import Group, Plain, after_attention, groups, mix_values
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.models.anatomy import Anatomy, UnsupportedArchitecture, anatomy, custom_code
from bertx.models.inputs import short_texts
from bertx.models.scope import isolated_rng
from bertx.trace import Needs, Trace

TOLERANCE = 1e-2
"""Largest allowed error of recomputed logits, in units of the largest logit."""

HALF_TOLERANCE = 0.25
"""The same for a model in half precision, which rounds by some percent."""


def check_parts(model: PreTrainedModel, method: str) -> None:
    """Refuse a model whose forward is not that of its `bertx.models.anatomy.anatomy`.

    Transformers' own classes are trusted. A model with any other code runs once on two short
    texts, and its logits are compared with those of its embeddings, layers and head.

    Args:
        model: A Hugging Face sequence classifier.
        method: Name of the method for the error.

    Raises:
        UnsupportedArchitecture: If the model lacks these parts or computes anything else.
    """
    parts = anatomy(model, method)
    if not custom_code(model):
        return
    reads = head_reads(model, method)
    supported = "models that compute what their parts do"
    texts = short_texts(model)
    try:
        with isolated_rng():
            trace = Trace(model, texts, None, Needs.ATTENTION)
    except InputError as error:
        raise UnsupportedArchitecture(method, model, f"{supported} ({error})") from error
    half = trace.logits.dtype in (torch.bfloat16, torch.float16)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
        for group in groups(trace, texts.input_ids.numel() ** 2, reads):
            expected = trace.logits[group.rows].to(group.embeddings)
            off = (_recompute(group, parts) - expected).abs().max()
            if not off <= tolerance * expected.abs().max():  # also refuses NaN
                differs = "the logits of this one differ from those of its layers and head"
                raise UnsupportedArchitecture(method, model, f"{supported}; {differs}")


def _recompute(group: Group, parts: Anatomy) -> Tensor:
    """Return the logits (N, C) of a group's texts from the parts of the model."""
    x = group.first_state(parts)
    for number, layer in enumerate(parts.layers):
        attended = mix_values(layer, x, group.attention(number, parts))
        x = after_attention(layer, Plain(attended)).value
    return group.logits(parts, x)
