"""Infidelity: error of an explanation as a prediction of how the logit changes without units."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.estimates import PRECISION
from bertx.models.anatomy import embedding_block
from bertx.models.inputs import Inputs, merge_by_unit, text_seed
from bertx.perturb.embeddings import logits_from, rerunning
from bertx.perturb.packing import distinct_rows
from bertx.trace import Trace

_Settings = tuple[int, float, int]
_CACHE: WeakKeyDictionary[Trace, dict[_Settings, tuple[Tensor, Tensor]]] = WeakKeyDictionary()
"""Removed units and the resulting drops of the logit, shared by all explanations of a trace."""


def removals(inputs: Inputs, samples: int = 20, share: float = 0.1, seed: int = 0) -> Tensor:
    """Draw which units are removed. The draws depend only on a text's token ids and the seed.

    Each unit is removed with probability ``share``. If that removes none, one unit is removed at
    random.

    Args:
        inputs: B texts.
        samples: S, number of draws for each text.
        share: Probability that a unit is removed.
        seed: Seed of the draws.

    Returns:
        (B, S, U), True for removed units; False beyond the last unit of a text.
    """
    counts = inputs.unit_counts.tolist()
    removed = torch.zeros(len(counts), samples, max(*counts, 1), dtype=torch.bool)
    for text, units in enumerate(counts):
        if units:
            ids = inputs.input_ids[text, inputs.attention_mask[text].bool()]
            generator = torch.Generator().manual_seed(text_seed(ids, seed))
            chance = torch.rand(samples, units, generator=generator, dtype=torch.float32)
            least = chance.amin(1, keepdim=True)
            removed[text, :, :units] = chance <= least.clamp(min=share)
    return removed.to(inputs.units.device)


class Infidelity(FaithfulnessMetric):
    """Mean squared error of the scores of removed units as a prediction of the drop of the logit.

    1/S Σ_s (β Σ_u z_su φ_u - (y_c(e) - y_c(e - z_s e)))², with y_c the logit of the explained
    class, e the output of the embedding block, φ the unit scores and z_s a 0/1 draw from
    `removals`. The embeddings of a removed unit's tokens are set to 0. Special tokens and padding
    never change. In the paper's notation, I = z e and Φ = φ / e, captum's convention for methods
    that multiply by the input.

    The column ``unscaled`` has β = 1, which is meaningful only for scores in logits. The column
    ``infidelity``, the metric's number, uses the β that minimizes the error for each text, because
    the scores of different methods have different scales (captum's ``normalize=True``). β may be
    negative, so the error does not depend on the sign of the explanation; deletion and insertion
    curves do. A text with a single unit has no ``infidelity``: all of its draws are equal, and β
    would fit them exactly.

    In squared logits, at least 0; lower is better. All explanations of a text are measured on the
    same draws, in any batch. Cost: at most ``samples`` + 1 forward passes for all explanations of
    the texts together; equal draws are evaluated once.

    Args:
        samples: S, number of draws for each text.
        share: Probability that a unit is removed. If that removes none, one unit is removed.
        seed: Seed of the draws.
        token_budget: Largest number of tokens in one forward pass; None for the device's default.

    Raises:
        InputError: If ``samples`` or ``token_budget`` is less than 1, or ``share`` is not above 0
            and at most 1.

    References:
        On the (In)fidelity and Sensitivity of Explanations (Yeh et al., 2019),
        https://arxiv.org/abs/1901.09392, Eq. 1, with square removal applied to units.
    """

    higher_is_better = False

    def __init__(
        self,
        samples: int = 20,
        share: float = 0.1,
        seed: int = 0,
        token_budget: int | None = None,
    ) -> None:
        check_positive(samples=samples, token_budget=token_budget)
        if not 0 < share <= 1:
            raise InputError(f"share must be above 0 and at most 1, got {share}")
        super().__init__(("unscaled", "infidelity"))
        self.samples = samples
        self.share = share
        self.seed = seed
        self.token_budget = token_budget

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the errors of the scores with β = 1 and with the best β (B, 2)."""
        trace = ranking.trace
        removed, drops = self._draws(trace)
        scores = merge_by_unit(ranking.scores.to(PRECISION), trace.inputs.units)
        predicted = (removed * scores[:, None]).sum(2)
        power = predicted.square().sum(1)
        beta = torch.where(power > 0, (predicted * drops).sum(1) / power, 0)
        scaled = torch.stack([predicted, beta[:, None] * predicted], 2)
        errors = (scaled - drops[..., None]).square().mean(1)
        least_units = torch.tensor([1, 2], device=errors.device)
        return errors.masked_fill(trace.inputs.unit_counts[:, None] < least_units, torch.nan)

    def _draws(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return removed units (B, S, U) and drops of the logit (B, S), once for each trace."""
        cached, settings = _CACHE.setdefault(trace, {}), (self.samples, self.share, self.seed)
        if settings not in cached:
            removed = removals(trace.inputs, *settings)
            drops = _logit_drops(trace, removed, self.token_budget).to(PRECISION)
            cached[settings] = removed, drops
        return cached[settings]


def _logit_drops(trace: Trace, removed: Tensor, token_budget: int | None) -> Tensor:
    """Return y_c(e) - y_c(e without the removed units) of each draw (B, S)."""
    inputs, versions = trace.inputs, 1 + removed.shape[1]
    zeroed = removed.gather(2, inputs.units.clamp(min=0)[:, None].expand(-1, versions - 1, -1))
    zeroed &= (inputs.units >= 0)[:, None]
    # The first version of each text is the whole text.
    zeroed = torch.nn.functional.pad(zeroed, (0, 0, 1, 0)).flatten(0, 1)
    texts = torch.arange(len(inputs), device=zeroed.device).repeat_interleave(versions)
    first, which = distinct_rows(torch.cat([texts[:, None], zeroed], 1))
    texts, zeroed = texts[first], zeroed[first]

    def states(rows: Tensor, width: int) -> Tensor:
        embeddings = trace.embeddings[texts[rows], :width]
        return embeddings.masked_fill(zeroed[rows, :width, None], 0)

    with rerunning(trace.model):
        block = embedding_block(trace.model, Infidelity.__name__)
        logits = logits_from(trace, block, texts, states, token_budget)[which].view(-1, versions)
    return logits[:, :1] - logits[:, 1:]
