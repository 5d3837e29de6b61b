"""Similarity of the scores of several models, by unit within each text and by word."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from bertx.metrics import kendall as kendall_of_texts
from bertx.statistics.correlations import (
    Interval,
    fisher_interval,
    kendall,
    normal_interval,
    over_pairs,
    overlap,
    pearson,
    spearman,
)
from bertx.statistics.spread import Array
from bertx.statistics.words import WordSums
from bertx.studies.findings import long_rows
from bertx.studies.scores import Draws, UnitScores

Measure = Literal["Pearson", "Spearman", "Kendall", "top-k", "share"]
MEASURES: tuple[Measure, ...] = ("Pearson", "Spearman", "Kendall", "top-k")

Of = Literal["words", "texts", "texts, same prediction", "predictions"]
WORDS: Of = "words"
TEXTS: Of = "texts"
ALIKE: Of = "texts, same prediction"
"""What is compared: mean scores of words, unit scores within each text, and unit scores within the
texts for which both models predict the same class."""

_SLOW_DRAWS = 100
"""The number of draws of Kendall's tau, which is slow; enough for a standard deviation."""

_BATCH = 64  # texts compared at once

Pair = tuple[str, str]
Compare = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Similarity:
    """The similarity of P pairs of models by one method and measure.

    Attributes:
        of: What is compared.
        method: The method.
        measure: The measure.
        pairs: The value of each pair, by the names of its two models, with an interval over texts.
        draws: The values in bootstrap draws of the texts (P, R).
        mean: The mean over pairs, with its interval.
        mean_draws: The mean in draws of the bootstrap (R,).
        texts: The value of each pair and text (P, N); None unless texts are compared one by one.
    """

    of: Of
    method: str
    measure: Measure
    pairs: Mapping[Pair, Interval]
    draws: Array
    mean: Interval
    mean_draws: Array
    texts: Array | None = None

    @property
    def values(self) -> Array:
        """The value of each pair (P,)."""
        return np.asarray([interval.value for interval in self.pairs.values()])


def similarity(
    of: Of,
    method: str,
    measure: Measure,
    values: Array,
    drawn: Array,
    draws: Draws,
    texts: Array | None = None,
) -> Similarity:
    """Add intervals to the values of pairs, Fisher's for correlations of mean scores of words.

    Args:
        of: What is compared.
        method: The method.
        measure: The measure.
        values: The value of each pair (P,).
        drawn: The values in bootstrap draws of the texts (P, R).
        draws: The draws.
        texts: The value of each pair and text (P, N).
    """
    interval: Callable[[float, Array], Interval] = normal_interval
    if measure in ("top-k", "share"):
        interval = partial(normal_interval, lowest=0.0, highest=1.0)
    elif of == WORDS:
        interval = fisher_interval
    mean_draws = drawn.mean(0)
    if draws.models is not None:
        mean_draws = over_pairs(drawn, _pairs(draws.runs), draws.models)
    valid = values[~np.isnan(values)]  # empty if no two models predict the same class
    mean = interval(float(valid.mean()) if len(valid) else np.nan, mean_draws)
    intervals = map(interval, values.tolist(), drawn)
    pairs = dict(zip(combinations(draws.runs, 2), intervals, strict=True))
    return Similarity(of, method, measure, pairs, drawn, mean, mean_draws, texts)


def _pairs(runs: Sequence[str]) -> list[tuple[int, int]]:
    """Return the indices of the two models of each pair."""
    return list(combinations(range(len(runs)), 2))


def word_similarity(
    method: str, tables: Sequence[WordSums], draws: Draws, measures: Mapping[Measure, Compare]
) -> list[Similarity]:
    """Compare the mean scores of words between models.

    Args:
        method: The method.
        tables: The scores of the same words by each model.
        draws: The draws of texts and models.
        measures: The measures.
    """
    means = [table.means() for table in tables]
    drawn = [table.drawn_means(texts) for table, texts in zip(tables, draws.texts, strict=True)]
    compared = []
    for measure, compare in measures.items():
        used = slice(_SLOW_DRAWS if measure == "Kendall" else None)
        values = [float(compare(means[i], means[j])) for i, j in _pairs(draws.runs)]
        drawn_values = np.full((len(values), len(draws.texts[0])), np.nan)
        for number, (i, j) in enumerate(_pairs(draws.runs)):
            drawn_values[number, used] = compare(drawn[i][used], drawn[j][used])
        compared.append(similarity(WORDS, method, measure, np.asarray(values), drawn_values, draws))
    return compared


