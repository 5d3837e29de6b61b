"""Methods that follow the logit from a text without words to the text."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertx.attribution.base import Attribution
from bertx.errors import InputError, check_positive
from bertx.models.anatomy import check_differentiable
from bertx.perturb.embeddings import (
    Baseline,
    check_baseline,
    check_token,
    logits_from,
    rerunning,
    summed_gradient,
    word_embedding,
    word_path,
)
from bertx.trace import Trace
from bertx.trace.rules import wide


class PathIntegral(NamedTuple):
    """What a path integral gave.

    Attributes:
        scores: Token scores (B, T), in logits.
        gap: Completeness gap |Σ_t scores - (y_c(x) - y_c(x'))| in logits (B,): the error of the
            quadrature.
        steps: Points of each text's path (B,).
    """

    scores: Tensor
    gap: Tensor
    steps: Tensor


class IntegratedGradients(Attribution):
    """Gradient integrated along the straight path from a text without words.

    Σ_D (w - w') ⊙ ∫₀¹ ∂y_c/∂w at w' + α (w - w') dα, with w the word embeddings before positions
    and LayerNorm, and w' the same with those of all ranked tokens replaced by the baseline; the
    integral by Gauss-Legendre quadrature. In logits, signed; exactly 0 at special tokens, which
    stay. The scores add up to y_c(x) - y_c(x') but for the gap of the quadrature, which
    `attribute` gives. The model runs in its own precision, without autocast. Cost: ``steps``
    forwards and backwards, with a tolerance up to twice those of the last doubling.

    Args:
        baseline: What stands for a word's absence: the embedding of ``mask``, of ``pad``, of the
            token with this id, or ``zero``.
        steps: Points n of the quadrature.
        tolerance: Largest completeness gap, in logits and absolute; texts above it (and only
            those) run again with 2n, 4n, ... points. None to leave every text at n.
        max_steps: No text gets more points than that, whatever its gap.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be; in `check` and when called, if the model has no
            token of that id; when called, if the baseline is [MASK] and the texts do not know its
            id.

    References:
        Axiomatic Attribution for Deep Networks (Sundararajan et al., 2017), arXiv 1703.01365,
        Eq. 1.
    """

    signed = True

    def __init__(
        self,
        baseline: Baseline = "mask",
        steps: int = 20,
        tolerance: float | None = None,
        max_steps: int = 320,
        token_budget: int | None = None,
    ) -> None:
        check_baseline(baseline)
        check_positive(steps=steps, token_budget=token_budget)
        if tolerance is not None and not tolerance > 0:
            raise InputError(f"tolerance must be positive or null, got {tolerance}")
        if tolerance is not None and max_steps < steps:
            raise InputError(f"max_steps must be at least steps ({steps}), got {max_steps}")
        self.baseline = baseline
        self.steps = steps
        self.tolerance = tolerance
        self.max_steps = max_steps
        self.token_budget = token_budget

    def check(self, model: PreTrainedModel) -> None:
        """Refuse models without gradients, word embeddings, or the token of the baseline.

        Raises:
            UnsupportedArchitecture: If the model has no gradients or word embeddings.
            InputError: If it has no such token.
        """
        super().check(model)
        check_differentiable(model, type(self).__name__)
        table = word_embedding(model, type(self).__name__)
        if isinstance(self.baseline, int):
            check_token(self.baseline, table)

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), signed, in logits."""
        if self.tolerance is not None:
            return self.attribute(trace).scores
        with rerunning(trace.model):
            words, start = word_path(trace, self.baseline, type(self).__name__)
            everything = torch.arange(len(words), device=words.device)
            return self._integrate(trace, words, start, everything, self.steps)

    def attribute(self, trace: Trace) -> PathIntegral:
        """The scores, with the gap that is left and the points that were spent."""
        with rerunning(trace.model):
            return self._refine(trace)

    def _refine(self, trace: Trace) -> PathIntegral:
        words, start = word_path(trace, self.baseline, type(self).__name__)
        again = torch.arange(len(words), device=words.device)
        rise = self._rise(trace, words, start)
        scores = torch.zeros_like(wide(words[..., 0]))
        steps = torch.zeros_like(again)
        gap = rise
        points = self.steps
        while len(again):
            scores[again] = self._integrate(trace, words, start, again, points)[again]
            steps[again] = points
            gap = (scores.sum(1) - rise).abs()
            points *= 2
            if self.tolerance is None or points > self.max_steps:
                break
            again = (gap > self.tolerance).nonzero()[:, 0]
        return PathIntegral(scores, gap, steps)

    def _integrate(
        self, trace: Trace, words: Tensor, start: Tensor, chosen: Tensor, points: int
    ) -> Tensor:
        """Scores (B, T) of the texts that are ``chosen``, 0 for others."""
        module = word_embedding(trace.model, type(self).__name__)
        start, change = wide(start), wide(words) - wide(start)
        places, weights = gauss_legendre(points)
        texts = chosen.repeat_interleave(points)
        alpha = torch.tensor(places).to(change).repeat(len(chosen))
        weight = torch.tensor(weights).to(change).repeat(len(chosen))

        def states(rows: Tensor, width: int) -> Tensor:
            which = texts[rows]
            return start[which, :width] + alpha[rows, None, None] * change[which, :width]

        slope = summed_gradient(trace, module, texts, weight, states, self.token_budget)
        return (change * slope).sum(-1)

    def _rise(self, trace: Trace, words: Tensor, start: Tensor) -> Tensor:
        """y_c(x) - y_c(x') (B,)."""
        module = word_embedding(trace.model, type(self).__name__)
        ends = torch.cat([words, start])
        texts = torch.arange(len(words), device=words.device).repeat(2)
        logits = logits_from(
            trace, module, texts, lambda rows, width: ends[rows, :width], self.token_budget
        )
        return logits[: len(words)] - logits[len(words) :]


def gauss_legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of the quadrature on [0, 1], exact for polynomials of degree 2n - 1.

    Examples:
        >>> places, weights = gauss_legendre(3)
        >>> round(float((weights * places**5).sum() * 6), 12)
        1.0
    """
    places, weights = np.polynomial.legendre.leggauss(points)
    return (places + 1) / 2, weights / 2
