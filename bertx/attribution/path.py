"""Gradients integrated along a path from a baseline to the text."""

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
    """Scores of `IntegratedGradients` with their error.

    Attributes:
        scores: Token scores (B, T), in logits.
        gap: Completeness gap |Σ_t scores - (y_c(x) - y_c(x'))| of each text in logits (B,), the
            error of the quadrature.
        steps: Number of points on each text's path (B,).
    """

    scores: Tensor
    gap: Tensor
    steps: Tensor


class IntegratedGradients(Attribution):
    """Integrated gradients: the gradient integrated along a straight path from a baseline.

    Σ_D (w - w') ⊙ ∫₀¹ ∂y_c/∂w at w' + α (w - w') dα, with w the word embeddings before positions
    and LayerNorm, and w' the same with every ranked token's embedding replaced by the baseline. The
    integral is computed by Gauss-Legendre quadrature. The model runs in its own precision, without
    autocast.

    Range: signed, in logits, exactly 0 at special tokens, which are not replaced. The scores add up
    to y_c(x) - y_c(x') up to the error of the quadrature, which `attribute` returns.
    Cost: ``steps`` forwards and backwards; with a tolerance, less than twice the points of a text's
    last path.
    Refuses: models without gradients or word embeddings.

    Args:
        baseline: Embedding that stands for an absent word: of ``mask``, of ``pad``, of the token
            with this id, or ``zero``.
        steps: Number n of points of the quadrature.
        tolerance: Largest completeness gap, in logits. Texts above it, and only they, run again
            with 2n, 4n, ... points; None for n points for every text.
        max_steps: Largest number of points, whatever the gap.
        token_budget: Largest number of tokens in one forward; None for the fastest on the device.

    Raises:
        InputError: If a setting is not valid; in `check` and when called, if the model has no token
            with the baseline's id; when called, if the baseline is [MASK] and the inputs have no id
            of it.

    Examples:
        Points until every text's scores add up to within 0.01 logits, where 320 points suffice::

            scores, gap, steps = IntegratedGradients(tolerance=0.01).attribute(trace)

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
        """Refuse a model without gradients, word embeddings or the token of the baseline.

        Raises:
            UnsupportedArchitecture: If the model has no gradients or word embeddings.
            InputError: If the model has no token with the baseline's id.
        """
        super().check(model)
        check_differentiable(model, type(self).__name__)
        table = word_embedding(model, type(self).__name__)
        if isinstance(self.baseline, int):
            check_token(self.baseline, table)

    def scores(self, trace: Trace) -> Tensor:
        """Compute the scores (B, T)."""
        if self.tolerance is not None:
            return self.attribute(trace).scores
        with rerunning(trace.model):
            words, start = word_path(trace, self.baseline, type(self).__name__)
            everything = torch.arange(len(words), device=words.device)
            return self._integrate(trace, words, start, everything, self.steps)

    def attribute(self, trace: Trace) -> PathIntegral:
        """Compute the scores with their completeness gaps and numbers of points."""
        with rerunning(trace.model):
            words, start = word_path(trace, self.baseline, type(self).__name__)
            rise = self._rise(trace, words, start)
            scores = torch.zeros_like(wide(words[..., 0]))
            again = torch.arange(len(words), device=words.device)
            steps, gap, points = torch.zeros_like(again), rise, self.steps
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
        """Return the scores (B, T) of the texts numbered ``chosen``, 0 for the others."""
        module = word_embedding(trace.model, type(self).__name__)
        start, change = wide(start), wide(words) - wide(start)
        positions, weights = gauss_legendre(points)
        texts = chosen.repeat_interleave(points)
        alpha = torch.tensor(positions).to(change).repeat(len(chosen))
        weight = torch.tensor(weights).to(change).repeat(len(chosen))

        def states(rows: Tensor, width: int) -> Tensor:
            text = texts[rows]
            return start[text, :width] + alpha[rows, None, None] * change[text, :width]

        slope = summed_gradient(trace, module, texts, weight, states, self.token_budget)
        return (change * slope).sum(-1)

    def _rise(self, trace: Trace, words: Tensor, start: Tensor) -> Tensor:
        """Return y_c(x) - y_c(x') (B,)."""
        module = word_embedding(trace.model, type(self).__name__)
        ends = torch.cat([words, start])
        texts = torch.arange(len(words), device=words.device).repeat(2)
        logits = logits_from(
            trace, module, texts, lambda rows, width: ends[rows, :width], self.token_budget
        )
        return logits[: len(words)] - logits[len(words) :]


def gauss_legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of the quadrature on [0, 1].

    With n points it is exact for polynomials of degree 2n - 1.

    Examples:
        >>> positions, weights = gauss_legendre(3)
        >>> round(float((weights * positions**5).sum() * 6), 12)
        1.0
    """
    positions, weights = np.polynomial.legendre.leggauss(points)
    return (positions + 1) / 2, weights / 2
