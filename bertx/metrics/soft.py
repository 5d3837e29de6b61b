"""Soft comprehensiveness and sufficiency: word embeddings are partly zeroed by importance."""

from typing import ClassVar

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.estimates import PRECISION
from bertx.models.classifier import logits_of
from bertx.models.inputs import Inputs, merge_by_unit, text_seed
from bertx.perturb.embeddings import batches, replaced, rerunning, word_embedding
from bertx.trace import Trace
from bertx.trace.rules import wide


def importances(inputs: Inputs, scores: Tensor, mean: float | None = 0.5) -> Tensor:
    """Scale scores to probabilities: 0 for the lowest unit of a text, 1 for the highest.

    Args:
        inputs: B texts.
        scores: Token scores (B, T), finite. The score of a unit is the sum over its tokens.
        mean: Desired mean over a text's ranked tokens. If the mean is larger, the probabilities are
            shrunk towards 0; if it is smaller, towards 1. None to keep the mean.

    Returns:
        (B, T) in [0, 1], equal for all tokens of a unit; 0 for special tokens and padding. Where
        all units have equal scores: ``mean``, or ½ if that is None.

    Examples:
        >>> inputs = Inputs(torch.ones(1, 3).long(), torch.ones(1, 3), torch.tensor([[0, 1, 2]]))
        >>> importances(inputs, torch.tensor([[-2.0, 1.0, 4.0]]), mean=None).tolist()
        [[0.0, 0.5, 1.0]]
        >>> importances(inputs, torch.tensor([[-2.0, 1.0, 4.0]]), mean=0.25).tolist()
        [[0.0, 0.25, 0.5]]
    """
    ranked = inputs.units >= 0
    units = merge_by_unit(scores.to(PRECISION), inputs.units)
    # Special tokens and padding get the score of the first unit, which leaves the range unchanged.
    tokens = units.gather(1, inputs.units.clamp(min=0))
    lowest = tokens.amin(1, keepdim=True)
    spread = tokens.amax(1, keepdim=True) - lowest
    share = torch.where(spread > 0, (tokens - lowest) / spread, 0.5).masked_fill(~ranked, 0)
    if mean is None:
        return share
    present = share.sum(1, keepdim=True) / ranked.sum(1, keepdim=True)
    raised = 1 - (1 - share) * (1 - mean) / (1 - present)
    return torch.where(present > mean, share * mean / present, raised).masked_fill(~ranked, 0)


class SoftMetric(FaithfulnessMetric):
    """Base class of metrics that zero elements of word embeddings at random.

    Args:
        samples: Number of draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null to use the
            scores as they are.
        seed: Seed of the draws.
        token_budget: Largest number of tokens in one forward pass; None for the device's default.

    Raises:
        InputError: If ``samples`` or ``token_budget`` is less than 1, or ``mean`` is not between 0
            and 1.
    """

    higher_is_better = True
    names: ClassVar[tuple[str, str]]

    def __init__(
        self,
        samples: int = 10,
        mean: float | None = 0.5,
        seed: int = 0,
        token_budget: int | None = None,
    ) -> None:
        check_positive(samples=samples, token_budget=token_budget)
        if mean is not None and not 0 < mean < 1:
            raise InputError(f"mean must be between 0 and 1, or null, got {mean}")
        super().__init__(self.names)
        self.samples = samples
        self.mean = mean
        self.seed = seed
        self.token_budget = token_budget

    def _losses(self, trace: Trace, kept: Tensor) -> Tensor:
        """Compute the drop of p_c when elements are kept with their token's probability (B, T).

        Returns:
            The drop, clamped to at least 0, and the drop relative to p(x) - p(x0), the drop without
            any word, clamped to [0, 1] (B, 2). NaN for texts without units.
        """
        ranked = trace.inputs.units >= 0
        whole = torch.ones_like(kept)
        draws = [kept.where(ranked, whole)] * self.samples
        keep = torch.stack([whole, whole.masked_fill(ranked, 0), *draws], 1)
        p = _probabilities(trace, keep, self.seed, self.token_budget).to(PRECISION)
        drop, largest = p[:, :1] - p[:, 2:], p[:, :1] - p[:, 1:2]
        share = (drop / largest).clamp(0, 1).masked_fill(largest <= 0, torch.nan)
        losses = torch.stack([drop.clamp(min=0), share], 2).mean(1)
        return losses.masked_fill(~ranked.any(1, keepdim=True), torch.nan)


