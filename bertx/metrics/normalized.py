"""AOPC, normalized by the worst and the best order of a text's units."""

from abc import abstractmethod

import torch
from torch import Tensor

from bertx.errors import InputError, check_positive
from bertx.metrics.accuracy import deletions
from bertx.metrics.base import FaithfulnessMetric, Ranking, target_probabilities
from bertx.metrics.curves import ranks

LARGEST = 16
"""Largest number of units for an exact search, which doubles in cost with every unit."""

NOISE = 1e-6
"""Limits this close count as equal: float32 probabilities of one text differ by about as much
between batches of different shapes."""


class NormalizedAOPC(FaithfulnessMetric):
    """AOPC relative to its limits: (AOPC - lower) / (upper - lower).

    AOPC = 1/n Σ_k p_c(x) - p_c(x without k of its n units), k = 1..n, one more unit each time: a
    mean over all prefixes of an order instead of bins. ``lower`` and ``upper`` are the smallest and
    the largest AOPC of any order of the text's units, from `bertx.perturb.search`. The search is
    exact for short texts, whose normalized value is in [0, 1] up to rounding. For longer texts it
    is a beam search, and the value may be outside [0, 1] if the beam misses a limit. The columns
    are ``aopc``, ``lower`` and ``upper``, in [-1, 1], and ``normalized``, the metric's number,
    which is comparable between models.

    A text whose limits are equal (because it has a single unit, or the prediction does not depend
    on the units) has no normalized value. A text without units has no value at all.

    Cost: U + 1 versions of a text for each explanation. In addition, the two searches evaluate up
    to ``beam`` · n² versions (2^n for an exact search) once for all explanations and both metrics.

    Args:
        beam: Number of sets that the search keeps after each deletion.
        exact: Largest number of units that are searched exactly, at most 16; 0 for none.

    Raises:
        InputError: If ``beam`` is less than 1, or ``exact`` is not in 0..16.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    def __init__(self, beam: int = 5, exact: int = 8) -> None:
        check_positive(beam=beam)
        if not 0 <= exact <= LARGEST:
            raise InputError(f"exact must be between 0 and {LARGEST}, got {exact}")
        super().__init__(["aopc", "lower", "upper", "normalized"])
        self.beam = beam
        self.exact = exact

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then one unit less in each version (B, U + 1, U)."""

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute AOPC, its limits and the normalized value (B, 4)."""
        p, counts = target_probabilities(ranking, probabilities), ranking.inputs.unit_counts
        mask = torch.arange(p.shape[1] - 1, device=p.device) < counts[:, None]
        # The order that minimizes p_c has the largest AOPC, and the other way round.
        highest = ranking.search.orders(self.beam, self.exact, highest=True)
        lowest = ranking.search.orders(self.beam, self.exact)
        totals = [
            p[:, 1:].masked_fill(~mask, 0).sum(1),
            p.new_tensor([deletion.cost for deletion in highest]),
            p.new_tensor([deletion.cost for deletion in lowest]),
        ]
        aopc, lower, upper = (p[:, 0] - total / counts for total in totals)
        spread = upper - lower
        normalized = ((aopc - lower) / spread).masked_fill(spread <= NOISE, torch.nan)
        return torch.stack([aopc, lower, upper, normalized], 1)


class NormalizedComprehensiveness(NormalizedAOPC):
    """Normalized AOPC of deleting units from the highest ranked on.

    (AOPC - lower) / (upper - lower), about 0 to 1; higher is better. 1 is the best order of the
    text's units, 0 the worst. See `NormalizedAOPC`.

    Args:
        beam: Number of sets that the search for the limits keeps after each deletion.
        exact: Largest number of units that are searched exactly, at most 16; 0 for none.

    Raises:
        InputError: If ``beam`` is less than 1, or ``exact`` is not in 0..16.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    higher_is_better = True
    limit = "deletion"

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all but the k highest ranked units, k = 0..U (B, U + 1, U)."""
        scores = ranking.unit_scores
        return deletions(scores, ranking.inputs.unit_counts, scores.shape[1])


class NormalizedSufficiency(NormalizedAOPC):
    """Normalized AOPC of deleting units from the lowest ranked on.

    (AOPC - lower) / (upper - lower), about 0 to 1; lower is better. 0 is the best order of the
    text's units, 1 the worst. After k deletions the top n - k units are left, so this is
    sufficiency over all prefixes, including the empty one. The limits are the same as in
    `NormalizedComprehensiveness`, because the reverse of an order is also an order. See
    `NormalizedAOPC`.

    Args:
        beam: Number of sets that the search for the limits keeps after each deletion.
        exact: Largest number of units that are searched exactly, at most 16; 0 for none.

    Raises:
        InputError: If ``beam`` is less than 1, or ``exact`` is not in 0..16.

    References:
        Normalized AOPC (Edin et al., 2025), https://arxiv.org/abs/2408.08137.
    """

    higher_is_better = False
    limit = "insertion"

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep the n - k highest ranked units only, k = 0..U (B, U + 1, U)."""
        counts = ranking.inputs.unit_counts
        places = ranks(ranking.unit_scores, counts)
        deleted = torch.arange(places.shape[1] + 1, device=places.device)
        return places[:, None] < (counts[:, None] - deleted)[..., None]
