"""How faithful a ranking of words is to the model: pure functions, and their metrics."""

from bertx.faithfulness.accuracy import AccuracyDrop, accuracy_drop
from bertx.faithfulness.aopc import (
    Comprehensiveness,
    LogOdds,
    Sufficiency,
    comprehensiveness,
    log_odds,
    sufficiency,
)
from bertx.faithfulness.base import Case, FaithfulnessMetric, Limit, Panel, followed, judge
from bertx.faithfulness.curves import (
    area,
    curves,
    deletion_curve,
    deletion_masks,
    fractions,
    insertion_curve,
    insertion_masks,
    probabilities,
    ranks,
    removal_counts,
)
from bertx.faithfulness.estimates import Z95, Difference, Estimate, MeanMetric, PairedDifference
from bertx.faithfulness.infidelity import Infidelity, infidelity
from bertx.faithfulness.metrics import (
    CurveMetric,
    DeletionCurve,
    FullyPerturbed,
    InsertionCurve,
    with_area,
)
from bertx.faithfulness.normalized import (
    NormalizedComprehensiveness,
    NormalizedSufficiency,
    normalized_comprehensiveness,
    normalized_sufficiency,
)
from bertx.faithfulness.ranking import kendall, spearman
from bertx.faithfulness.sensitivity import MaxSensitivity, max_sensitivity
from bertx.faithfulness.soft import (
    SoftComprehensiveness,
    SoftSufficiency,
    soft_comprehensiveness,
    soft_sufficiency,
)
from bertx.faithfulness.tau import LeaveOneOutTau, leave_one_out_tau

__all__ = [
    "Z95",
    "AccuracyDrop",
    "Case",
    "Comprehensiveness",
    "CurveMetric",
    "DeletionCurve",
    "Difference",
    "Estimate",
    "FaithfulnessMetric",
    "FullyPerturbed",
    "Infidelity",
    "InsertionCurve",
    "LeaveOneOutTau",
    "Limit",
    "LogOdds",
    "MaxSensitivity",
    "MeanMetric",
    "NormalizedComprehensiveness",
    "NormalizedSufficiency",
    "PairedDifference",
    "Panel",
    "SoftComprehensiveness",
    "SoftSufficiency",
    "Sufficiency",
    "accuracy_drop",
    "area",
    "comprehensiveness",
    "curves",
    "deletion_curve",
    "deletion_masks",
    "followed",
    "fractions",
    "infidelity",
    "insertion_curve",
    "insertion_masks",
    "judge",
    "kendall",
    "leave_one_out_tau",
    "log_odds",
    "max_sensitivity",
    "normalized_comprehensiveness",
    "normalized_sufficiency",
    "probabilities",
    "ranks",
    "removal_counts",
    "soft_comprehensiveness",
    "soft_sufficiency",
    "spearman",
    "sufficiency",
    "with_area",
]
