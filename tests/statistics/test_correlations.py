"""Correlations of many rows at once, against scipy row by row, and their intervals."""

import numpy as np
import pytest
from scipy import stats

from bertx.errors import InputError
from bertx.statistics.correlations import (
    auc,
    fisher_interval,
    kendall,
    normal_interval,
    over_pairs,
    overlap,
    pearson,
    spearman,
)

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def rows(seed=0, shape=(6, 30), ties=False, gaps=True):
    """Pairs of correlated rows, with ties and missing values."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape)
    b = a + rng.normal(size=shape)
    if ties:
        a, b = a.round(), b.round()
    if gaps:
        a[rng.random(shape) < 0.1], b[rng.random(shape) < 0.1] = np.nan, np.nan
    return a, b


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "ours, theirs",
    [(pearson, stats.pearsonr), (spearman, stats.spearmanr), (kendall, stats.kendalltau)],
)
def test_each_row_equals_scipy(ours, theirs, ties):
    a, b = rows(ties=ties)
    for x, y, result in zip(a, b, ours(a, b), strict=True):
        known = ~np.isnan(x) & ~np.isnan(y)
        np.testing.assert_allclose(result, theirs(x[known], y[known]).statistic, **CLOSE)


def test_scale_and_offset_of_scores_do_not_matter():
    a, b = rows(gaps=False)
    np.testing.assert_allclose(pearson(a * 1e-200, b * 1e200), pearson(a, b), **CLOSE)
    np.testing.assert_allclose(pearson(a + 1e6, b), pearson(a, b), atol=1e-8)


@pytest.mark.parametrize("measure", [pearson, spearman, kendall])
def test_what_is_constant_or_too_short_has_no_correlation(measure):
    same, other = np.full((1, 4), 0.1), np.arange(4.0)[None]
    assert np.isnan(measure(same, other)) and np.isnan(measure(other, same))
    assert np.isnan(measure(np.array([[1.0, np.nan]]), np.array([[np.nan, 1.0]])))


def test_overlap_counts_the_common_top_values():
    a, b = rows()
    for x, y, result in zip(a, b, overlap(a, b, 4), strict=True):
        known = np.flatnonzero(~np.isnan(x) & ~np.isnan(y))
        top = [set(known[np.argsort(-z[known], kind="stable")[:4]]) for z in (x, y)]
        assert result == len(top[0] & top[1]) / 4
    assert np.isnan(overlap(np.arange(4.0), np.arange(4.0), 4))
    with pytest.raises(InputError, match="k must be a whole number"):
        overlap(a, b, 0)


def test_auc_is_the_share_of_pairs_in_order():
    scores, _ = rows(ties=True)
    positive = np.arange(30) % 3 == 0
    for row, result in zip(scores, auc(scores, positive), strict=True):
        known = ~np.isnan(row)
        test = stats.mannwhitneyu(row[known & positive], row[known & ~positive])
        sizes = (known & positive).sum() * (known & ~positive).sum()
        np.testing.assert_allclose(result, test.statistic / sizes, **CLOSE)
    assert np.isnan(auc(scores[0], np.zeros(30, dtype=bool)))


def test_intervals_by_hand():
    draws = np.tanh(np.array([0.4, 0.6, 0.8, np.nan]))
    result = fisher_interval(np.tanh(0.5), draws)
    reach = 1.959963984540054 * np.std([0.4, 0.6, 0.8], ddof=1)
    np.testing.assert_allclose(result, np.tanh([0.5, 0.5 - reach, 0.5 + reach]), **CLOSE)
    assert fisher_interval(1.0, [1.0, 1.0]).high == 1.0
    plain = normal_interval(0.9, [0.5, 0.7], 0.0, 1.0)
    assert plain.high == 1.0 and plain.low == pytest.approx(0.9 - 1.96 * np.sqrt(0.02), abs=1e-3)


def test_the_interval_of_a_correlation_has_its_level():
    """About 95 % of the intervals of 60 samples of 80 pairs contain the true correlation."""
    rng, inside, true = np.random.default_rng(0), 0, 0.6
    for _ in range(60):
        a = rng.normal(size=80)
        b = true * a + np.sqrt(1 - true**2) * rng.normal(size=80)
        places = rng.integers(80, size=(200, 80))
        result = fisher_interval(float(pearson(a, b)), pearson(a[places], b[places]))
        inside += result.low <= true <= result.high
    assert 52 <= inside <= 60


def test_pairs_are_weighted_by_the_models_that_are_drawn():
    values = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, np.nan], [0.9, 1.0, 1.1]])
    seeds = np.array([[1, 1, 1], [2, 1, 0], [1, 1, 1]])
    result = over_pairs(values, [(0, 1), (0, 2), (1, 2)], seeds)
    np.testing.assert_allclose(result, [0.5, 0.2, 0.7], **CLOSE)
    assert np.isnan(over_pairs(values[:1], [(0, 1)], np.array([[2, 0]] * 3))).all()
