"""AOPC between what the worst and the best order of a text's units give."""

from abc import abstractmethod

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.accuracy import deletions
from bertx.metrics.base import FaithfulnessMetric, Ranking, followed
from bertx.metrics.curves import ranks
from bertx.perturb.search import Deletion

LARGEST = 16
"""Largest number of units that can be searched exactly: twice as many questions for each more."""

NOISE = 1e-6
"""Limits that are this close are equal: what float32 probabilities of one text differ by between
batches of different shapes."""


class NormalizedAOPC(FaithfulnessMetric):
    """AOPC between its limits: (AOPC - lower) / (upper - lower).

    AOPC = 1/n Σ_k p_c(x) - p_c(x without k of its n units), k = 1..n, one more unit each time: over
    all prefixes of an order, not over bins. ``lower`` and ``upper`` are the smallest and largest
    AOPC of any order of the text's units, found by `bertx.perturb.search`: exactly for short
    texts, which are within [0, 1] up to rounding; by a beam for others, which may fall outside
    where the beam missed a limit. Columns ``aopc``, ``lower``, ``upper`` in [-1, 1], and
    ``normalized``, which is comparable between models.

    A text whose limits are equal (of one unit, or with a model that does not care) has AOPC and
    limits but no normalized value; a text without units has none at all. Cost, beside the U + 1
    versions of each explanation: the two searches ask for up to ``beam`` · n² versions of a text
    (2 · 2^n of a short one), once for all explanations and both metrics.

    Args:
        beam: Sets that the search keeps after each deletion.
        exact: Largest number of units whose limits are exact, at most 16; 0 for none.

    Attributes:
        beam: The sets.
        exact: The units.

    Raises:
        InputError: For a beam or exact that cannot be.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    def __init__(self, beam: int = 5, exact: int = 8) -> None:
        check_search(beam, exact)
        super().__init__(["aopc", "lower", "upper", "normalized"])
        self.beam = beam
        self.exact = exact

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """The whole text, and one unit less each time (B, U + 1, U)."""

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """AOPC, its limits, and where it is between them (B, 4)."""
        lowest = ranking.search.orders(self.beam, self.exact)
        highest = ranking.search.orders(self.beam, self.exact, highest=True)
        return with_limits(followed(ranking, answers), ranking.inputs.unit_counts, lowest, highest)


class NormalizedComprehensiveness(NormalizedAOPC):
    """Comprehensiveness between its limits: units are deleted from the highest ranked on.

    1 is best, 0 is the worst order there is. See `NormalizedAOPC`.

    Args:
        beam: Sets that the search for the limits keeps after each deletion.
        exact: Largest number of units whose limits are exact, at most 16; 0 for none.

    Raises:
        InputError: For a beam or exact that cannot be.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    higher_is_better = True
    limit = "deletion"
    state = "normalized_comprehensiveness_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """All but the k highest ranked units, k = 0..U (B, U + 1, U)."""
        scores = ranking.unit_scores
        return deletions(scores, ranking.inputs.unit_counts, scores.shape[1])


class NormalizedSufficiency(NormalizedAOPC):
    """Sufficiency between its limits: units are deleted from the lowest ranked on.

    0 is best, 1 is the worst order there is. What is left after k deletions is the top n - k, so
    this is sufficiency over all prefixes, the empty one included. Deleting in the reverse of one
    ranking is deleting in another: over all orders the AOPC take the same values as those of
    `NormalizedComprehensiveness`, and the limits are the same. See `NormalizedAOPC`.

    Args:
        beam: Sets that the search for the limits keeps after each deletion.
        exact: Largest number of units whose limits are exact, at most 16; 0 for none.

    Raises:
        InputError: For a beam or exact that cannot be.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    higher_is_better = False
    limit = "insertion"
    state = "normalized_sufficiency_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """The n - k highest ranked units alone, k = 0..U (B, U + 1, U)."""
        return lowest_first(ranking.unit_scores, ranking.inputs.unit_counts)


def lowest_first(scores: Tensor, unit_counts: Tensor) -> Tensor:
    """Which of the units (B, U) stay after 0..U deletions from the bottom (B, U + 1, U)."""
    places = ranks(scores, unit_counts)
    deleted = torch.arange(scores.shape[1] + 1, device=places.device)
    return places[:, None] < (unit_counts[:, None] - deleted)[..., None]


def with_limits(
    p: Tensor, unit_counts: Tensor, lowest: list[Deletion], highest: list[Deletion]
) -> Tensor:
    """AOPC, its limits, and where it is between them.

    Args:
        p: p_c of each text, whole and after each of up to U deletions (B, U + 1).
        unit_counts: n, number of units of each text (B,).
        lowest: For each text the order that makes p_c smallest, which has the upper limit.
        highest: The order that makes it largest.

    Returns:
        (B, 4).
    """
    mask = torch.arange(p.shape[1] - 1, device=p.device) < unit_counts[:, None]
    totals = [
        p[:, 1:].masked_fill(~mask, 0).sum(1),
        p.new_tensor([deletion.cost for deletion in highest]),
        p.new_tensor([deletion.cost for deletion in lowest]),
    ]
    aopc, lower, upper = (p[:, 0] - total / unit_counts for total in totals)
    spread = upper - lower
    normalized = ((aopc - lower) / spread).masked_fill(spread <= NOISE, torch.nan)
    return torch.stack([aopc, lower, upper, normalized], 1)


def check_search(beam: int, exact: int) -> None:
    """Raise `InputError` for a search that cannot be."""
    check_positive(beam=beam)
    if not 0 <= exact <= LARGEST:
        raise InputError(f"exact must be between 0 and {LARGEST}, got {exact}")
