"""Plausibility: whether an explanation ranks the units first that a rationale marks.

A rationale is a set of marked units. Marks by humans show whether people would agree with an
explanation, not whether the model works that way. If a shortcut was planted in the training data,
and the model uses it, the marks are the ground truth.

All functions take unit scores (B, U), marks (B, U) and a mask of the units of each text (B, U),
which are at the left. Scores must be finite, which is not checked; the highest are ranked first. A
text has no value (NaN) if every ranking would get the same one, because none or all of its units
are marked. Texts without a rationale have no value either.

References:
    ERASER: A Benchmark to Evaluate Rationalized NLP Models (DeYoung et al., 2020),
    https://arxiv.org/abs/1911.03429.
    "Will You Find These Shortcuts?" (Bastings et al., 2022), https://arxiv.org/abs/2111.07367.
"""

import logging
from abc import abstractmethod

import torch
from torch import Tensor

from bertx.errors import check_positive
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.curves import ranks
from bertx.metrics.estimates import PRECISION
from bertx.models.inputs import number_units

log = logging.getLogger("bertx")


def average_precision(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Compute the average precision, the area under the steps of the precision-recall curve.

    AP = Σ_n (R_n - R_{n-1}) P_n, with P_n and R_n the precision and recall of the units that score
    at least the n-th largest score. Units with equal scores are added together: if all scores are
    equal, the result is m / n, the share of marked units. A random ranking is better in short
    texts, on average (m - 1) / (n - 1) · (1 - h) + h with h = Σ_{i <= n} 1 / (i n).

    Args:
        scores: Unit scores (B, U), finite.
        marks: True for marked units (B, U).
        mask: True for the units of a text (B, U), at the left.

    Returns:
        In (0, 1], 1 if all marked units come first (B,); NaN where none or all are marked.

    References:
        Exact Expected Average Precision of the Random Baseline (Bestgen, 2015), Prague Bulletin of
        Mathematical Linguistics 103.

    Examples:
        >>> scores, marks = torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[True, False, True]])
        >>> average_precision(scores, marks, torch.ones_like(marks))
        tensor([0.8333], dtype=torch.float64)
    """
    marks = marks & mask
    at_least = scores[:, None, :] >= scores[:, :, None]
    return _mean_over_marked(_precision(at_least & mask[:, None], marks), marks, mask)


def trapezoid_precision(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Compute the area under the precision-recall curve by the trapezoidal rule.

    Σ_n (R_n - R_{n-1}) (P_n + P_{n-1}) / 2 with P_0 = 1: ERASER's AUPRC. Straight lines between the
    points overestimate the precision of intermediate thresholds, most of all if many units have
    equal scores: if all scores are equal, the result is (1 + the share of marked units) / 2.

    Args:
        scores: Unit scores (B, U), finite.
        marks: True for marked units (B, U).
        mask: True for the units of a text (B, U), at the left.

    Returns:
        In (0, 1], 1 if all marked units come first (B,); NaN where none or all are marked.
    """
    marks = marks & mask
    above = scores[:, None, :] > scores[:, :, None]
    before = _precision(above & mask[:, None], marks)
    return (_mean_over_marked(before, marks, mask) + average_precision(scores, marks, mask)) / 2


