"""How much the scores of several models are alike, unit by unit in each text and word by word."""

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
from bertx.statistics.words import WordSums
from bertx.studies.findings import long_rows
from bertx.studies.scores import Draws, Floats, UnitScores

Measure = Literal["Pearson", "Spearman", "Kendall", "top-k", "share"]
MEASURES: tuple[Measure, ...] = ("Pearson", "Spearman", "Kendall", "top-k")

Of = Literal["words", "texts", "texts, same prediction", "predictions"]
WORDS: Of = "words"
TEXTS: Of = "texts"
ALIKE: Of = "texts, same prediction"
"""What is compared: mean scores of words, units of each text, those of texts on which both models
predict the same class."""

_SLOW_DRAWS = 100
"""Draws of Kendall's tau, which takes long; they are enough for a standard deviation."""

_TOGETHER = 64  # texts that are compared at once

Pair = tuple[str, str]
Compare = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Likeness:
    """How much P pairs of models are alike by one method and measure.

    Attributes:
        of: What is compared.
        method: The method.
        measure: The measure.
        pairs: The value of each pair, by the names of its two models, with an interval over texts.
        draws: The same in draws of the bootstrap over texts (P, R).
        mean: The mean over pairs, with its interval.
        mean_draws: The same in draws of the bootstrap (R,).
        texts: Of each pair and text (P, N), for what is compared text by text.
    """

    of: Of
    method: str
    measure: Measure
    pairs: Mapping[Pair, Interval]
    draws: Floats
    mean: Interval
    mean_draws: Floats
    texts: Floats | None = None

    @property
    def values(self) -> Floats:
        """The value of each pair (P,)."""
        return np.asarray([interval.value for interval in self.pairs.values()])


def likeness(
    of: Of,
    method: str,
    measure: Measure,
    values: Floats,
    drawn: Floats,
    draws: Draws,
    texts: Floats | None = None,
) -> Likeness:
    """The values of pairs with intervals: Fisher's where the correlation of many words is one.

    Args:
        of: What is compared.
        method: The method.
        measure: The measure.
        values: Of each pair (P,).
        drawn: The same in draws of the bootstrap over texts (P, R).
        draws: The draws.
        texts: Of each pair and text (P, N).
    """
    interval: Callable[[float, Floats], Interval] = normal_interval
    if measure in ("top-k", "share"):
        interval = partial(normal_interval, lowest=0.0, highest=1.0)
    elif of == WORDS:
        interval = fisher_interval
    # Draws of Kendall's tau are fewer than those of models.
    again = drawn.mean(0)
    if draws.models is not None:
        again = over_pairs(drawn, _pairs(draws.runs), draws.models)
    valid = values[~np.isnan(values)]  # none, where no two models predict alike
    mean = interval(float(valid.mean()) if len(valid) else np.nan, again)
    intervals = map(interval, values.tolist(), drawn)
    pairs = dict(zip(combinations(draws.runs, 2), intervals, strict=True))
    return Likeness(of, method, measure, pairs, drawn, mean, again, texts)


def _pairs(runs: Sequence[str]) -> list[tuple[int, int]]:
    """The numbers of the two models of each pair."""
    return list(combinations(range(len(runs)), 2))


def word_likeness(
    method: str, tables: Sequence[WordSums], draws: Draws, measures: Mapping[Measure, Compare]
) -> list[Likeness]:
    """Compare the mean scores of the words that all models have.

    Args:
        method: The method.
        tables: The scores of the same words, by each model.
        draws: Which texts, and which models, are drawn again.
        measures: How they are compared.
    """
    means = [table.means() for table in tables]
    drawn = [table.drawn_means(texts) for table, texts in zip(tables, draws.texts, strict=True)]
    compared = []
    for measure, compare in measures.items():
        used = slice(_SLOW_DRAWS if measure == "Kendall" else None)
        values = [float(compare(means[i], means[j])) for i, j in _pairs(draws.runs)]
        again = np.full((len(values), len(draws.texts[0])), np.nan)
        for number, (i, j) in enumerate(_pairs(draws.runs)):
            again[number, used] = compare(drawn[i][used], drawn[j][used])
        compared.append(likeness(WORDS, method, measure, np.asarray(values), again, draws))
    return compared


def text_likeness(
    method: str,
    scores: Sequence[UnitScores],
    texts: Sequence[int],
    draws: Draws,
    top: int,
    alike: Floats,
) -> list[Likeness]:
    """Compare the scores of each text's units, and average over texts.

    Args:
        method: The method.
        scores: The scores of each model, of one class a text.
        texts: The numbers of the texts that all have scores of (N,).
        draws: How often each text, and each model, is drawn.
        top: How many of the highest units are compared by ``top-k``.
        alike: On which texts each pair predicts the same class (P, N).

    Returns:
        That of all texts, and that of those with the same prediction.
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
                again = (filled @ drawn.T) / (valid.astype(np.float64) @ drawn.T)
            compared.append(likeness(of, method, measure, means, again, draws, used))
    return compared


def _by_text(
    method: str, scores: Sequence[UnitScores], texts: Sequence[int], top: int
) -> dict[Measure, Floats]:
    """Each measure of each pair and text (P, N)."""
    pairs = list(combinations(range(len(scores)), 2))
    measures = {**all_measures(top), "Kendall": _kendall_of_texts}
    values = {measure: np.full((len(pairs), len(texts)), np.nan) for measure in MEASURES}
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        padded = [_padded(each, method, some) for each in scores]
        for number, (i, j) in enumerate(pairs):
            for measure, compare in measures.items():
                values[measure][number, start : start + len(some)] = compare(padded[i], padded[j])
    return values


def _padded(scores: UnitScores, method: str, texts: Sequence[int]) -> Floats:
    """The scores of some texts, NaN after the last unit of each (N, U)."""
    places = np.searchsorted(scores.texts, texts)
    rows = [scores.scores[method][0, scores.starts[n] : scores.starts[n + 1]] for n in places]
    padded = np.full((len(rows), max(map(len, rows))), np.nan)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def all_measures(top: int) -> Mapping[Measure, Compare]:
    """All measures, top-k overlap of so many."""
    return {
        "Pearson": pearson,
        "Spearman": spearman,
        "Kendall": kendall,
        "top-k": partial(overlap, k=top),
    }


def _kendall_of_texts(a: Floats, b: Floats) -> Floats:
    """Kendall's tau of short rows, all at once."""
    both = torch.from_numpy(~np.isnan(a) & ~np.isnan(b))
    one, other = (torch.from_numpy(np.nan_to_num(x)) for x in (a, b))
    return kendall_of_texts(one, other, both).numpy()


def word_values(
    columns: Sequence[str], runs: Sequence[str], tables: Mapping[str, Sequence[WordSums]]
) -> list[pa.Table]:
    """The mean score of each word by each method and run, as rows of a long table."""
    return [
        long_rows(
            columns, len(table.words), level="word", method=method, run=run, item=table.words,
            value=table.means(), count=table.occurrences.astype(np.int64),
        )
        for method, every in tables.items()
        for run, table in zip(runs, every, strict=True)
    ]  # fmt: skip