class SoftComprehensiveness(SoftMetric):
    """Normalized drop of the probability if important words are zeroed more: Soft-NC.

    Each element of the word embedding (before positions and LayerNorm) of token i is zeroed with
    probability a_i, its importance, independently of all others. Special tokens and padding are
    unchanged. With x' a draw, x0 the text with all of its word embeddings zeroed and p the
    probability of the explained class, Soft-C = max(0, p(x) - p(x')) and
    Soft-NC = Soft-C / (p(x) - p(x0)), at most 1. Both are means over draws. A text with
    p(x) <= p(x0) has no Soft-NC.

    a is a text's unit scores, scaled to 0 for the lowest and 1 for the highest unit, so that words
    with negative scores are zeroed least; see `importances`. The paper uses this scale as it is
    (``mean`` null), which rewards explanations with high scores on all words, because they zero
    more. By default a is therefore shifted to a mean of ½ over a text's tokens, so that all
    explanations zero the same share.

    In [0, 1]; higher is better. All explanations of a text are measured with the same random
    numbers, in any batch. Cost: ``samples`` + 2 forward passes for each explanation.

    Args:
        samples: Number of draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null to use the
            scores as they are.
        seed: Seed of the draws.
        token_budget: Largest number of tokens in one forward pass; None for the device's default.

    Raises:
        InputError: If ``samples`` or ``token_budget`` is less than 1, or ``mean`` is not between 0
            and 1.

    References:
        Incorporating Attribution Importance for Improving Faithfulness Metrics (Zhao & Aletras,
        2023), https://arxiv.org/abs/2305.10496, Eq. 5. On the mean: Faithfulness Evaluation for
        Decoder-only LLM Attributions with Controlled Retained Information (Huang & Chan, 2026),
        https://arxiv.org/abs/2601.03089.
    """

    names = ("Soft-C", "Soft-NC")

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute Soft-C and Soft-NC (B, 2)."""
        trace = ranking.trace
        return self._losses(trace, 1 - importances(trace.inputs, ranking.scores, self.mean))


class SoftSufficiency(SoftMetric):
    """Normalized probability that remains if important words are kept more: Soft-NS.

    As `SoftComprehensiveness`, but each element of token i is kept with probability a_i and zeroed
    with 1 - a_i. Soft-S = 1 - max(0, p(x) - p(x')), and Soft-NS = (Soft-S - S0) / (1 - S0), at
    least 0, where S0 = 1 - (p(x) - p(x0)) is the Soft-S without any word. A text with
    p(x) <= p(x0) has no Soft-NS. In [0, 1]; higher is better.

    Args:
        samples: Number of draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null to use the
            scores as they are.
        seed: Seed of the draws.
        token_budget: Largest number of tokens in one forward pass; None for the device's default.

    Raises:
        InputError: If ``samples`` or ``token_budget`` is less than 1, or ``mean`` is not between 0
            and 1.

    References:
        Incorporating Attribution Importance for Improving Faithfulness Metrics (Zhao & Aletras,
        2023), https://arxiv.org/abs/2305.10496, Eq. 4.
    """

    names = ("Soft-S", "Soft-NS")

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute Soft-S and Soft-NS (B, 2)."""
        trace = ranking.trace
        return 1 - self._losses(trace, importances(trace.inputs, ranking.scores, self.mean))


def _probabilities(trace: Trace, chances: Tensor, seed: int, token_budget: int | None) -> Tensor:
    """Compute p_c of N versions of each text (B, N).

    Args:
        trace: B texts.
        chances: Probability that an element of each token's embedding is kept (B, N, T).
        seed: Seed of the draws.
        token_budget: Largest number of tokens in one forward pass.
    """
    inputs, (count, versions) = trace.inputs, chances.shape[:2]
    texts = torch.arange(count, device=chances.device).repeat_interleave(versions)
    probabilities = torch.zeros(len(texts), dtype=PRECISION, device=chances.device)
    with rerunning(trace.model), torch.no_grad():
        table = word_embedding(trace.model, SoftMetric.__name__)
        words = table(inputs.input_ids)

        def draw(row: int, width: int) -> Tensor:
            text, version = divmod(row, versions)
            ids = inputs.input_ids[text, inputs.attention_mask[text].bool()]
            generator = torch.Generator().manual_seed(text_seed(ids, seed, version))
            numbers = torch.rand(len(ids), words.shape[2], generator=generator, dtype=torch.float32)
            state = words[text, :width].clone()
            state[: len(ids)] *= numbers.to(state.device) < chances[text, version, : len(ids), None]
            return state

        for rows in batches(trace, texts, token_budget):
            part = inputs.rows(texts[rows])
            width = part.input_ids.shape[1]
            with replaced(table, torch.stack([draw(row, width) for row in rows.tolist()])):
                logits = logits_of(trace.model, part.arguments(trace.model))
            p = wide(logits).softmax(-1).gather(1, trace.target[texts[rows], None])
            probabilities[rows] = p[:, 0].to(PRECISION)
    return probabilities.view(count, versions)
