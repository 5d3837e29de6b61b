"""Running a model again from other embeddings, with gradients or without.

Rows of equal length go together and no forward exceeds a number of tokens, so that many points of
many texts cost few forwards. The model is left as it was: no dropout, no gradient of a parameter.
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

_Named = Literal["mask", "pad", "zero"]
Baseline = _Named | int
"""What stands for a word's absence: the word embedding of [MASK], of [PAD], or of the token with an
id, or zeros."""

States = Callable[[Tensor, int], Tensor]
"""From row numbers (S,) and a width t, the states (S, t, D) that these rows run from."""


def word_embedding(model: PreTrainedModel, method: str) -> nn.Module:
    """The module that looks word embeddings up (before positions, segments and LayerNorm).

    Raises:
        UnsupportedArchitecture: If the model does not name it.
    """
    try:
        module = model.get_input_embeddings()
    except NotImplementedError:
        module = None
    if not isinstance(module, nn.Module):
        raise UnsupportedArchitecture(method, model, "models with word embeddings")
    return module


def check_baseline(baseline: Baseline) -> None:
    """Raise `InputError` for a baseline that does not exist."""
    number = isinstance(baseline, int) and not isinstance(baseline, bool) and baseline >= 0
    if not number and baseline not in get_args(_Named):
        named = ", ".join(get_args(_Named))
        raise InputError(f"baseline {baseline!r}: expected {named}, or the id of a token")


def check_token(number: int, table: nn.Module) -> None:
    """Raise `InputError` for the id of a token that a table of word embeddings does not have."""
    size = getattr(table, "num_embeddings", number + 1)
    if number >= size:
        raise InputError(f"baseline {number}: expected the id of a token, from 0 to {size - 1}")


def word_path(trace: Trace, baseline: Baseline, method: str) -> tuple[Tensor, Tensor]:
    """Word embeddings of the texts, and of the baseline; call it inside of `rerunning`.

    Returns:
        Word embeddings (B, T, D), and the same with those of all ranked tokens (``units`` >= 0)
        replaced; special tokens and padding stay. Both in the model's precision.

    Raises:
        InputError: If the baseline is [MASK] and its id is not known, or the model has no such id.
    """
    inputs = trace.inputs
    table = word_embedding(trace.model, method)
    words = table(inputs.input_ids)
    if baseline == "zero":
        away = torch.zeros_like(words)
    else:
        away = table(torch.full_like(inputs.input_ids, _written(baseline, inputs, table)))
    return words, torch.where((inputs.units >= 0)[..., None], away, words)


def _written(baseline: Baseline, inputs: Inputs, table: nn.Module) -> int:
    """The id of the token that stands for a word's absence."""
    named = {"mask": inputs.mask_token_id, "pad": inputs.pad_token_id}
    written = named[baseline] if isinstance(baseline, str) else baseline
    if written is None:
        raise InputError(
            "baseline 'mask' takes the embedding of the mask token, but its id is not known: make "
            "the Inputs with a tokenizer that has one, or use baseline 'pad' or 'zero'."
        )
    check_token(written, table)
    return written


def summed_gradient(
    trace: Trace,
    module: nn.Module,
    texts: Tensor,
    weights: Tensor,
    states: States,
    token_budget: int | None = None,
) -> Tensor:
    """Σ over the rows of a text of weight · ∂y_c/∂state, y_c the logit of the explained class.

    Call it inside of `rerunning`.

    Args:
        trace: The texts, the model and the explained classes.
        module: Where the states enter: its output is replaced.
        texts: The text that each row is a version of (R,).
        weights: The weight of each row (R,).
        states: Gives the states of some rows.
        token_budget: Largest number of tokens of one forward; None for what is fast.

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
        (gradient,) = torch.autograd.grad(_chosen(logits, trace, texts[rows]).sum(), state)
        weighted = wide(gradient) * weights[rows, None, None]
        if not total.dim():
            total = weighted.new_zeros(*trace.inputs.input_ids.shape, state.shape[-1])
        total[:, :width].index_add_(0, texts[rows], weighted)
    return total


def logits_from(
    trace: Trace, module: nn.Module, texts: Tensor, states: States, token_budget: int | None
) -> Tensor:
    """y_c of every row (R,), float32 or wider, without gradients; see `summed_gradient`."""
    answers = torch.zeros(len(texts), dtype=wide(trace.logits).dtype, device=texts.device)
    with torch.no_grad():
        for rows in batches(trace, texts, token_budget):
            part = trace.inputs.rows(texts[rows])
            state = states(rows, part.input_ids.shape[1])
            logits = _forward(trace.model, module, part, state)
            answers[rows] = wide(_chosen(logits, trace, texts[rows]))
    return answers


@exclusive
def rerunning(model: PreTrainedModel) -> Iterator[None]:
    """Gradients that lead to activations alone, without dropout and without autocast."""
    autocast = torch.autocast(model.device.type, enabled=False)
    with gradients(), evaluating(model), frozen(model), first_token_alone(model), autocast:
        yield


def batches(
    trace: Trace, texts: Tensor, token_budget: int | None, copies: int = 1
) -> Iterator[Tensor]:
    """Cut rows into batches, longest first.

    Args:
        trace: The texts.
        texts: The text that each row is a version of (R,).
        token_budget: Largest number of tokens of one forward; None for what is fast.
        copies: How often each row is in the forward.

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
    """Let a module answer ``state`` (B, T, D) whatever it is given, in its own precision.

    Where a model pads its texts to more than T tokens, the padding's answers stay.
    """

    def answer(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        padding = output[:, state.shape[1] :]
        states = state.to(output.dtype)
        return torch.cat([states, padding], 1) if padding.shape[1] else states

    handle = module.register_forward_hook(answer)
    try:
        yield
    finally:
        handle.remove()


def _chosen(logits: Tensor, trace: Trace, texts: Tensor) -> Tensor:
    return logits.gather(1, trace.target[texts, None])[:, 0]
