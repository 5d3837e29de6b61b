"""The claims and results of arXiv 2101.00196, for comparison with the studies' results.

Methods are named after the classes of `bertx.attribution` that compute them.
"""

from collections.abc import Mapping

GS, GI, LRP, LAT = (
    "GradientSensitivity", "GradientXInput", "LRP", "LayerwiseAttentionTracing",
)  # fmt: skip
METHODS = (GS, GI, LRP, LAT)

TOP_WORDS: Mapping[str, Mapping[str, float]] = {
    GS: {"fails": 0.906, "worst": 0.832, "refreshing": 0.820},
    GI: {"fails": 0.921},
    LRP: {"worse": 1.000, "lacks": 0.985},
    LAT: {".": 0.977, "?": 0.842},
}
"""Mean normalized scores of some of the highest ranked word pieces on SST-5."""

SEEDS: Mapping[str, float] = {GS: 0.912, GI: 0.912, LRP: 0.886, LAT: 0.853}
"""Pearson's r of mean scores of word pieces of two models on SST-5 that differ in their seed."""

SEED_ACCURACIES = (0.573, 0.569)
"""Test accuracies of these two models."""

ACCURACIES: Mapping[str, float] = {"sst5": 0.573, "semeval": 0.735, "imdb": 0.885, "yelp5": 0.632}
"""Test accuracies of the paper's models, each selected on the test set."""

FINDS_WORDS = "GS, GI and LRP find words that matter, LAT does not: it finds punctuation."
CONSISTENT = "The methods are consistent over seeds: GS = GI > LRP > LAT."
TRANSFERS = "Mean word scores transfer between data sets of the same kind."

BREAKS = "Deleting the few word pieces that GS, GI or LRP rank highest changes correct predictions."
RANDOM_BREAKS_LESS = "Deleting random word pieces changes far fewer correct predictions."

RANDOM = "Random"

DELETION: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "sst5": {
        RANDOM: (0.93, 0.39), GS: (0.72, 0.24), GI: (0.71, 0.23), LRP: (0.72, 0.25),
        LAT: (0.96, 0.35),
    },
    "semeval": {
        RANDOM: (0.96, 0.66), GS: (0.83, 0.51), GI: (0.84, 0.51), LRP: (0.84, 0.50),
        LAT: (0.97, 0.63),
    },
    "imdb": {
        RANDOM: (0.99, 0.95), GS: (0.97, 0.87), GI: (0.97, 0.87), LRP: (0.96, 0.87),
        LAT: (0.99, 0.94),
    },
    "yelp5": {
        RANDOM: (0.98, 0.83), GS: (0.87, 0.64), GI: (0.88, 0.66), LRP: (0.91, 0.68),
        LAT: (0.99, 0.83),
    },
}  # fmt: skip
"""Accuracy on texts initially classified correctly, after deleting `DELETED` word pieces, by data
set and method."""

DELETED = (1, 10)
"""The numbers of deleted word pieces for which accuracies are published."""
