"""Comprehensiveness, sufficiency and log-odds: what a text's highest ranked units do, bin by bin.

A bin is a fraction q of a text's units. Its rationale is the round(q n) highest ranked of the n
units, at least one: short texts have the same rationale in several bins. All bins of all texts and
methods count, repeated or not, so that every method is averaged over the same ones. A text without
units has nothing to take away, and 0 in every bin.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.base import FaithfulnessMetric, Ranking, followed
from bertx.metrics.curves import deletion_masks, insertion_masks

RATIOS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""ERASER's bins."""


class BinnedMetric(FaithfulnessMetric):
    """One value for each bin, and their mean.

    Args:
        ratios: The bins, as fractions of a text's units.

    Attributes:
        ratios: The bins.
        fractions: How much is deleted or inserted (1 + K,), first what leaves the text whole.

    Raises:
        InputError: If there is no bin, or one outside [0, 1].
    """

    column: ClassVar[str]
    whole: ClassVar[float] = 0.0
    number: ClassVar[str] = "aopc"

    def __init__(self, ratios: tuple[float, ...] = RATIOS) -> None:
        bins = [f"{self.column}@{100 * ratio:.3g}%" for ratio in checked_ratios(ratios)]
        super().__init__([*bins, self.number])
        self.ratios = tuple(ratios)
        self.fractions = torch.tensor([self.whole, *ratios], dtype=torch.float64)

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """(B, J, U): the whole text and one version for each bin."""


class Comprehensiveness(BinnedMetric):
    """How much the probability falls without the rationale, and the mean over bins, the AOPC.

    p_c(x) - p_c(x without the top q), in [-1, 1]; higher is better: the model needed what the
    explanation names.

    The mean is over the bins that are asked for, as in ERASER's code. The formula of its paper
    divides by one more, for an empty bin whose value is 0; ratios that begin with 0 give that.
    ERASER leaves it to the explanation how many tokens q is of a text. ferret takes 10 to 100 % of
    the tokens, rounded down; by default it leaves out tokens with negative scores, and bins that
    are empty or repeat the rationale before, so that each method has other bins. It also makes
    text of the tokens that are left and tokenizes it again.

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there is no bin, or one outside [0, 1].

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429, Section 4.2.

    Examples:
        >>> metric = Comprehensiveness(ratios=(0.1, 0.5))
        >>> metric.update(with_mean(drops(torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.4, 0.3]]))))
        >>> round(metric.compute().value.item(), 3)
        0.4
    """

    higher_is_better = True
    limit = "deletion"
    column = "drop"
    state = "comprehensiveness_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """The whole text, and all but the top q for each bin (B, J, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """How much p_c falls in each bin, and the mean (B, J)."""
        return with_mean(drops(followed(ranking, answers)))


class Sufficiency(BinnedMetric):
    """How much the probability falls with the rationale alone, and the mean over bins, the AOPC.

    p_c(x) - p_c(the top q only), in [-1, 1]; lower is better: the model needs nothing but what the
    explanation names. What `Comprehensiveness` says of
    ERASER's and ferret's bins holds here too; but the empty bin of ERASER's formula is not 0 here,
    it keeps nothing.

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there is no bin, or one outside [0, 1].

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429, Section 4.2.
    """

    higher_is_better = False
    limit = "insertion"
    column = "drop"
    whole = 1.0
    state = "sufficiency_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """The whole text, and the top q alone for each bin (B, J, U)."""
        return insertion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """How much p_c falls in each bin, and the mean (B, J)."""
        return with_mean(drops(followed(ranking, answers)))


class LogOdds(BinnedMetric):
    """By what factor the probability falls without the rationale, as a logarithm, over bins.

    log p_c(x without the top q) - log p_c(x), in nats; lower is better. Unlike comprehensiveness
    it tells a fall to .01 from one to .0001, and a few texts can rule its mean. It is named after
    DeepLIFT's score, but is a ratio of probabilities, not of odds.

    Below the smallest normal number of its type p_c counts as that number, so that an underflow to
    0 stays finite: log p_c is at least -87.3 in float32, and a value within [-87.3, 87.3].

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there is no bin, or one outside [0, 1].

    References:
        DeepLIFT (Shrikumar et al., 2017), https://arxiv.org/abs/1704.02685; Generating
        Hierarchical Explanations on Text Classification (Chen et al., 2020),
        https://arxiv.org/abs/2004.02015.
    """

    higher_is_better = False
    limit = "deletion"
    column = number = "log_odds"
    state = "log_odds_sums"

    def kept(self, ranking: Ranking) -> Tensor:
        """The whole text, and all but the top q for each bin (B, J, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """How much log p_c changes in each bin, and the mean (B, J)."""
        return with_mean(log_ratios(followed(ranking, answers)))


def drops(p: Tensor) -> Tensor:
    """How much less the probabilities (B, 1 + K) are than the first of them (B, K)."""
    return p[:, :1] - p[:, 1:]


def log_ratios(p: Tensor) -> Tensor:
    """How much less the logarithms of probabilities (B, 1 + K) are, as a negative number (B, K)."""
    logarithms = p.clamp(min=torch.finfo(p.dtype).tiny).log()
    return logarithms[:, 1:] - logarithms[:, :1]


def with_mean(values: Tensor) -> Tensor:
    """Values (B, K) with their mean as the last column (B, K + 1)."""
    return torch.cat([values, values.mean(1, keepdim=True)], 1)


def checked_ratios(ratios: Sequence[float]) -> Sequence[float]:
    """The bins, if there are any and all are fractions."""
    if not ratios or not all(0 <= ratio <= 1 for ratio in ratios):
        raise InputError(
            f"ratios must be one or more fractions between 0 and 1, got {list(ratios)}: "
            "10 % of the units is 0.1"
        )
    return ratios
