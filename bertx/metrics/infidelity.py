"""Infidelity: how far an explanation is from saying what removing units does to the logit."""

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
"""Draws of a trace and what they take from its logits: the same for all explanations of it."""


def removals(inputs: Inputs, samples: int = 20, share: float = 0.1, seed: int = 0) -> Tensor:
    """Which units are removed in each draw: a function of a text's token ids and the seed alone.

    Each unit is removed with probability ``share``, and one at random where that removes none.

    Args:
        inputs: B texts.
        samples: S, draws for each text.
        share: Probability of a unit's removal.
        seed: Another seed is another draw.

    Returns:
        (B, S, U), False beyond a text's own units.
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
    """Mean squared error between what an explanation says of removed units and what they do.

    1/S Σ_s (β Σ_u z_su φ_u - (y_c(e) - y_c(e - z_s e)))², y_c the logit of the explained class, e
    the output of the embedding block, φ the unit scores and z_s the 0/1 draw of `removals`: the
    embeddings of a removed unit's tokens are 0, those of special tokens and padding never change.
    In the paper's terms, I = z e and Φ = φ / e, captum's convention for methods that multiply by
    the input. The column ``unscaled`` has β = 1, which only means something for scores in logits;
    ``infidelity`` has the β that is best for the text, as methods live on different scales
    (captum's ``normalize=True``). That β may be negative: the error knows no direction, which is
    for the deletion and insertion curves to tell. A text of one unit has no ``infidelity``: all its
    draws are the same, and β would fit them exactly.

    In squared logits, not negative; lower is better. All explanations of a text get the same
    draws, whatever its company. Cost: at most ``samples`` + 1 forwards for all explanations of
    the texts, equal draws being asked once.

    Args:
        samples: S, draws for each text.
        share: Probability of a unit's removal; one unit is removed where that removes none.
        seed: Another seed is another draw.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be.

    References:
        On the (In)fidelity and Sensitivity of Explanations (Yeh et al., 2019),
        https://arxiv.org/abs/1901.09392, Eq. 1; its square removal, with units for squares.
    """

    higher_is_better = False
    state = "infidelity_sums"

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

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """The error of the scores as they are, and of the best multiple of them (B, 2)."""
        trace = ranking.trace
        removed, observed = self._draws(trace)
        units = merge_by_unit(ranking.scores.to(PRECISION), trace.inputs.units)
        predicted = (removed * units[:, None]).sum(2)
        power = predicted.square().sum(1)
        scale = torch.where(power > 0, (predicted * observed).sum(1) / power, 0)
        errors = (
            torch.stack([predicted - observed, scale[:, None] * predicted - observed], 2)
            .square()
            .mean(1)
        )
        least = torch.tensor([1, 2], device=errors.device)
        return errors.masked_fill(trace.inputs.unit_counts[:, None] < least, torch.nan)

    def _draws(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Removals (B, S, U) and what they take from the logit (B, S), once for each trace."""
        cached, settings = _CACHE.setdefault(trace, {}), (self.samples, self.share, self.seed)
        if settings not in cached:
            removed = removals(trace.inputs, *settings)
            cached[settings] = removed, _drops(trace, removed, self.token_budget).to(PRECISION)
        return cached[settings]


def _drops(trace: Trace, removed: Tensor, token_budget: int | None) -> Tensor:
    """y_c(e) - y_c(e without the removed units) of each draw (B, S)."""
    inputs, versions = trace.inputs, 1 + removed.shape[1]
    gone = removed.gather(2, inputs.units.clamp(min=0)[:, None].expand(-1, versions - 1, -1))
    gone &= (inputs.units >= 0)[:, None]
    gone = torch.nn.functional.pad(gone, (0, 0, 1, 0)).flatten(0, 1)  # first, the whole text
    texts = torch.arange(len(inputs), device=gone.device).repeat_interleave(versions)
    first, which = distinct_rows(torch.cat([texts[:, None], gone], 1))
    texts, gone = texts[first], gone[first]

    def states(rows: Tensor, width: int) -> Tensor:
        whole = trace.embeddings[texts[rows], :width]
        return whole.masked_fill(gone[rows, :width, None], 0)

    with rerunning(trace.model):
        block = embedding_block(trace.model, Infidelity.__name__)
        logits = logits_from(trace, block, texts, states, token_budget)[which].view(-1, versions)
    return logits[:, :1] - logits[:, 1:]
