"""What a head reads of the last layer: known of transformers' own classes, tried out on others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.anatomy import (
    UnsupportedArchitecture,
    check_differentiable,
    embedding_block,
    readout,
)
from bertx.classifier import logits_of
from bertx.inputs import Inputs
from bertx.scope import evaluating, frozen, gradients, isolated_rng, leaf

Code = tuple[ReferenceType[Any], ...]
"""The forwards of a model that are not transformers' or torch's."""

LENGTHS = (8, 5)
"""Tokens of the texts that a head is tried on; the shorter one is padded."""

TOLERANCE = 1e-2
"""Largest difference of gradients that counts as none, in units of the largest gradient."""

_tried: WeakKeyDictionary[nn.Module, tuple[object, Literal["first", "mean"]]] = WeakKeyDictionary()


def head_reads(model: PreTrainedModel, method: str) -> Literal["first", "mean"]:
    """What the head of a model reads of the last layer: its first token, or the mean of a text's.

    `bertx.anatomy.readout` says it from the class and the config. A model with a forward of
    somebody else's is asked instead: one forward of two short texts, and where the gradient of
    the logits arrives at the last layer. That is done once, until its code changes.

    Raises:
        UnsupportedArchitecture: If the model type is not known, or the head reads anything else.
    """
    believed, code = readout(model, method), own_code(model)
    if not code:
        return believed
    known = _tried.get(model)
    if known is not None and known[0] == (believed, code):
        return known[1]
    found = _try_out(model, method)
    if found != "first" and found != "mean":
        heads = "heads that read the first token of the last layer, or the mean of a text's tokens"
        raise UnsupportedArchitecture(method, model, f"{heads}; this one reads {found}")
    _tried[model] = (believed, code), "first" if found == "first" else "mean"
    return _tried[model][1]


def own_code(model: nn.Module) -> Code:
    """The forwards of all modules whose class, or forward, is not of transformers or torch."""
    found = []
    for module in model.modules():
        own = vars(module).get("forward")
        forward = getattr(type(module), "forward", type(module)) if own is None else own
        if own is not None or not all(map(_shipped, (type(module), forward))):
            found.append(ref(getattr(forward, "__func__", forward)))
    return tuple(found)


def short_texts(model: PreTrainedModel) -> Inputs:
    """Texts of random tokens of the model's vocabulary, always the same ones."""
    pad = getattr(model.config, "pad_token_id", None) or 0
    draw = torch.Generator().manual_seed(0)
    shape = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(model.config.vocab_size - 1, shape, generator=draw)
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    ids = torch.where(mask, ids + (ids >= pad), pad).to(model.device)
    units = torch.where(mask, torch.arange(shape[1]), -1).to(model.device)
    return Inputs(ids, mask.long().to(model.device), units, pad_token_id=pad)


def _try_out(model: PreTrainedModel, method: str) -> str:
    check_differentiable(model, method)
    with ExitStack() as stack:
        stack.enter_context(gradients())
        stack.enter_context(isolated_rng())
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        cut = stack.enter_context(leaf(embedding_block(model, method)))
        last = stack.enter_context(_last_states(model.base_model))
        texts = short_texts(model)
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
        return "nothing of it that has a gradient (are weights of the head all 0?)"
    whole, through = _gradient(answer, first), _gradient(last, first, slope)
    if not _same(whole, through):
        return "more than the last layer, such as lower ones"
    nothing = torch.zeros_like(slope)
    if _same(slope[:, 1:], nothing[:, 1:], slope):
        return "first"
    if not _same(slope[~mask], nothing[~mask], slope):
        return "padding too"
    even = torch.stack([own[on].mean(0) for own, on in zip(slope, mask, strict=True)])
    if _same(slope[mask], even[:, None].expand_as(slope)[mask], slope):
        return "mean"
    sizes = slope[0].abs().amax(-1)
    read = (sizes > TOLERANCE * sizes.max()).nonzero()[:, 0].tolist()
    if len(read) == len(sizes):
        return "its tokens unevenly, as a maximum or an attention does"
    return f"tokens {', '.join(map(str, read))} of 0 to {len(sizes) - 1}"


def _gradient(output: Tensor, source: Tensor, weights: Tensor | None = None) -> Tensor | None:
    if not output.requires_grad or not source.requires_grad:
        return None
    (found,) = torch.autograd.grad(output, source, weights, retain_graph=True, allow_unused=True)
    return found


def _same(a: Tensor | None, b: Tensor | None, scale: Tensor | None = None) -> bool:
    if a is None or b is None:
        return False
    largest = (a if scale is None else scale).abs().max()
    return not a.numel() or bool((a - b).abs().max() <= TOLERANCE * largest)


def _shipped(code: object) -> bool:
    return str(getattr(code, "__module__", "")).split(".")[0] in ("transformers", "torch")


@contextmanager
def _last_states(base: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the states of the last layer that a base model answers."""
    found: list[Tensor] = []

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        found.append(output if isinstance(output, Tensor) else output[0])

    handle = base.register_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()
