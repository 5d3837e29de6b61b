"""Whether explanations stay: between methods and seeds, between epochs, and on random models."""

from bertx.anatomy import Part
from bertx.faithfulness.ranking import kendall, spearman
from bertx.stability.agreement import Agreement, Measure, TopKOverlap, agreement, top_k_overlap
from bertx.stability.drift import Drift, drift, shares, stabilised
from bertx.stability.randomisation import (
    Explained,
    Method,
    Randomisation,
    Scheme,
    Step,
    cascading,
    correlations,
    embeddings_only,
    explained,
    explained_trace,
    independent,
    randomisation,
)
from bertx.stability.weights import Weights, parts, randomised, redrawn

__all__ = [
    "Agreement",
    "Drift",
    "Explained",
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
    "correlations",
    "drift",
    "embeddings_only",
    "explained",
    "explained_trace",
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
