"""How much the scores of several models are alike, unit by unit in each text and word by word."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal, get_args

import numpy as np
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
from bertx.studies.scores import Floats, UnitScores

Measure = Literal["Pearson", "Spearman", "Kendall", "top-k"]
MEASURES: tuple[Measure, ...] = get_args(Measure)

Of = Literal["words", "texts", "texts, same prediction"]
WORDS: Of = "words"
TEXTS: Of = "texts"
ALIKE: Of = "texts, same prediction"
"""What is compared: mean scores of words, units of each text, those of texts on which both models
predict the same class."""

_SLOW_DRAWS = 100
"""Draws of Kendall's tau, which takes long; they are enough for a standard deviation."""

_TOGETHER = 64  # texts that are compared at once

Pair = tuple[int, int]
Compare = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Likeness:
    """How much P pairs of models are alike by one method and measure.

    Attributes:
        of: What is compared.
        method: The method.
        measure: The measure.
        pairs: What each pair comes to with its interval, over texts (P,).
        draws: The same in draws of the bootstrap over texts (P, R).
        mean: The mean over pairs, with its interval.
        mean_draws: The same in draws of the bootstrap (R,).
        texts: Of each pair and text (P, N), for what is compared text by text.
    """

    of: Of
    method: str
    measure: Measure
    pairs: tuple[Interval, ...]
    draws: Floats
    mean: Interval
    mean_draws: Floats
    texts: Floats | None = None

    @property
    def values(self) -> Floats:
        """What each pair comes to (P,)."""
        return np.asarray([own.value for own in self.pairs])


def likeness(
    of: Of,
    method: str,
    measure: Measure,
    values: Floats,
    draws: Floats,
    models: Floats | None = None,
    texts: Floats | None = None,
) -> Likeness:
    """The values of pairs with intervals: Fisher's where the correlation of many words is one.

    Args:
        of: What is compared.
        method: The method.
        measure: The measure.
        values: Of each pair (P,).
        draws: The same in draws of the bootstrap over texts (P, R).
        models: How often each model is drawn in each draw (R, S); None if the mean's interval is
            over texts alone.
        texts: Of each pair and text (P, N).
    """
    interval: Callable[[float, Floats], Interval] = normal_interval
    if measure == "top-k":
        interval = partial(normal_interval, lowest=0.0, highest=1.0)
    elif of == WORDS:
        interval = fisher_interval
    # Draws of Kendall's tau are fewer than those of models.
    again = draws.mean(0)
    if models is not None:
        again = over_pairs(draws, pairs_of(models.shape[1]), models)
    known = values[~np.isnan(values)]  # none, where no two models predict alike
    mean = float(known.mean()) if len(known) else np.nan
    pairs = tuple(interval(float(v), own) for v, own in zip(values, draws, strict=True))
    return Likeness(of, method, measure, pairs, draws, interval(mean, again), again, texts)


def pairs_of(count: int) -> list[Pair]:
    """The pairs of so many models."""
    return list(combinations(range(count), 2))


def word_likeness(
    method: str,
    tables: Sequence[WordSums],
    draws: Sequence[Floats],
    measures: Mapping[Measure, Compare],
    models: Floats | None = None,
) -> list[Likeness]:
    """Compare the mean scores of the words that all models have.

    Args:
        method: The method.
        tables: The scores of the same words, by each model.
        draws: Which texts are drawn again, for each model.
        measures: How they are compared.
        models: How often each model is drawn, as for `likeness`.
    """
    means = [table.means() for table in tables]
    drawn = [table.drawn_means(own) for table, own in zip(tables, draws, strict=True)]
    found = []
    for measure, compare in measures.items():
        used = slice(_SLOW_DRAWS if measure == "Kendall" else None)
        values = [float(compare(means[i], means[j])) for i, j in pairs_of(len(tables))]
        again = np.full((len(values), len(draws[0])), np.nan)
        for number, (i, j) in enumerate(pairs_of(len(tables))):
            again[number, used] = compare(drawn[i][used], drawn[j][used])
        found.append(likeness(WORDS, method, measure, np.asarray(values), again, models))
    return found


def text_likeness(
    method: str,
    found: Sequence[UnitScores],
    texts: Sequence[int],
    drawn: tuple[Floats, Floats],
    top: int,
    kept: Floats,
) -> list[Likeness]:
    """Compare the scores of each text's units; what counts is the mean over texts.

    Args:
        method: The method.
        found: The scores of each model, of one class a text.
        texts: The numbers of the texts that all have scores of (N,).
        drawn: How often each text of the subject is drawn (R, all of them), and each model (R, S).
        top: How many of the highest units are compared by ``top-k``.
        kept: Which texts count for which pair (P, N) where only those of one prediction do.

    Returns:
        That of all texts, and that of those that are kept.
    """
    values = _by_text(method, found, texts, top)
    draws, models = drawn
    own = draws[:, list(texts)]
    results = []
    for of, counts in ((TEXTS, np.ones_like(kept)), (ALIKE, kept)):
        for measure, each in values.items():
            used = np.where(counts > 0, each, np.nan)
            known = ~np.isnan(used)
            filled = np.where(known, used, 0.0)
            with np.errstate(invalid="ignore"):
                means = filled.sum(1) / known.sum(1)
                again = (filled @ own.T) / (known.astype(np.float64) @ own.T)
            results.append(likeness(of, method, measure, means, again, models, used))
    return results


def _by_text(
    method: str, found: Sequence[UnitScores], texts: Sequence[int], top: int
) -> dict[Measure, Floats]:
    """Each measure of each pair and text (P, N)."""
    pairs = pairs_of(len(found))
    measures = {**all_measures(top), "Kendall": _kendall_of_texts}
    values = {measure: np.full((len(pairs), len(texts)), np.nan) for measure in MEASURES}
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        padded = [_padded(one, method, some) for one in found]
        for number, (i, j) in enumerate(pairs):
            for measure, compare in measures.items():
                values[measure][number, start : start + len(some)] = compare(padded[i], padded[j])
    return values


def _padded(found: UnitScores, method: str, texts: Sequence[int]) -> Floats:
    """The scores of some texts, NaN after the last unit of each (N, U)."""
    places = np.searchsorted(found.texts, texts)
    rows = [found.scores[method][0, found.starts[n] : found.starts[n + 1]] for n in places]
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
    own = torch.from_numpy(~np.isnan(a) & ~np.isnan(b))
    one, other = (torch.from_numpy(np.nan_to_num(x)) for x in (a, b))
    return kendall_of_texts(one, other, own).numpy()
