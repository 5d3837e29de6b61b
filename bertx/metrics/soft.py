"""Soft comprehensiveness and sufficiency: words fade by their importance instead of going."""

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
    """Scores as probabilities: 0 for a text's lowest unit, 1 for its highest.

    Args:
        inputs: B texts.
        scores: Token scores (B, T), finite; a unit's score is their sum.
        mean: What the mean over a text's ranked tokens shall be. The numbers are shrunk towards 0
            if it is larger, towards 1 if it is smaller. None to leave it as it is.

    Returns:
        (B, T) in [0, 1], the same for all tokens of a unit. ½ where all units have equal scores,
        or ``mean``; 0 for tokens of no unit.

    Examples:
        >>> inputs = Inputs(torch.ones(1, 3).long(), torch.ones(1, 3), torch.tensor([[0, 1, 2]]))
        >>> importances(inputs, torch.tensor([[-2.0, 1.0, 4.0]]), mean=None).tolist()
        [[0.0, 0.5, 1.0]]
        >>> importances(inputs, torch.tensor([[-2.0, 1.0, 4.0]]), mean=0.25).tolist()
        [[0.0, 0.25, 0.5]]
    """
    ranked = inputs.units >= 0
    units = merge_by_unit(scores.to(PRECISION), inputs.units)
    tokens = units.gather(1, inputs.units.clamp(min=0))  # those of no unit repeat the first one
    lowest = tokens.amin(1, keepdim=True)
    spread = tokens.amax(1, keepdim=True) - lowest
    share = torch.where(spread > 0, (tokens - lowest) / spread, 0.5).masked_fill(~ranked, 0)
    if mean is None:
        return share
    now = share.sum(1, keepdim=True) / ranked.sum(1, keepdim=True)
    raised = 1 - (1 - share) * (1 - mean) / (1 - now)
    return torch.where(now > mean, share * mean / now, raised).masked_fill(~ranked, 0)


class SoftMetric(FaithfulnessMetric):
    """A metric of texts of whose word embeddings each element stays or goes at random.

    Args:
        samples: Draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null for what the
            scores give.
        seed: Another seed is another draw.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be.
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
        """What p_c loses when each element of a token's embedding stays with probability ``kept``.

        Returns:
            The loss, not below 0, and its share of what p_c loses without words, in [0, 1] (B, 2).
        """
        ranked = trace.inputs.units >= 0
        whole = torch.ones_like(kept)
        draws = [kept.where(ranked, whole)] * self.samples
        chances = torch.stack([whole, whole.masked_fill(ranked, 0), *draws], 1)
        p = _probabilities(trace, chances, self.seed, self.token_budget).to(PRECISION)
        lost, most = p[:, :1] - p[:, 2:], p[:, :1] - p[:, 1:2]
        share = (lost / most).clamp(0, 1).masked_fill(most <= 0, torch.nan)
        losses = torch.stack([lost.clamp(min=0), share], 2).mean(1)
        return losses.masked_fill(~ranked.any(1, keepdim=True), torch.nan)


class SoftComprehensiveness(SoftMetric):
    """What the class loses when every word fades by its importance: Soft-NC.

    An element of the word embedding (before positions and LayerNorm) of token i is zeroed with
    probability a_i and stays with 1 - a_i, independently of all others; special tokens and padding
    stay whole. With x' a draw, x0 the text with all of its words zeroed, and p of the explained
    class: Soft-C = max(0, p(x) - p(x')), and Soft-NC = Soft-C / (p(x) - p(x0)), at most 1; both
    are means over the draws. A text that has p(x) <= p(x0) has no Soft-NC.

    a is a text's unit scores on a scale from 0 (its lowest) to 1 (its highest), so that what speaks
    against the class of a signed method fades least; see `importances`. The paper takes it as
    it is (``mean`` null), which rewards explanations for large scores on all words: they fade
    more. By default a is therefore shrunk until its mean over a text's tokens is ½ for every
    explanation, and all of them zero the same share.

    In [0, 1]; higher is better. All explanations of a text get the same random numbers, whatever
    its company. Cost: ``samples`` + 2 forwards for each explanation.

    Args:
        samples: Draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null for what the
            scores give.
        seed: Another seed is another draw.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be.

    References:
        Incorporating Attribution Importance for Improving Faithfulness Metrics (Zhao & Aletras,
        2023), https://arxiv.org/abs/2305.10496, Eq. 5. Faithfulness Evaluation for Decoder-only
        LLM Attributions with Controlled Retained Information (Huang & Chan, 2026),
        https://arxiv.org/abs/2601.03089, on the mean.
    """

    state = "soft_comprehensiveness_sums"
    names = ("Soft-C", "Soft-NC")

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """Soft-C and Soft-NC (B, 2)."""
        trace = ranking.trace
        return self._losses(trace, 1 - importances(trace.inputs, ranking.scores, self.mean))


class SoftSufficiency(SoftMetric):
    """What the class keeps when every word stays by its importance: Soft-NS.

    As `SoftComprehensiveness`, but an element stays with probability a_i and is zeroed with
    1 - a_i. Soft-S = 1 - max(0, p(x) - p(x')), and Soft-NS = (Soft-S - S0) / (1 - S0), at least 0,
    with S0 = 1 - (p(x) - p(x0)) what is left without words; a text that has p(x) <= p(x0) has no
    Soft-NS. In [0, 1]; higher is better.

    Args:
        samples: Draws for each text.
        mean: Mean importance of a text's tokens, the same for all explanations; null for what the
            scores give.
        seed: Another seed is another draw.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be.

    References:
        Incorporating Attribution Importance for Improving Faithfulness Metrics (Zhao & Aletras,
        2023), https://arxiv.org/abs/2305.10496, Eq. 4.
    """

    state = "soft_sufficiency_sums"
    names = ("Soft-S", "Soft-NS")

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """Soft-S and Soft-NS (B, 2)."""
        trace = ranking.trace
        return 1 - self._losses(trace, importances(trace.inputs, ranking.scores, self.mean))


def _probabilities(trace: Trace, chances: Tensor, seed: int, token_budget: int | None) -> Tensor:
    """p_c of N versions of each text (B, N), given the chances of its tokens (B, N, T)."""
    inputs, (count, versions) = trace.inputs, chances.shape[:2]
    texts = torch.arange(count, device=chances.device).repeat_interleave(versions)
    answers = torch.zeros(len(texts), dtype=PRECISION, device=chances.device)
    with rerunning(trace.model), torch.no_grad():
        table = word_embedding(trace.model, SoftMetric.__name__)
        words = table(inputs.input_ids)

        def faded(row: int, width: int) -> Tensor:
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
            with replaced(table, torch.stack([faded(row, width) for row in rows.tolist()])):
                logits = logits_of(trace.model, part.arguments(trace.model))
            p = wide(logits).softmax(-1).gather(1, trace.target[texts[rows], None])
            answers[rows] = p[:, 0].to(PRECISION)
    return answers.view(count, versions)
