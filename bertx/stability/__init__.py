"""Whether explanations stay: between methods and seeds, between epochs, and on random models."""

from bertx.anatomy import Part
from bertx.faithfulness.ranking import kendall, spearman
from bertx.stability.agreement import Agreement, Measure, TopKOverlap, agreement, top_k_overlap
from bertx.stability.drift import Drift, drift, shares, stabilised
from bertx.stability.randomisation import (
    Method,
    Randomisation,
    Scheme,
    Step,
    cascading,
    embeddings_only,
    independent,
    randomisation,
)
from bertx.stability.weights import Weights, parts, randomised, redrawn

__all__ = [
    "Agreement",
    "Drift",
    "Measure",
    "Method",
    "Part",
    "Randomisation",
    "Scheme",
    "Step",
    "TopKOverlap",
    "Weights",
    "agreement",
    "cascading",
    "drift",
    "embeddings_only",
    "independent",
    "kendall",
    "parts",
    "randomisation",
    "randomised",
    "redrawn",
    "shares",
    "spearman",
    "stabilised",
    "top_k_overlap",
]
