"""Whether a model of somebody else's code computes what its parts compute together."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.layers import Group, Plain, after_attention, groups, mix_values, through_head
from bertx.attribution.readout import head_reads
from bertx.errors import InputError
from bertx.models.anatomy import Anatomy, UnsupportedArchitecture, anatomy, own_code
from bertx.models.inputs import short_texts
from bertx.models.scope import isolated_rng
from bertx.trace import Needs, Trace

LOGIT_TOLERANCE = 1e-2
"""Largest difference between recomputed logits and the model's, in units of the largest logit."""

HALF = 0.25
"""The same for a model in half precision, whose own rounding comes to percents."""


def check_parts(model: PreTrainedModel, method: str) -> None:
    """Refuse models whose forward is not that of their `bertx.models.anatomy.anatomy`.

    Those of transformers' own classes are known. Any other is run once on two short texts, and its
    logits compared with those of its embeddings, layers and head, put together as transformers do.

    Args:
        model: A Hugging Face sequence classifier.
        method: The method that asks, for the error.

    Raises:
        UnsupportedArchitecture: If it has not the parts, or is more or something else than these.
    """
    parts = anatomy(model, method)
    if not own_code(model):
        return
    head_reads(model, method)
    supported = "models that compute what their parts do"
    texts = short_texts(model)
    try:
        with isolated_rng():
            trace = Trace(model, texts, None, Needs.ATTENTION)
    except InputError as error:
        raise UnsupportedArchitecture(method, model, f"{supported} ({error})") from error
    half = trace.logits.dtype in (torch.bfloat16, torch.float16)
    with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
        for group in groups(trace, texts.input_ids.numel() ** 2):
            expected = trace.logits[group.rows].to(group.embeddings)
            off = (recomputed(group, parts) - expected).abs().max()
            if not off <= (HALF if half else LOGIT_TOLERANCE) * expected.abs().max():
                changed = "the logits of this one are others than those of its layers and head"
                raise UnsupportedArchitecture(method, model, f"{supported}; {changed}")


def recomputed(group: Group, parts: Anatomy) -> Tensor:
    """The logits (N, C) of a group's texts from the parts of the model."""
    x = Plain(group.embeddings)
    state = x if parts.projection is None else x.linear(parts.projection)
    for number, layer in enumerate(parts.layers):
        weights = group.attention(number, group.queries(number, parts))
        state = after_attention(layer, Plain(mix_values(layer, state.value, weights)))
    state = state if parts.last_norm is None else state.norm(parts.last_norm)
    row = group.reading()[:, None, : state.value.shape[1]]
    return through_head(parts, Plain((row @ state.value)[:, 0])).value
