"""What the head of a classifier reads of the last layer: the first token, or a mean of all tokens.

It follows from the class and the config for transformers' own code. Any other code is probed: it
runs on a few texts, and the gradient of the logits shows which tokens of the last layer it reads.
"""

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
    custom_code,
    embedding_block,
    readout,
)
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs, short_texts
from bertx.models.scope import evaluating, exclusive, frozen, gradients, isolated_rng, leaf

Readout = Literal["first", "mean"]
"""What a head reads of the last layer: its first token, or the mean of a text's tokens."""

TOLERANCE = 1e-2
"""Largest difference of gradients that counts as equal, in units of the largest gradient."""

HEADS = "heads that read the first token of the last layer, or the mean of a text's tokens"

NAMES = {"first": "the first token", "mean": "the mean"}

NOTHING = "nothing that passes a gradient (are all weights of the head 0?)"
"""Result of a probe that shows nothing, and is therefore not kept."""

_probes: WeakKeyDictionary[nn.Module, tuple[object, dict[str, str]]] = WeakKeyDictionary()
"""Of each probed model: what the results depend on, and the results by kind of text."""


def head_reads(model: PreTrainedModel, method: str, texts: Inputs | None = None) -> Readout:
    """Return what the head of a model reads: the first token of the last layer, or the mean.

    A probe costs one forward and a few backwards. Two short texts of random tokens are probed
    once, until the model's code or weights change. A head may look for special tokens, which these
    texts may lack; so the longest text of the first real batch is probed too.

    Args:
        model: A Hugging Face sequence classifier.
        method: Name of the method for the error.
        texts: Real texts, if there are any.

    Raises:
        UnsupportedArchitecture: If the head reads anything else, or if it reads the real text in
            another way than the random ones.
    """
    expected, code = None, custom_code(model)
    if model.config.model_type in ENCODERS:
        expected = readout(model, method)
        if not code:
            return expected
    check_differentiable(model, method)  # also because weights of inference mode have no version
    key = expected, code, sum(weight._version for weight in model.parameters())
    cached = _probes.get(model)
    if cached is None or cached[0] != key:
        cached = _probes[model] = (key, {})
    results = cached[1]
    if "random" not in results:
        reads = _probe(model, method, short_texts(model))
        if reads not in NAMES:
            raise UnsupportedArchitecture(method, model, f"{HEADS}; this one reads {reads}")
        results["random"] = reads
    if texts is not None and "real" not in results:
        reads = _probe_longest(model, method, texts)
        if reads != NOTHING:
            results["real"] = reads
    random, real = results["random"], results.get("real")
    if texts is not None and real not in (None, random):
        reads = f"{NAMES[random]} in random texts, but in a real one {NAMES.get(real, real)}"
        raise UnsupportedArchitecture(method, model, f"{HEADS}; this one reads {reads}")
    return "first" if random == "first" else "mean"


def _probe_longest(model: PreTrainedModel, method: str, texts: Inputs) -> str:
    lengths = texts.attention_mask.ne(0).sum(1)
    longest = int(lengths.argmax())
    if lengths[longest] < 2:  # its first token is its mean
        return NOTHING
    row, segments = slice(longest, longest + 1), texts.token_type_ids
    text = replace(  # not `Inputs.rows`, which refuses padding on the left
        texts,
        input_ids=texts.input_ids[row],
        attention_mask=texts.attention_mask[row],
        units=texts.units[row],
        token_type_ids=None if segments is None else segments[row],
    )
    return _probe(model, method, text)


def _probe(model: PreTrainedModel, method: str, texts: Inputs) -> str:
    """Return ``first``, ``mean``, or a description of what else the head reads."""
    with ExitStack() as stack:
        stack.enter_context(gradients())
        stack.enter_context(isolated_rng())
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        stack.enter_context(torch.autocast(model.device.type, enabled=False))
        embeddings = stack.enter_context(leaf(embedding_block(model, method)))
        states = stack.enter_context(_last_states(model.base_model))
        logits = logits_of(model, texts.arguments(model))
        if len(states) != 1 or states[0].shape[:-1] != texts.input_ids.shape or not embeddings:
            return "no output of its base model, or outputs of several calls"
        draw = torch.Generator().manual_seed(1)
        # A random mixture, as a token's gradients could cancel in the sum of all logits.
        mixture = (logits * torch.randn(logits.shape, generator=draw).to(logits)).sum()
        return _read_tokens(mixture, states[0], embeddings[0], texts.attention_mask.bool())


def _read_tokens(output: Tensor, last: Tensor, first: Tensor, mask: Tensor) -> str:
    """Describe which tokens of the last states an output depends on.

    Args:
        output: A number.
        last: States of the last layer (B, T, D).
        first: Embeddings (B, T, D), which ``last`` is computed from.
        mask: True for tokens, False for padding (B, T).
    """
    slope = _gradient(output, last)
    if slope is None or not slope.abs().sum() > 0:
        return NOTHING
    whole, through_last = _gradient(output, first), _gradient(last, first, slope)
    if not all(g is None or g.isfinite().all() for g in (slope, whole, through_last)):
        return NOTHING
    if whole is None or through_last is None or not _close(whole, through_last, whole):
        return "more than the last layer, such as lower layers"
    zeros = torch.zeros_like(slope)
    if _close(slope[:, 1:], zeros[:, 1:], slope):
        return "first"
    if not _close(slope[~mask], zeros[~mask], slope):
        return "padding too"
    mean = torch.stack([row[on].mean(0) for row, on in zip(slope, mask, strict=True)])
    if _close(slope[mask], mean[:, None].expand_as(slope)[mask], slope):
        return "mean"
    sizes = slope[0].abs().amax(-1)
    tokens = (sizes > TOLERANCE * sizes.max()).nonzero()[:, 0].tolist()
    if len(tokens) == len(sizes):
        return "its tokens unevenly, as a maximum or attention does"
    listed = ", ".join([*map(str, tokens[:8]), *(["..."] if len(tokens) > 8 else [])])
    return f"tokens {listed} of 0 to {len(sizes) - 1}"


def _gradient(output: Tensor, source: Tensor, weights: Tensor | None = None) -> Tensor | None:
    if not output.requires_grad or not source.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(output, source, weights, retain_graph=True, allow_unused=True)
    return gradient


def _close(a: Tensor, b: Tensor, scale: Tensor) -> bool:
    return not a.numel() or bool((a - b).abs().max() <= TOLERANCE * scale.abs().max())


@exclusive
def _last_states(base: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list of the states of the last layer that each call of a base model returns."""
    states: list[Tensor] = []

    def note(_module: nn.Module, _args: object, output: Any) -> None:
        states.append(output if isinstance(output, Tensor) else output[0])

    handle = base.register_forward_hook(note)
    try:
        yield states
    finally:
        handle.remove()
