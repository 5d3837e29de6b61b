"""Comprehensiveness, sufficiency and log-odds: the effect of a text's highest ranked units.

A bin is a fraction q of a text's n units. Its rationale is the round(q n) highest ranked units, at
least one. Bins of short texts may therefore repeat a rationale; they count nevertheless, so that
all methods are averaged over the same bins. A text without units has the value 0 in every bin.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.base import FaithfulnessMetric, Ranking, target_probabilities
from bertx.metrics.curves import deletion_masks, insertion_masks

RATIOS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""ERASER's bins."""


class BinnedMetric(FaithfulnessMetric):
    """One value for each bin, and their mean.

    Args:
        ratios: The bins, as fractions of a text's units.

    Attributes:
        fractions: Fractions of units to delete or insert (1 + K,). The first one leaves the text
            unchanged, the others are the K bins.

    Raises:
        InputError: If there are no bins, or one is outside [0, 1].
    """

    column: ClassVar[str] = "drop"
    mean_column: ClassVar[str] = "aopc"
    unchanged: ClassVar[float] = 0.0

    def __init__(self, ratios: tuple[float, ...] = RATIOS) -> None:
        if not ratios or not all(0 <= ratio <= 1 for ratio in ratios):
            raise InputError(
                f"ratios must be one or more fractions between 0 and 1, got {list(ratios)}: "
                "10 % of the units is 0.1"
            )
        super().__init__([*(f"{self.column}@{100 * r:.3g}%" for r in ratios), self.mean_column])
        self.ratios = tuple(ratios)
        self.fractions = torch.tensor([self.unchanged, *ratios], dtype=torch.float64)

    @abstractmethod
    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then those of each bin's version (B, 1 + K, U)."""

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the drop of p_c in each bin, and the mean (B, K + 1)."""
        return with_mean(drops(target_probabilities(ranking, probabilities)))


class Comprehensiveness(BinnedMetric):
    """Drop of the probability without the rationale, p_c(x) - p_c(x without the top q).

    In [-1, 1]; higher is better: the model needs the units that the explanation names. The
    metric's number is the mean over bins, the AOPC.

    The mean is over the given bins, as in ERASER's code. The formula in its paper divides by one
    more, for an empty bin with the value 0; include the ratio 0 to get the same. ERASER lets the
    explanation decide how many tokens of a text q stands for. ferret uses 10 to 100 % of the
    tokens, rounded down. By default it leaves out tokens with negative scores, and bins that are
    empty or repeat the previous rationale, so that methods are averaged over different bins. It
    also decodes the remaining tokens and tokenizes the text again.

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there are no bins, or one is outside [0, 1].

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

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then all but the top q for each bin (B, 1 + K, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)


class Sufficiency(BinnedMetric):
    """Drop of the probability with the rationale alone, p_c(x) - p_c(the top q only).

    In [-1, 1]; lower is better: the model needs no other units than those that the explanation
    names. The metric's number is the mean over bins, the AOPC. The remarks on the bins of ERASER
    and ferret in `Comprehensiveness` apply, except that the ratio 0 keeps no unit here and its
    value is not 0.

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there are no bins, or one is outside [0, 1].

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429, Section 4.2.
    """

    higher_is_better = False
    limit = "insertion"
    unchanged = 1.0

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then the top q alone for each bin (B, 1 + K, U)."""
        return insertion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)


class LogOdds(BinnedMetric):
    """Log ratio of the probabilities without and with the rationale.

    log p_c(x without the top q) - log p_c(x), in nats; lower is better. The metric's number is the
    mean over bins. Unlike comprehensiveness, it distinguishes a drop to .01 from a drop to .0001,
    and a few texts can dominate its mean. The name comes from DeepLIFT's score, although it is a
    ratio of probabilities, not of odds.

    p_c is clamped to the smallest normal number of its type, so that an underflow to 0 gives a
    finite value: in float32 log p_c is at least -87.3, and values are within [-87.3, 87.3].

    Args:
        ratios: The bins, as fractions of a text's units.

    Raises:
        InputError: If there are no bins, or one is outside [0, 1].

    References:
        DeepLIFT (Shrikumar et al., 2017), https://arxiv.org/abs/1704.02685; Generating
        Hierarchical Explanations on Text Classification (Chen et al., 2020),
        https://arxiv.org/abs/2004.02015.
    """

    higher_is_better = False
    limit = "deletion"
    column = mean_column = "log_odds"

    def kept(self, ranking: Ranking) -> Tensor:
        """Keep all units, then all but the top q for each bin (B, 1 + K, U)."""
        return deletion_masks(ranking.unit_scores, ranking.inputs.unit_counts, self.fractions)

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the change of log p_c in each bin, and the mean (B, K + 1)."""
        p = target_probabilities(ranking, probabilities)
        log_p = p.clamp(min=torch.finfo(p.dtype).tiny).log()
        return with_mean(log_p[:, 1:] - log_p[:, :1])


def drops(p: Tensor) -> Tensor:
    """Return how far values (B, 1 + K) lie below the first of each row (B, K)."""
    return p[:, :1] - p[:, 1:]


def with_mean(values: Tensor) -> Tensor:
    """Append the mean of values (B, K) as the last column (B, K + 1)."""
    return torch.cat([values, values.mean(1, keepdim=True)], 1)
