"""Whether an explanation ranks units as leaving each of them out does."""

import torch
from torch import Tensor

from bertx.metrics.aopc import drops
from bertx.metrics.base import FaithfulnessMetric, Ranking, followed
from bertx.metrics.ranking import kendall


class LeaveOneOutTau(FaithfulnessMetric):
    """Kendall's tau-b between the scores and p_c(x) - p_c(x without the unit), over units.

    In [-1, 1]; higher is better. A text of fewer than two units has no value, nor has one whose
    scores, or whose falls of p_c, are all equal. The falls are signed: a method that only says how
    much a unit matters cannot reach 1 where units speak against the class. `Occlusion` with the
    same operator reaches 1 by construction, in the same precision, up to rounding.

    ferret has the same of tokens. Attention is not Explanation compares with how far the
    probabilities of all classes move, which has no sign.

    References:
        ferret (Attanasio et al., 2023), https://arxiv.org/abs/2208.01575; Attention is not
        Explanation (Jain & Wallace, 2019), https://arxiv.org/abs/1902.10186, Section 4.1.
    """

    higher_is_better = True
    state = "leave_one_out_sums"

    def __init__(self) -> None:
        super().__init__(["tau"])

    def kept(self, ranking: Ranking) -> Tensor:
        """The whole text, and all but one unit for each unit (B, U + 1, U)."""
        return each_left_out(ranking.unit_scores)

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """Tau-b (B, 1)."""
        mask = ranking.inputs.unit_mask(ranking.unit_scores.shape[1])
        return kendall(ranking.unit_scores, drops(followed(ranking, answers)), mask)[:, None]


def each_left_out(scores: Tensor) -> Tensor:
    """The whole text, and all but one of the units that have scores (B, U), each (B, U + 1, U)."""
    texts, width = scores.shape
    left_out = torch.eye(width, dtype=torch.bool, device=scores.device)
    whole = torch.zeros_like(left_out[:1])
    return ~torch.cat([whole, left_out]).expand(texts, -1, -1)
