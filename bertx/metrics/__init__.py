"""Metrics of explanations: faithfulness to the model, plausibility to people, and stability."""

from bertx.metrics.accuracy import AccuracyDrop
from bertx.metrics.agreement import Agreement, Measure, TopKOverlap, agreement, top_k_overlap
from bertx.metrics.aopc import (
    Comprehensiveness,
    LogOdds,
    Sufficiency,
)
from bertx.metrics.base import FaithfulnessMetric, Limit, Ranking, measure_all, target_probabilities
from bertx.metrics.curve_metrics import (
    CurveMetric,
    DeletionCurve,
    FullyPerturbed,
    InsertionCurve,
    with_area,
)
from bertx.metrics.curves import (
    area,
    deletion_masks,
    fractions,
    insertion_masks,
    ranks,
    removal_counts,
)
from bertx.metrics.drift import Drift, drift, shares, stabilized
from bertx.metrics.estimates import Estimate, MeanMetric
from bertx.metrics.infidelity import Infidelity
from bertx.metrics.normalized import (
    NormalizedComprehensiveness,
    NormalizedSufficiency,
)
from bertx.metrics.plausibility import (
    PlausibilityMetric,
    PrecisionAtK,
    RationaleAUPRC,
    RationaleF1,
    RationaleIOU,
    average_precision,
    precision_at_k,
    rationale_f1,
    rationale_iou,
    trapezoid_precision,
)
from bertx.metrics.random_weights import Weights, parts, randomized, redrawn
from bertx.metrics.randomization import (
    Explained,
    Method,
    Randomization,
    Scheme,
    Step,
    cascading,
    correlations,
    embeddings_only,
    explained,
    explained_trace,
    independent,
    randomization,
)
from bertx.metrics.ranking import kendall, spearman
from bertx.metrics.sensitivity import MaxSensitivity
from bertx.metrics.soft import (
    SoftComprehensiveness,
    SoftSufficiency,
)
from bertx.metrics.tau import LeaveOneOutTau
from bertx.models.anatomy import Part

__all__ = [
    "AccuracyDrop",
    "Agreement",
    "Comprehensiveness",
    "CurveMetric",
    "DeletionCurve",
    "Drift",
    "Estimate",
    "Explained",
    "FaithfulnessMetric",
    "FullyPerturbed",
    "Infidelity",
    "InsertionCurve",
    "LeaveOneOutTau",
    "Limit",
    "LogOdds",
    "MaxSensitivity",
    "MeanMetric",
    "Measure",
    "Method",
    "NormalizedComprehensiveness",
    "NormalizedSufficiency",
    "Part",
    "PlausibilityMetric",
    "PrecisionAtK",
    "Randomization",
    "Ranking",
    "RationaleAUPRC",
    "RationaleF1",
    "RationaleIOU",
    "Scheme",
    "SoftComprehensiveness",
    "SoftSufficiency",
    "Step",
    "Sufficiency",
    "TopKOverlap",
    "Weights",
    "agreement",
    "area",
    "average_precision",
    "cascading",
    "correlations",
    "deletion_masks",
    "drift",
    "embeddings_only",
    "explained",
    "explained_trace",
    "fractions",
    "independent",
    "insertion_masks",
    "kendall",
    "measure_all",
    "parts",
    "precision_at_k",
    "randomization",
    "randomized",
    "ranks",
    "rationale_f1",
    "rationale_iou",
    "redrawn",
    "removal_counts",
    "shares",
    "spearman",
    "stabilized",
    "target_probabilities",
    "top_k_overlap",
    "trapezoid_precision",
    "with_area",
]