def rationale_f1(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Compute the F1 score of the k highest ranked units, with k the number of marked units.

    Precision, recall and F1 are equal for this k.

    Args:
        scores: Unit scores (B, U), finite. Among equal scores the leftmost unit comes first.
        marks: True for marked units (B, U).
        mask: True for the units of a text (B, U), at the left.

    Returns:
        Share of the marked units among the top k, in [0, 1] (B,); NaN where none or all are marked.
    """
    marks = marks & mask
    hits = (_top(scores, marks.sum(1), mask) & marks).sum(1)
    return _if_mixed(hits.to(PRECISION) / marks.sum(1), marks, mask)


def rationale_iou(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Compute the F1 score of spans that match if their intersection over union is at least 1/2.

    The predicted spans are the runs of adjacent units among the k highest ranked, with k the number
    of marked units; the marked spans are the runs of adjacent marked units. A predicted span is
    correct if |intersection| / |union| >= 1/2 for a marked span, which is then the only one.

    Args:
        scores: Unit scores (B, U), finite. Among equal scores the leftmost unit comes first.
        marks: True for marked units (B, U).
        mask: True for the units of a text (B, U), at the left.

    Returns:
        2 · correct / (predicted + marked spans), in [0, 1] (B,); NaN where none or all are marked.
    """
    marks = marks & mask
    predicted, marked = _spans(_top(scores, marks.sum(1), mask)), _spans(marks)
    intersection = predicted @ marked.mT  # (B, R, R)
    union = predicted.sum(2)[:, :, None] + marked.sum(2)[:, None] - intersection
    correct = ((2 * intersection >= union) & (intersection > 0)).any(2).sum(1)
    spans = predicted.any(2).sum(1) + marked.any(2).sum(1)
    return _if_mixed(2 * correct.to(PRECISION) / spans, marks, mask)


def precision_at_k(scores: Tensor, marks: Tensor, mask: Tensor, k: int = 1) -> Tensor:
    """Compute the share of the k highest ranked units that are marked.

    Args:
        scores: Unit scores (B, U), finite. Among equal scores the leftmost unit comes first.
        marks: True for marked units (B, U).
        mask: True for the units of a text (B, U), at the left.
        k: Number of highest ranked units, the same for all texts.

    Returns:
        In [0, 1], at most the number of marked units / k (B,); NaN where none or all are marked,
        and for texts with k units or fewer.

    Raises:
        InputError: If ``k`` is less than 1.
    """
    check_positive(k=k)
    marks, counts = marks & mask, mask.sum(1)
    hits = (_top(scores, torch.full_like(counts, k), mask) & marks).sum(1)
    return _if_mixed(hits.to(PRECISION) / k, marks, mask).masked_fill(counts <= k, torch.nan)


class PlausibilityMetric(FaithfulnessMetric):
    """Base class of metrics that compare a ranking with marked units, without running the model."""

    higher_is_better = True
    _warned = False

    @abstractmethod
    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Compute the values of B texts.

        Args:
            scores: Unit scores (B, U), finite.
            marks: True for marked units (B, U).
            mask: True for the units of a text (B, U), at the left.

        Returns:
            (B, J); NaN where the metric is not defined for a text.
        """

    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the values (B, J). If there are no rationales, they are NaN; warn once."""
        scores, marks = ranking.unit_scores, ranking.inputs.marked_units
        if marks is not None:
            return self.compare(scores, marks, ranking.inputs.unit_mask())
        if not self._warned:
            self._warned = True
            log.warning(
                f"{type(self).__name__}: the texts have no rationales, so the metric has no "
                "value for them. Leave it out if no text of the data has a rationale."
            )
        return scores.new_full((len(scores), len(self.columns)), torch.nan, dtype=PRECISION)


class RationaleAUPRC(PlausibilityMetric):
    """Area under the precision-recall curve of finding the marked units by their scores.

    In (0, 1]; higher is better; the expected value of a random ranking depends on the length of the
    text. The metric's number is the area under the steps, `average_precision`. The column
    ``trapezoid`` has ERASER's area, `trapezoid_precision`, for comparison with published numbers;
    it overestimates scores with many ties.

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429. The Relationship Between
        Precision-Recall and ROC Curves (Davis & Goadrich, 2006), on straight lines.
    """

    def __init__(self) -> None:
        super().__init__(["trapezoid", "auprc"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Compute the area by the trapezoidal rule and the average precision (B, 2)."""
        trapezoid = trapezoid_precision(scores, marks, mask)
        return torch.stack([trapezoid, average_precision(scores, marks, mask)], 1)


class RationaleF1(PlausibilityMetric):
    """F1 of the k highest ranked units, with k the number of marked units: `rationale_f1`.

    In [0, 1]; higher is better. The expected value of a random ranking is the share of marked
    units.

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429: token-level F1, averaged
        over texts.
    """

    def __init__(self) -> None:
        super().__init__(["f1"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Compute the F1 score (B, 1)."""
        return rationale_f1(scores, marks, mask)[:, None]


class RationaleIOU(PlausibilityMetric):
    """F1 of spans whose intersection over union is at least 1/2: `rationale_iou`.

    In [0, 1]; higher is better. The F1 scores of the texts are averaged, while ERASER's code
    computes one F1 from the mean precision and the mean recall. Adjacent marked spans count as one.

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429: IOU F1.
    """

    def __init__(self) -> None:
        super().__init__(["iou_f1"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Compute the F1 score of spans (B, 1)."""
        return rationale_iou(scores, marks, mask)[:, None]


class PrecisionAtK(PlausibilityMetric):
    """Share of the k highest ranked units that are marked, such as a planted shortcut.

    In [0, 1]; higher is better. 1 if the k highest ranked units are all marked.

    Args:
        k: Number of highest ranked units, the same for all texts.

    Raises:
        InputError: If ``k`` is less than 1.

    References:
        "Will You Find These Shortcuts?" (Bastings et al., 2022), https://arxiv.org/abs/2111.07367.
    """

    def __init__(self, k: int = 1) -> None:
        check_positive(k=k)
        super().__init__([f"precision@{k}"])
        self.k = k

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Compute the precision (B, 1)."""
        return precision_at_k(scores, marks, mask, self.k)[:, None]


def _precision(chosen: Tensor, marks: Tensor) -> Tensor:
    """Return the share of marked units in each of U sets of units (B, U, U); 1 for an empty set."""
    sizes = chosen.sum(2)
    hits = (chosen & marks[:, None]).sum(2).to(PRECISION)
    return torch.where(sizes > 0, hits / sizes, 1)


def _mean_over_marked(values: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values (B, U) over the marked units, each of which is a step of recall."""
    return _if_mixed(values.masked_fill(~marks, 0).sum(1) / marks.sum(1), marks, mask)


def _if_mixed(values: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Replace values (B,) by NaN where none or all of the units are marked."""
    mixed = marks.any(1) & (mask & ~marks).any(1)
    return values.masked_fill(~mixed, torch.nan)


def _top(scores: Tensor, sizes: Tensor, mask: Tensor) -> Tensor:
    """Select the ``sizes`` (B,) highest ranked units of each text (B, U)."""
    return ranks(scores, mask.sum(1)) < sizes[:, None]


def _spans(chosen: Tensor) -> Tensor:
    """Return the units of each run of adjacent chosen units (B, R, U), 0 or 1."""
    numbers = number_units(torch.zeros_like(chosen, dtype=torch.long), chosen)
    most = (chosen.shape[1] + 1) // 2
    spans = torch.arange(most, device=chosen.device)[None, :, None] == numbers[:, None]
    return spans.to(PRECISION)
