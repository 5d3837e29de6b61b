"""What a head reads of the last layer: known of transformers' own classes, tried out on others."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.models.anatomy import (
    ENCODERS,
    UnsupportedArchitecture,
    check_differentiable,
    embedding_block,
    own_code,
    readout,
)
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs, short_texts
from bertx.models.scope import evaluating, exclusive, frozen, gradients, isolated_rng, leaf

TOLERANCE = 1e-2
"""Largest difference of gradients that counts as none, in units of the largest gradient."""

NOTHING = "nothing of it that has a gradient (are weights of the head all 0?)"

HEADS = "heads that read the first token of the last layer, or the mean of a text's tokens"

NAMES = {"first": "the first token", "mean": "the mean"}

_tried: WeakKeyDictionary[nn.Module, tuple[object, Literal["first", "mean"]]] = WeakKeyDictionary()
"""What the heads of models read of short texts."""

_seen: WeakKeyDictionary[nn.Module, tuple[object, str]] = WeakKeyDictionary()
"""What they read of the first real text."""


def head_reads(
    model: PreTrainedModel, method: str, texts: Inputs | None = None
) -> Literal["first", "mean"]:
    """What the head of a model reads of the last layer: its first token, or the mean of a text's.

    `bertx.models.anatomy.readout` says it from the class and the config. A model of another type,
    or with a forward of somebody else's, is asked instead: one forward of two short texts, and
    where the gradient of the logits arrives at the last layer. That is done once, until its code
    or a weight changes. A head may look for special tokens, which short texts may lack: the
    longest of real texts is tried too.

    Args:
        model: A Hugging Face sequence classifier.
        method: The method that asks, for the error.
        texts: Real texts, if there are any; those of the first call with some are tried.

    Raises:
        UnsupportedArchitecture: If the head reads anything else.
    """
    believed, code = None, own_code(model)
    if model.config.model_type in ENCODERS:
        believed = readout(model, method)
        if not code:
            return believed
    check_differentiable(model, method)  # weights of inference mode count no versions
    key = believed, code, sum(weight._version for weight in model.parameters())
    expected = _of_short_texts(model, method, key)
    if texts is not None:
        seen = _of_real_texts(model, method, key, texts)
        if seen not in (expected, NOTHING):
            read = f"{NAMES[expected]} in random texts, but in a real one {NAMES.get(seen, seen)}"
            raise UnsupportedArchitecture(method, model, f"{HEADS}; this one reads {read}")
    return expected


def _of_short_texts(model: PreTrainedModel, method: str, key: object) -> Literal["first", "mean"]:
    cached = _tried.get(model)
    if cached is not None and cached[0] == key:
        return cached[1]
    read = _try_out(model, method, short_texts(model))
    if read != "first" and read != "mean":
        raise UnsupportedArchitecture(method, model, f"{HEADS}; this one reads {read}")
    _tried[model] = key, "first" if read == "first" else "mean"
    return _tried[model][1]


def _of_real_texts(model: PreTrainedModel, method: str, key: object, texts: Inputs) -> str:
    """What a head reads of the longest text; that of one token says nothing."""
    cached = _seen.get(model)
    if cached is not None and cached[0] == key:
        return cached[1]
    lengths = texts.attention_mask.ne(0).sum(1)
    longest = int(lengths.argmax())
    if lengths[longest] < 2:
        return NOTHING
    read = _try_out(model, method, _row(texts, longest))
    if read != NOTHING:
        _seen[model] = key, read
    return read


def _row(texts: Inputs, row: int) -> Inputs:
    """One text as it is, wherever its padding stands."""
    some, segments = slice(row, row + 1), texts.token_type_ids
    return replace(
        texts,
        input_ids=texts.input_ids[some],
        attention_mask=texts.attention_mask[some],
        units=texts.units[some],
        token_type_ids=None if segments is None else segments[some],
    )


def _try_out(model: PreTrainedModel, method: str, texts: Inputs) -> str:
    with ExitStack() as stack:
        stack.enter_context(gradients())
        stack.enter_context(isolated_rng())
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        cut = stack.enter_context(leaf(embedding_block(model, method)))
        last = stack.enter_context(_last_states(model.base_model))
        logits = logits_of(model, texts.arguments(model))
        if len(last) != 1 or last[0].shape[:-1] != texts.input_ids.shape or not cut:
            return "no states that its base model gives, or those of several runs of it"
        draw = torch.Generator().manual_seed(1)
        mixed = (logits * torch.randn(logits.shape, generator=draw).to(logits)).sum()
        return _where(mixed, last[0], cut[0], texts.attention_mask.bool())


def _where(answer: Tensor, last: Tensor, first: Tensor, mask: Tensor) -> str:
    """Name what an answer reads of the last states (B, T, D), made of the first (B, T, D)."""
    slope = _gradient(answer, last)
    if slope is None or not slope.abs().sum() > 0:
        return NOTHING
    whole, through = _gradient(answer, first), _gradient(last, first, slope)
    if not all(g is None or g.isfinite().all() for g in (slope, whole, through)):
        return NOTHING
    if not _same(whole, through):
        return "more than the last layer, such as lower ones"
    nothing = torch.zeros_like(slope)
    if _same(slope[:, 1:], nothing[:, 1:], slope):
        return "first"
    if not _same(slope[~mask], nothing[~mask], slope):
        return "padding too"
    even = torch.stack([row[on].mean(0) for row, on in zip(slope, mask, strict=True)])
    if _same(slope[mask], even[:, None].expand_as(slope)[mask], slope):
        return "mean"
    sizes = slope[0].abs().amax(-1)
    read = (sizes > TOLERANCE * sizes.max()).nonzero()[:, 0].tolist()
    if len(read) == len(sizes):
        return "its tokens unevenly, as a maximum or an attention does"
    named = [*map(str, read[:8]), *(["..."] if len(read) > 8 else [])]
    return f"tokens {', '.join(named)} of 0 to {len(sizes) - 1}"


def _gradient(output: Tensor, source: Tensor, weights: Tensor | None = None) -> Tensor | None:
    if not output.requires_grad or not source.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(output, source, weights, retain_graph=True, allow_unused=True)
    return gradient


def _same(a: Tensor | None, b: Tensor | None, scale: Tensor | None = None) -> bool:
    if a is None or b is None:
        return False
    largest = (a if scale is None else scale).abs().max()
    return not a.numel() or bool((a - b).abs().max() <= TOLERANCE * largest)


@exclusive
def _last_states(base: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the states of the last layer that a base model answers."""
    states: list[Tensor] = []

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        states.append(output if isinstance(output, Tensor) else output[0])

    handle = base.register_forward_hook(note)
    try:
        yield states
    finally:
        handle.remove()