def text_similarity(
    method: str,
    scores: Sequence[UnitScores],
    texts: Sequence[int],
    draws: Draws,
    top: int,
    alike: Array,
) -> list[Similarity]:
    """Compare the unit scores of each text between models, and average over texts.

    Args:
        method: The method.
        scores: The scores of each model, for one class of each text.
        texts: The numbers of the texts that all models have scores for (N,).
        draws: The draws of texts and models.
        top: The number of highest units that ``top-k`` compares.
        alike: 1 for texts for which both models of a pair predict the same class, else 0 (P, N).

    Returns:
        The similarity over all texts, and over the texts with the same prediction.
    """
    values = _by_text(method, scores, texts, top)
    drawn = draws.texts[0][:, list(texts)]
    compared = []
    for of, counts in ((TEXTS, np.ones_like(alike)), (ALIKE, alike)):
        for measure, each in values.items():
            used = np.where(counts > 0, each, np.nan)
            valid = ~np.isnan(used)
            filled = np.where(valid, used, 0.0)
            with np.errstate(invalid="ignore"):
                means = filled.sum(1) / valid.sum(1)
                drawn_means = (filled @ drawn.T) / (valid.astype(np.float64) @ drawn.T)
            compared.append(similarity(of, method, measure, means, drawn_means, draws, used))
    return compared


def _by_text(
    method: str, scores: Sequence[UnitScores], texts: Sequence[int], top: int
) -> dict[Measure, Array]:
    """Return the value of each pair and text (P, N), by measure."""
    pairs = list(combinations(range(len(scores)), 2))
    measures = {**all_measures(top), "Kendall": _kendall_of_texts}
    values = {measure: np.full((len(pairs), len(texts)), np.nan) for measure in MEASURES}
    for start in range(0, len(texts), _BATCH):
        batch = slice(start, start + _BATCH)
        padded = [_padded(each, method, texts[batch]) for each in scores]
        for number, (i, j) in enumerate(pairs):
            for measure, compare in measures.items():
                values[measure][number, batch] = compare(padded[i], padded[j])
    return values


def _padded(scores: UnitScores, method: str, texts: Sequence[int]) -> Array:
    """Return the scores of texts (N, U), NaN after the last unit of each."""
    rows = [
        scores.scores[method][0, scores.starts[row] : scores.starts[row + 1]]
        for row in np.searchsorted(scores.texts, texts)
    ]
    padded = np.full((len(rows), max(map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def all_measures(top: int) -> Mapping[Measure, Compare]:
    """Return all measures, with the overlap of the ``top`` highest as ``top-k``."""
    return {
        "Pearson": pearson,
        "Spearman": spearman,
        "Kendall": kendall,
        "top-k": partial(overlap, k=top),
    }


def _kendall_of_texts(a: Array, b: Array) -> Array:
    """Return Kendall's tau of each row, all rows at once."""
    valid = torch.from_numpy(~np.isnan(a) & ~np.isnan(b))
    first, second = (torch.from_numpy(np.nan_to_num(x)) for x in (a, b))
    return kendall_of_texts(first, second, valid).numpy()


def word_values(
    columns: Sequence[str], runs: Sequence[str], tables: Mapping[str, Sequence[WordSums]]
) -> list[pa.Table]:
    """Return the mean score of each word by each method and run, as rows of a long table."""
    return [
        long_rows(
            columns, len(table.words), level="word", method=method, run=run, item=table.words,
            value=table.means(), count=table.occurrences.astype(np.int64),
        )
        for method, of_method in tables.items()
        for run, table in zip(runs, of_method, strict=True)
    ]  # fmt: skip
