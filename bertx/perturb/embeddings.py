"""Forward passes of a model from modified embeddings, with or without gradients.

Rows of similar lengths share a batch of limited size, so that many versions of many texts take few
forward passes. There is no dropout, parameters get no gradients, and the model is restored.
"""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs
from bertx.models.last_layer import first_token_alone
from bertx.models.scope import evaluating, exclusive, frozen, gradients
from bertx.perturb.packing import budget_for, pack
from bertx.trace import Trace
from bertx.trace.rules import wide
from bertx.trace.skipping import Skipping

_NamedBaseline = Literal["mask", "pad", "zero"]
Baseline = _NamedBaseline | int
"""Word embedding of a missing word: of [MASK], of [PAD] or of a token id, or zeros."""

States = Callable[[Tensor, int], Tensor]
"""From row numbers (S,) and a width t to the states of these rows (S, t, D)."""


def word_embedding(model: PreTrainedModel, method: str) -> nn.Module:
    """Return the embedding table of the words (before positions, segments and LayerNorm).

    Raises:
        UnsupportedArchitecture: If the model does not define ``get_input_embeddings``.
    """
    try:
        module = model.get_input_embeddings()
    except NotImplementedError:
        module = None
    if not isinstance(module, nn.Module):
        raise UnsupportedArchitecture(method, model, "models with word embeddings")
    return module


def check_baseline(baseline: Baseline) -> None:
    """Raise `InputError` if the baseline is neither a name nor a token id."""
    token_id = isinstance(baseline, int) and not isinstance(baseline, bool) and baseline >= 0
    if not token_id and baseline not in get_args(_NamedBaseline):
        names = ", ".join(get_args(_NamedBaseline))
        raise InputError(f"baseline {baseline!r}: expected {names}, or the id of a token")


def check_token(token_id: int, table: nn.Module) -> None:
    """Raise `InputError` if an embedding table does not contain a token id."""
    size = getattr(table, "num_embeddings", token_id + 1)
    if token_id >= size:
        raise InputError(f"baseline {token_id}: expected the id of a token, from 0 to {size - 1}")


def word_path(trace: Trace, baseline: Baseline, method: str) -> tuple[Tensor, Tensor]:
    """Return the word embeddings of the texts and of the baseline. Call it inside `rerunning`.

    Returns:
        Word embeddings (B, T, D), and a copy in which all ranked tokens (``units`` >= 0) have the
        embedding of the baseline. Both are in the model's precision.

    Raises:
        InputError: If the baseline is [MASK] and the inputs do not contain its id, or if the model
            does not have the token id.
    """
    inputs = trace.inputs
    table = word_embedding(trace.model, method)
    words = table(inputs.input_ids)
    if baseline == "zero":
        missing = torch.zeros_like(words)
    else:
        missing = table(torch.full_like(inputs.input_ids, _token_id(baseline, inputs, table)))
    return words, torch.where((inputs.units >= 0)[..., None], missing, words)


def _token_id(baseline: Baseline, inputs: Inputs, table: nn.Module) -> int:
    """Return the id of the token that represents a missing word."""
    named = {"mask": inputs.mask_token_id, "pad": inputs.pad_token_id}
    token_id = named[baseline] if isinstance(baseline, str) else baseline
    if token_id is None:
        raise InputError(
            "baseline 'mask' needs the id of the mask token, got None: create the Inputs with a "
            "tokenizer that has one, or use baseline 'pad' or 'zero'."
        )
    check_token(token_id, table)
    return token_id


def summed_gradient(
    trace: Trace,
    module: nn.Module,
    texts: Tensor,
    weights: Tensor,
    states: States,
    token_budget: int | None = None,
) -> Tensor:
    """Compute Σ_r weight_r · ∂y_c/∂state_r over the rows r of each text, y_c the explained logit.

    Call it inside `rerunning`.

    Args:
        trace: The texts, the model and the explained classes.
        module: The module whose output is replaced by the states.
        texts: Index of the text of each row (R,).
        weights: Weight of each row (R,).
        states: Computes the states of rows.
        token_budget: Largest number of tokens in one forward pass; None for the device's default.

    Returns:
        (B, T, D), in float32 or wider; 0 for texts without rows.
    """
    total = torch.zeros(())
    for rows in batches(trace, texts, token_budget):
        part = trace.inputs.rows(texts[rows])
        width = part.input_ids.shape[1]
        state = states(rows, width).detach().requires_grad_()
        with Skipping():
            logits = _forward(trace.model, module, part, state)
        y = _explained_logits(logits, trace, texts[rows])
        (gradient,) = torch.autograd.grad(y.sum(), state)
        weighted = wide(gradient) * weights[rows, None, None]
        if not total.dim():
            total = weighted.new_zeros(*trace.inputs.input_ids.shape, state.shape[-1])
        total[:, :width].index_add_(0, texts[rows], weighted)
    return total


def logits_from(
    trace: Trace, module: nn.Module, texts: Tensor, states: States, token_budget: int | None
) -> Tensor:
    """Compute y_c of every row (R,), float32 or wider, without gradients; see `summed_gradient`."""
    explained = torch.zeros(len(texts), dtype=wide(trace.logits).dtype, device=texts.device)
    with torch.no_grad():
        for rows in batches(trace, texts, token_budget):
            part = trace.inputs.rows(texts[rows])
            state = states(rows, part.input_ids.shape[1])
            logits = _forward(trace.model, module, part, state)
            explained[rows] = wide(_explained_logits(logits, trace, texts[rows]))
    return explained


@exclusive
def rerunning(model: PreTrainedModel) -> Iterator[None]:
    """Enable gradients with respect to activations only, without dropout and autocast."""
    autocast = torch.autocast(model.device.type, enabled=False)
    with gradients(), evaluating(model), frozen(model), first_token_alone(model), autocast:
        yield


def batches(
    trace: Trace, texts: Tensor, token_budget: int | None, copies: int = 1
) -> Iterator[Tensor]:
    """Divide rows into batches, longest first.

    Args:
        trace: The texts.
        texts: Index of the text of each row (R,).
        token_budget: Largest number of tokens in one forward pass; None for the device's default.
        copies: Number of times that a forward pass contains each row.

    Yields:
        Row numbers (S,).
    """
    lengths = trace.inputs.attention_mask.sum(1)[texts]
    lengths, order = lengths.sort(descending=True, stable=True)
    budget = budget_for(texts.device, token_budget)
    for start, end in pack((lengths * copies).tolist(), budget):
        yield order[start:end]


def _forward(model: PreTrainedModel, module: nn.Module, inputs: Inputs, state: Tensor) -> Tensor:
    with replaced(module, state):
        return logits_of(model, inputs.arguments(model))


@exclusive
def replaced(module: nn.Module, state: Tensor) -> Iterator[None]:
    """Replace the output of a module by ``state`` (B, T, D), in the precision of the output.

    If a model pads its texts to more than T tokens, the outputs for the padding are unchanged.
    """

    def replace(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        padding = output[:, state.shape[1] :]
        states = state.to(output.dtype)
        return torch.cat([states, padding], 1) if padding.shape[1] else states

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _explained_logits(logits: Tensor, trace: Trace, texts: Tensor) -> Tensor:
    return logits.gather(1, trace.target[texts, None])[:, 0]
