"""How faithful a ranking of words is to the model: curves as pure functions, and their metrics."""

from bertx.faithfulness.curves import (
    area,
    curves,
    deletion_curve,
    deletion_masks,
    fractions,
    insertion_curve,
    insertion_masks,
    ranks,
    removal_counts,
)
from bertx.faithfulness.metrics import (
    Z95,
    CurveEstimate,
    DeletionCurve,
    Difference,
    InsertionCurve,
    PairedDifference,
)

__all__ = [
    "Z95",
    "CurveEstimate",
    "DeletionCurve",
    "Difference",
    "InsertionCurve",
    "PairedDifference",
    "area",
    "curves",
    "deletion_curve",
    "deletion_masks",
    "fractions",
    "insertion_curve",
    "insertion_masks",
    "ranks",
    "removal_counts",
]
