"""Rank correlation of an explanation with the effect of leaving out each unit."""

import torch
from torch import Tensor

from bertx.metrics.aopc import drops
from bertx.metrics.base import FaithfulnessMetric, Ranking, target_probabilities
from bertx.metrics.ranking import kendall


class LeaveOneOutTau(FaithfulnessMetric):
    """Kendall's tau-b over units u, between the scores and p_c(x) - p_c(x without u).

    In [-1, 1]; higher is better. A text has no value if it has fewer than two units, or if all of
    its scores or all of its drops of p_c are equal. The drops are signed: an unsigned method cannot
    reach 1 where units speak against the class. `Occlusion` with the same operator reaches 1 by
    construction, up to rounding.

    ferret computes the same over tokens. "Attention is not Explanation" compares with the change of
    the probabilities of all classes, which has no sign.

    References:
        ferret (Attanasio et al., 2023), https://arxiv.org/abs/2208.01575; Attention is not
        Explanation (Jain & Wallace, 2019), https://arxiv.org/abs/1902.10186, Section 4.1.
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(["tau"])

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then all but each unit in turn (B, U + 1, U)."""
        texts, width = ranking.unit_scores.shape
        whole = torch.ones(1, width, dtype=torch.bool, device=ranking.unit_scores.device)
        others = ~torch.eye(width, dtype=torch.bool, device=whole.device)
        return torch.cat([whole, others]).expand(texts, -1, -1)

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute tau-b (B, 1)."""
        effects = drops(target_probabilities(ranking, probabilities))
        mask = ranking.inputs.unit_mask(ranking.unit_scores.shape[1])
        return kendall(ranking.unit_scores, effects, mask)[:, None]
