"""DeepLIFT through captum, for models whose activations are not all modules."""

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
    """DeepLIFT with the rescale rule, at the word embeddings, through captum.

    Σ_D (w - w') ⊙ m, with w the word embeddings before positions and LayerNorm, w' the same with
    every ranked token's embedding replaced by the baseline, and m the multipliers: the gradient
    ∂y_c/∂w of a network in which every elementwise activation (tanh, GELU and its approximations,
    ReLU, SiLU, ...) has the slope Δout/Δin between text and baseline. Products, softmax and
    LayerNorm keep their gradient at the text, as in captum. Functions (the tanh in RoBERTa's head)
    and modules that run more than once (all of ALBERT's) are rescaled too, which captum alone
    would not do. The model runs in its own precision, without autocast.

    Range: signed, in logits, exactly 0 at special tokens, which are not replaced. The scores add
    up to y_c(x) - y_c(x') in a network of linear maps and activations, but **not** in one with
    products, softmax or LayerNorm. On 109 sentences of SST-2 and a fine-tuned encoder of 6 layers,
    the sums were a least-squares 8 % of this difference and missed it by 93 % of its mean size.
    Cost: two forwards, one backward.
    Refuses: models without gradients or word embeddings, and models with activations that cannot
    be seen, such as those inside of an ``nn.LSTM``.

    Args:
        baseline: Embedding that stands for an absent word: of ``mask``, of ``pad``, of the token
            with this id, or ``zero``.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.

    Raises:
        InputError: If a setting is not valid; in `check` and when called, if the model has no token
            with the baseline's id; when called, if the baseline is [MASK] and the inputs have no id
            of it.

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
        """Refuse a model without gradients or word embeddings, or with unseen activations.

        Raises:
            UnsupportedArchitecture: If the method is not defined for the model.
            InputError: If the model has no token with the baseline's id.
        """
        super().check(model)
        check_differentiable(model, type(self).__name__)
        table = word_embedding(model, type(self).__name__)
        if isinstance(self.baseline, int):
            check_token(self.baseline, table)
        check_activations_seen(model, type(self).__name__)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        from captum.attr import DeepLift as Rescale  # slow to import

        with rerunning(trace.model), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
            words, start = word_path(trace, self.baseline, type(self).__name__)
            table = word_embedding(trace.model, type(self).__name__)
            scores = torch.zeros_like(wide(words[..., 0]))
            texts = torch.arange(len(words), device=words.device)
            # For a smaller Δin, Δout/Δin has a larger error by rounding than the gradient.
            small = torch.finfo(words.dtype).eps ** 0.5
            calls = _count(trace.model, trace.inputs.rows(texts[:1]))
            for rows in batches(trace, texts, self.token_budget, copies=2):
                part = trace.inputs.rows(rows)
                width = part.input_ids.shape[1]
                network = _Network(trace.model, table, part, calls)
                x, reference = words[rows, :width].requires_grad_(), start[rows, :width]
                products = Rescale(network, eps=small).attribute(x, reference, trace.target[rows])
                scores[rows, :width] = wide(products).sum(-1)
        return scores


class _Network(nn.Module):
    """The classifier as captum sees it: word embeddings in, logits out, activations as modules.

    Captum puts its rule on modules by their type, and each may run once. So every call of an
    activation gets an `nn.Tanh`, whose forward is replaced by the activation.
    """

    def __init__(
        self, model: PreTrainedModel, table: nn.Module, inputs: Inputs, calls: int
    ) -> None:
        super().__init__()
        self.activations = nn.ModuleList(nn.Tanh() for _ in range(calls))
        # In a partial the model is not a submodule, so that captum puts no hooks on it.
        self.run = partial(_run, model, table, inputs)

    def forward(self, words: Tensor) -> Tensor:
        """Return the logits (2S, C) of word embeddings (2S, t, D): texts, then baselines."""
        unused = iter(self.activations)

        def call(function: Elementwise, x: Tensor) -> Tensor:
            module = next(unused)
            vars(module)["forward"] = function
            return module(x)

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
    """Count the calls of activations in a forward."""
    calls = []

    def call(function: Elementwise, x: Tensor) -> Tensor:
        calls.append(function)
        return function(x)

    with torch.no_grad(), watching(model, _Caller(call)):
        model(**inputs.arguments(model))
    return len(calls)


class _Caller(ActivationMode):
    """Computes every activation by ``call(function, x)``."""

    def __init__(self, call: Callable[[Elementwise, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def activated(self, function: Elementwise, x: Tensor, y: Tensor) -> Tensor:
        """Compute the activation again, with captum's rule; ``y`` was computed without it."""
        return self.call(function, x)
