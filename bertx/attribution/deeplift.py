"""Differences from a reference, handed back through the layers."""

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.errors import check_positive
from bertx.models.activations import ActivationMode, Elementwise, watching
from bertx.models.anatomy import check_activations_seen, check_differentiable
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs
from bertx.perturb.embeddings import (
    Baseline,
    batches,
    check_baseline,
    check_token,
    replaced,
    rerunning,
    word_embedding,
    word_path,
)
from bertx.trace import Trace
from bertx.trace.rules import wide


class DeepLift(Attribution):
    """DeepLIFT with the rescale rule, from the word embeddings, through captum.

    Σ_D (w - w') ⊙ m, with w the word embeddings before positions and LayerNorm, w' the baseline's
    and m the multipliers: the gradient ∂y_c/∂w of a network in which every elementwise activation
    (tanh, GELU and its approximations, ReLU, SiLU, ...) has the slope Δout/Δin between text and
    baseline. Products, softmax and LayerNorm keep their gradient at the text, as captum does: with
    them the scores do **not** add up to y_c(x) - y_c(x'); they do in a network that has none. On
    109 sentences of SST-2 and a fine-tuned encoder of 6 layers, almost nothing of this difference
    arrives: a least-squares 8 % of it, and the sums miss it by 93 % of its mean size.

    captum puts its rule on modules, each used once. So that a function (the tanh in RoBERTa's
    head) and a module that is used again (all of ALBERT) are rescaled too, every call of an
    activation is given a module of its own. In logits, signed; exactly 0 at special tokens, which
    stay. The model runs in its own precision, without autocast. Cost: two forwards, one backward.

    Args:
        baseline: What stands for a word's absence: the embedding of ``mask``, of ``pad``, of the
            token with this id, or ``zero``.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be; in `check` and when called, if the model has no
            token of that id; when called, if the baseline is [MASK] and the texts do not know its
            id.

    References:
        Learning Important Features Through Propagating Activation Differences (Shrikumar et al.,
        2017), arXiv 1704.02685, Section 3.5.1; in gradient form: Towards Better Understanding of
        Gradient-Based Attribution Methods (Ancona et al., 2018), arXiv 1711.06104.
    """

    signed = True

    def __init__(self, baseline: Baseline = "mask", token_budget: int | None = None) -> None:
        check_baseline(baseline)
        check_positive(token_budget=token_budget)
        self.baseline = baseline
        self.token_budget = token_budget

    def check(self, model: PreTrainedModel) -> None:
        """Refuse models without gradients, word embeddings, or activations that can be seen.

        Raises:
            UnsupportedArchitecture: If the model is one of these.
            InputError: If it has no token of the baseline's id.
        """
        super().check(model)
        check_differentiable(model, type(self).__name__)
        table = word_embedding(model, type(self).__name__)
        if isinstance(self.baseline, int):
            check_token(self.baseline, table)
        check_activations_seen(model, type(self).__name__)

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), signed, in logits."""
        from captum.attr import DeepLift as Rescale  # a heavy package

        with rerunning(trace.model), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
            words, start = word_path(trace, self.baseline, type(self).__name__)
            table = word_embedding(trace.model, type(self).__name__)
            scores = torch.zeros_like(wide(words[..., 0]))
            texts = torch.arange(len(words), device=words.device)
            # Below this Δin, rounding spoils Δout/Δin more than the gradient differs from it.
            small = torch.finfo(words.dtype).eps ** 0.5
            calls = _count(trace.model, trace.inputs.rows(texts[:1]))
            for rows in batches(trace, texts, self.token_budget, copies=2):
                part = trace.inputs.rows(rows)
                width = part.input_ids.shape[1]
                whole = _Rescaled(trace.model, table, part, calls)
                x, reference = words[rows, :width].requires_grad_(), start[rows, :width]
                multiplied = Rescale(whole, eps=small).attribute(x, reference, trace.target[rows])
                scores[rows, :width] = wide(multiplied).sum(-1)
        return scores


class _Rescaled(nn.Module):
    """The classifier as captum sees it: word embeddings in, logits out, activations as modules."""

    def __init__(
        self, model: PreTrainedModel, table: nn.Module, inputs: Inputs, calls: int
    ) -> None:
        super().__init__()
        self.slots = nn.ModuleList(nn.Tanh() for _ in range(calls))
        self.run = partial(_run, model, table, inputs)  # no part, or captum would hook the model

    def forward(self, words: Tensor) -> Tensor:
        """Logits (2S, C) of word embeddings (2S, t, D): texts, then baselines."""
        free = iter(self.slots)

        def call(function: Elementwise, x: Tensor) -> Tensor:
            slot = next(free)  # by its type, captum has the rescale rule for it
            vars(slot)["forward"] = function
            return slot(x)

        return self.run(words, call)


def _run(
    model: PreTrainedModel,
    table: nn.Module,
    inputs: Inputs,
    words: Tensor,
    call: Callable[[Elementwise, Tensor], Tensor],
) -> Tensor:
    twice = inputs.rows(torch.arange(len(inputs)).repeat(len(words) // len(inputs)))
    with watching(model, _Caller(call)), replaced(table, words):
        return logits_of(model, twice.arguments(model))


def _count(model: PreTrainedModel, inputs: Inputs) -> int:
    """Calls of activations in a forward."""
    seen = []

    def call(function: Elementwise, x: Tensor) -> Tensor:
        seen.append(function)
        return function(x)

    with torch.no_grad(), watching(model, _Caller(call)):
        model(**inputs.arguments(model))
    return len(seen)


class _Caller(ActivationMode):
    """Lets ``call(function, x)`` answer for every activation."""

    def __init__(self, call: Callable[[Elementwise, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """What ``call`` makes of it; the output that is there already knows no rule."""
        return self.call(function, x)
