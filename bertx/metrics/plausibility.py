"""Plausibility: does an explanation rank first what a human or a planted rule has marked?

A marked set of units, the *rationale*, is compared with the ranking of the units by their scores.
Against a human's marks this says whether people would agree, not whether the model works that way.
Against a shortcut that was planted into the training data, and that the model is known to use, the
marks are the truth.

All functions take scores (B, U), marks (B, U) and which places are units of a text (B, U), which
are those from the left. Scores are finite, which is the caller's to see to; the highest come first.
A text is without a value (NaN) where every ranking would get the same: without a marked unit, or
with nothing but marked units. So are all texts of data without rationales.

References:
    ERASER: A Benchmark to Evaluate Rationalized NLP Models (DeYoung et al., 2020),
    https://arxiv.org/abs/1911.03429.
    "Will You Find These Shortcuts?" (Bastings et al., 2022), https://arxiv.org/abs/2111.07367.
"""

import logging
from abc import abstractmethod

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.base import FaithfulnessMetric, Ranking
from bertx.metrics.curves import ranks
from bertx.metrics.estimates import PRECISION
from bertx.models.inputs import number_units

log = logging.getLogger("bertx")


def average_precision(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Area under the steps of the precision-recall curve.

    AP = Σ_n (R_n - R_{n-1}) P_n, P_n and R_n precision and recall of the units that score at least
    the n-th largest score. Units of equal score enter together: a ranking without an opinion gets
    m / n, the share of marked units. A random one gets more in short texts, on average
    (m - 1) / (n - 1) · (1 - h) + h with h = Σ_{i <= n} 1 / (i n).

    Args:
        scores: Unit scores (B, U), finite.
        marks: Which units are marked (B, U).
        mask: Which places are units (B, U).

    Returns:
        In (0, 1], 1 if all marked units come first; NaN where nothing can be ranked (B,).

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
    return _mean_over(marks, _precision(at_least & mask[:, None], marks), mask)


def trapezoid_precision(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """Area under the straight lines between the points of the precision-recall curve.

    Σ_n (R_n - R_{n-1}) (P_n + P_{n-1}) / 2 with P_0 = 1: what ERASER reports as AUPRC. The lines
    pass above what any threshold reaches, most where many units have the same score: a ranking
    without an opinion gets (1 + the share of marked units) / 2.

    Args:
        scores: Unit scores (B, U), finite.
        marks: Which units are marked (B, U).
        mask: Which places are units (B, U).

    Returns:
        In (0, 1], 1 if all marked units come first; NaN where nothing can be ranked (B,).
    """
    marks = marks & mask
    above = scores[:, None, :] > scores[:, :, None]
    before = _precision(above & mask[:, None], marks)
    return (_mean_over(marks, before, mask) + average_precision(scores, marks, mask)) / 2


def rationale_f1(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """F1 of the k highest ranked units, k the number of marked ones: precision and recall are one.

    Args:
        scores: Unit scores (B, U), finite; of equal ones the unit further left comes first.
        marks: Which units are marked (B, U).
        mask: Which places are units (B, U).

    Returns:
        Share of the marked units that are among the k, in [0, 1]; NaN where nothing can be ranked
        (B,).
    """
    marks = marks & mask
    hits = (_top(scores, marks.sum(1), mask) & marks).sum(1)
    return _decided(hits.to(PRECISION) / marks.sum(1), marks, mask)


def rationale_iou(scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """F1 of spans, of which two match if they share at least half of what they cover together.

    The k highest ranked units, k the number of marked ones, fall into spans of neighbours, and so
    do the marked units. A predicted span is right if |both| / |either| >= 1/2 for a marked span;
    for spans that do not touch each other there is never more than one.

    Args:
        scores: Unit scores (B, U), finite; of equal ones the unit further left comes first.
        marks: Which units are marked (B, U).
        mask: Which places are units (B, U).

    Returns:
        2 right / (predicted + marked spans), in [0, 1]; NaN where nothing can be ranked (B,).
    """
    marks = marks & mask
    predicted, marked = _spans(_top(scores, marks.sum(1), mask)), _spans(marks)
    both = predicted @ marked.mT  # (B, R, R)
    either = predicted.sum(2)[:, :, None] + marked.sum(2)[:, None] - both
    right = ((2 * both >= either) & (both > 0)).any(2).sum(1)
    spans = predicted.any(2).sum(1) + marked.any(2).sum(1)
    return _decided(2 * right.to(PRECISION) / spans, marks, mask)


def precision_at_k(scores: Tensor, marks: Tensor, mask: Tensor, k: int = 1) -> Tensor:
    """Share of the k highest ranked units that are marked.

    Args:
        scores: Unit scores (B, U), finite; of equal ones the unit further left comes first.
        marks: Which units are marked (B, U).
        mask: Which places are units (B, U).
        k: Number of units that are looked at, the same for all texts.

    Returns:
        In [0, 1], at most the number of marked units / k; NaN where nothing can be ranked, which
        texts of k units or fewer cannot (B,).

    Raises:
        InputError: If k is below 1.
    """
    _check(k)
    marks, counts = marks & mask, mask.sum(1)
    hits = (_top(scores, torch.full_like(counts, k), mask) & marks).sum(1)
    return _decided(hits.to(PRECISION) / k, marks, mask).masked_fill(counts <= k, torch.nan)


class PlausibilityMetric(FaithfulnessMetric):
    """A number between a ranking of units and the marked ones; it asks the model nothing."""

    higher_is_better = True
    _warned = False

    @abstractmethod
    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """The values (B, J) from scores, marks and which places are units, (B, U) each."""

    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """The values (B, J); NaN where nothing can be ranked. Without rationales it warns, once."""
        scores, marks = ranking.unit_scores, ranking.inputs.marked_units
        if marks is not None:
            return self.compare(scores, marks, ranking.inputs.unit_mask())
        if not self._warned:
            self._warned = True
            log.warning(
                f"{type(self).__name__}: the texts have no rationales, so they have no value "
                "and count nowhere. Leave the metric out where no text of the data has one."
            )
        return scores.new_full((len(scores), len(self.columns)), torch.nan, dtype=PRECISION)


class RationaleAUPRC(PlausibilityMetric):
    """Area under the precision-recall curve of finding the marked units by their scores.

    In (0, 1]; higher is better; what a random ranking gets depends on the length of the texts. The
    number is the area under the steps, `average_precision`. Beside it stands ERASER's, the area
    under straight lines (`trapezoid_precision`), for comparison with published ones: it flatters
    scores with many ties.

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429. The Relationship Between
        Precision-Recall and ROC Curves (Davis & Goadrich, 2006), on straight lines.
    """

    state = "rationale_auprc_sums"

    def __init__(self) -> None:
        super().__init__(["trapezoid", "auprc"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """The area under lines and the area under steps (B, 2)."""
        lines = trapezoid_precision(scores, marks, mask)
        return torch.stack([lines, average_precision(scores, marks, mask)], 1)


class RationaleF1(PlausibilityMetric):
    """F1 of as many of the highest ranked units as are marked: `rationale_f1`.

    In [0, 1]; higher is better; a random ranking gets the share of marked units.

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429: token-level F1, averaged
        over texts.
    """

    state = "rationale_f1_sums"

    def __init__(self) -> None:
        super().__init__(["f1"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """F1 (B, 1)."""
        return rationale_f1(scores, marks, mask)[:, None]


class RationaleIOU(PlausibilityMetric):
    """F1 of spans that overlap by at least half: `rationale_iou`.

    In [0, 1]; higher is better. The mean over texts of the F1 of each. (ERASER's code averages
    precision and recall over texts and makes one F1 of them; marked spans that touch are one here.)

    References:
        ERASER (DeYoung et al., 2020), https://arxiv.org/abs/1911.03429: IOU F1.
    """

    state = "rationale_iou_sums"

    def __init__(self) -> None:
        super().__init__(["iou_f1"])

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """F1 of spans (B, 1)."""
        return rationale_iou(scores, marks, mask)[:, None]


class PrecisionAtK(PlausibilityMetric):
    """Share of the k highest ranked units that are marked: does it find a planted shortcut?

    In [0, 1]; higher is better. A shortcut of k units is found if the number is 1.

    Args:
        k: Number of units that are looked at, the same for all texts.

    Raises:
        InputError: If k is below 1.

    References:
        "Will You Find These Shortcuts?" (Bastings et al., 2022), https://arxiv.org/abs/2111.07367.
    """

    state = "precision_at_k_sums"

    def __init__(self, k: int = 1) -> None:
        _check(k)
        super().__init__([f"precision@{k}"])
        self.k = k

    def compare(self, scores: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
        """Precision (B, 1)."""
        return precision_at_k(scores, marks, mask, self.k)[:, None]


def _check(k: int) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1 (the highest ranked unit alone), got {k}")


def _precision(chosen: Tensor, marks: Tensor) -> Tensor:
    """Share of marked units in each of U sets of units (B, U, U); 1 for an empty set."""
    sizes = chosen.sum(2)
    hits = (chosen & marks[:, None]).sum(2).to(PRECISION)
    return torch.where(sizes > 0, hits / sizes, 1)


def _mean_over(marks: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values (B, U) of the marked units: each is one step of recall."""
    return _decided(values.masked_fill(~marks, 0).sum(1) / marks.sum(1), marks, mask)


def _decided(values: Tensor, marks: Tensor, mask: Tensor) -> Tensor:
    """The values (B,), NaN where nothing or everything is marked."""
    mixed = marks.any(1) & (mask & ~marks).any(1)
    return values.masked_fill(~mixed, torch.nan)


def _top(scores: Tensor, sizes: Tensor, mask: Tensor) -> Tensor:
    """The ``sizes`` (B,) highest ranked units (B, U), no more than a text has."""
    return ranks(scores, mask.sum(1)) < sizes[:, None]


def _spans(chosen: Tensor) -> Tensor:
    """Which units each span of neighbouring ones covers (B, R, U), 0 or 1; all 0 for no span."""
    numbers = number_units(torch.zeros_like(chosen, dtype=torch.long), chosen)
    most = (chosen.shape[1] + 1) // 2
    spans = torch.arange(most, device=chosen.device)[None, :, None] == numbers[:, None]
    return spans.to(PRECISION)
