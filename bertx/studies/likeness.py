"""How much the scores of several models are alike, unit by unit in each text and word by word."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np
import torch

from bertx.metrics import kendall as kendall_of_texts
from bertx.statistics.correlations import kendall, overlap, pearson, spearman
from bertx.statistics.words import WordSums
from bertx.studies.scores import Floats, UnitScores

Measure = Literal["Pearson", "Spearman", "Kendall", "top-k"]
MEASURES: tuple[Measure, ...] = ("Pearson", "Spearman", "Kendall", "top-k")

_SLOW_DRAWS = 100
"""Draws of Kendall's tau, which takes long; they are enough for a standard deviation."""

_TOGETHER = 64  # texts that are compared at once

Pair = tuple[int, int]


@dataclass(frozen=True)
class Likeness:
    """What one measure says of P pairs of models.

    Attributes:
        method: The method.
        measure: The measure.
        values: Of each pair (P,).
        draws: The same in draws of the bootstrap over texts (P, R).
        texts: Of each pair and text (P, N), for what is compared text by text.
    """

    method: str
    measure: Measure
    values: Floats
    draws: Floats
    texts: Floats | None = None


def pairs_of(count: int) -> list[Pair]:
    """The pairs of so many models."""
    return list(combinations(range(count), 2))


def word_likeness(
    method: str, tables: Sequence[WordSums], draws: Sequence[Floats], top: int
) -> list[Likeness]:
    """Compare the mean scores of the words that all models have.

    Args:
        method: The method.
        tables: The scores of the same words, by each model.
        draws: Which texts are drawn again, for each model.
        top: How many of the highest words are compared by ``top-k``.
    """
    means = [table.means() for table in tables]
    drawn = [table.drawn_means(own) for table, own in zip(tables, draws, strict=True)]
    found = []
    for measure, compare in _measures(top).items():
        used = slice(_SLOW_DRAWS if measure == "Kendall" else None)
        values = [float(compare(means[i], means[j])) for i, j in pairs_of(len(tables))]
        again = np.full((len(values), len(draws[0])), np.nan)
        for number, (i, j) in enumerate(pairs_of(len(tables))):
            again[number, used] = compare(drawn[i][used], drawn[j][used])
        found.append(Likeness(method, measure, np.asarray(values), again))
    return found


def text_likeness(
    method: str,
    found: Sequence[UnitScores],
    texts: Sequence[int],
    draws: Floats,
    top: int,
    kept: Floats | None = None,
) -> list[Likeness]:
    """Compare the scores of each text's units; what counts is the mean over texts.

    Args:
        method: The method.
        found: The scores of each model, of one class a text.
        texts: The numbers of the texts that all have scores of (N,).
        draws: How often each text of the subject is drawn (R, all of them).
        top: How many of the highest units are compared by ``top-k``.
        kept: Which texts count for which pair (P, N); None for all.
    """
    values = _by_text(method, found, texts, top)
    own = draws[:, list(texts)]
    results = []
    for measure, each in values.items():
        used = each if kept is None else np.where(kept > 0, each, np.nan)
        known = ~np.isnan(used)
        filled = np.where(known, used, 0.0)
        with np.errstate(invalid="ignore"):
            means = filled.sum(1) / known.sum(1)
            again = (filled @ own.T) / (known.astype(np.float64) @ own.T)
        results.append(Likeness(method, measure, means, again, used))
    return results


def _by_text(
    method: str, found: Sequence[UnitScores], texts: Sequence[int], top: int
) -> dict[Measure, Floats]:
    """Each measure of each pair and text (P, N)."""
    pairs = pairs_of(len(found))
    measures = {**_measures(top), "Kendall": _kendall_of_texts}
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


def _measures(top: int) -> Mapping[Measure, Callable[[Floats, Floats], Floats]]:
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
