"""Agreement of explanations against loops over single texts and pairs."""

import math
import pickle

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from bertx.errors import InputError
from bertx.metrics import (
    Agreement,
    TopKOverlap,
    agreement,
    kendall,
    spearman,
    top_k_overlap,
)
from tests.ranks import synced

NAMES = ("a", "b", "c", "d")
LENGTHS = (1, 2, 3, 9, 4, 1, 7, 5, 6, 9, 8, 3, 2)
RAGGED = (1, 4, 2, 6)
MEASURES = [spearman, kendall, TopKOverlap(1), TopKOverlap(3)]


def explanations(seed=0):
    """Scores (M, B, U) with ties, a constant explanation, and wrong scores beyond the units."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-4, 5, (len(NAMES), len(LENGTHS), max(LENGTHS)), generator=generator)
    scores = scores.double()
    scores[3, 4] = 0.5
    own = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    beyond = torch.randn(scores.shape, generator=generator, dtype=torch.float64) * 100
    return torch.where(own, scores, beyond), own


def mean_ranks(values):
    return [
        sum(v < w for v in values) + (sum(v == w for v in values) - 1) / 2 for w in values
    ]  # fmt: skip


def pearson(a, b):
    a, b = np.array(a) - np.mean(a), np.array(b) - np.mean(b)
    size = math.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size else math.nan


def slow_spearman(a, b):
    return pearson(mean_ranks(a), mean_ranks(b))


def slow_kendall(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    signs = [[np.sign(x[i] - x[j]) for i, j in pairs] for x in (a, b)]
    size = math.sqrt(sum(s * s for s in signs[0]) * sum(s * s for s in signs[1]))
    return sum(s * t for s, t in zip(*signs, strict=True)) / size if size else math.nan


def slow_overlap(k):
    def value(a, b):
        if len(a) <= k:
            return math.nan
        tops = [set(sorted(range(len(x)), key=lambda u: (-x[u], u))[:k]) for x in (a, b)]
        return len(tops[0] & tops[1]) / k

    return value


SLOW = [slow_spearman, slow_kendall, slow_overlap(1), slow_overlap(3)]


def expected(scores, slow):
    """(B, M, M) in a loop."""
    rows = [[row[:n] for row, n in zip(own.tolist(), LENGTHS, strict=True)] for own in scores]
    return np.array(
        [[[slow(a[b], c[b]) for c in rows] for a in rows] for b in range(len(LENGTHS))]
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("measure", "slow"), list(zip(MEASURES, SLOW, strict=True)))
def test_a_loop_over_texts_and_pairs_gives_the_same(measure, slow, seed):
    scores, own = explanations(seed)
    values = agreement(scores, own, measure)
    assert values.dtype == torch.float64
    assert np.allclose(values, expected(scores, slow), rtol=0, atol=1e-12, equal_nan=True)
    assert np.isfinite(expected(scores, slow)).sum() > 100


def test_limits():
    scores, own = torch.arange(12.0).reshape(1, 12), torch.ones(1, 12, dtype=torch.bool)
    for measure, opposite in zip(MEASURES, (-1, -1, 0, 0), strict=True):
        assert float(measure(scores, scores * 3 - 7, own)) == pytest.approx(1, abs=1e-12)
        assert float(measure(scores, -scores, own)) == pytest.approx(opposite, abs=1e-12)
        noise = torch.rand(2, 4000, 12)
        chance = float(measure(*noise, own.expand(4000, 12)).mean())
        share = getattr(measure, "k", 0) / 12
        assert chance == pytest.approx(share, abs=0.03)
    assert top_k_overlap(scores, -scores, own, 11) == pytest.approx(10 / 11)
    assert top_k_overlap(scores, -scores, own, 12).isnan()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_text_with_a_score_that_is_not_finite_has_no_value(measure):
    scores, own = explanations()
    clean = agreement(scores, own, measure)
    scores[1, 3, 2], scores[2, 9, 0] = torch.nan, -torch.inf
    scores[0, 2, 5] = torch.nan  # beyond the three units of this text
    result = agreement(scores, own, measure)
    touched = torch.zeros_like(result, dtype=torch.bool)
    touched[3, 1] = touched[3, :, 1] = touched[9, 2] = touched[9, :, 2] = True
    assert result[touched].isnan().all()
    assert torch.equal(result[~touched].nan_to_num(9), clean[~touched].nan_to_num(9))


@pytest.mark.parametrize(("measure", "slow"), list(zip(MEASURES, SLOW, strict=True)))
def test_ragged_batches_equal_all_texts_at_once(measure, slow):
    scores, own = explanations()
    metric = Agreement(NAMES, measure)
    for part, units in zip(scores.split(RAGGED, 1), own.split(RAGGED), strict=True):
        width = int(units.sum(1).max())
        metric.update(part[..., :width], units[:, :width])
    mean, se, counts = metric.compute()
    values = expected(scores, slow)
    number = np.isfinite(values).sum(0)
    assert mean.shape == se.shape == counts.shape == (4, 4)
    assert np.array_equal(counts, number)
    assert np.allclose(mean, np.nanmean(values, 0), rtol=0, atol=1e-12)
    spread = np.nanstd(values, 0, ddof=1) / np.sqrt(number)
    assert np.allclose(se, spread, rtol=0, atol=1e-7) and spread.max() > 0.01


def test_pickle_clone_reset_and_inference_mode():
    scores, own = explanations()
    metric = Agreement(NAMES, TopKOverlap(2))
    metric.update(scores[:, :5], own[:5])
    whole = Agreement(NAMES, TopKOverlap(2))
    whole.update(scores, own)
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        with torch.inference_mode():
            copy.update(scores[:, 5:], own[5:])
        assert torch.allclose(copy.compute().mean, whole.compute().mean, rtol=0, atol=1e-12)
        assert copy.names == NAMES and copy.measure == TopKOverlap(2)
    whole.reset()
    whole.update(scores[:, :5], own[:5])
    assert torch.equal(whole.compute().mean, metric.compute().mean)


def test_two_measures_in_a_collection():
    scores, own = explanations()
    longer = own.sum(1) > 2
    scores, own = scores[:, longer], own[longer]
    metrics = {"one": Agreement(NAMES, TopKOverlap(1)), "two": Agreement(NAMES, TopKOverlap(2))}
    collection = MetricCollection(metrics, compute_groups=False)
    same = scores[:1].expand(4, -1, -1)
    collection.update(same, own)  # equal states, which is when groups are formed
    collection.update(scores, own)
    result = collection.compute()
    for name, metric in metrics.items():
        alone = Agreement(NAMES, metric.measure)
        alone.update(same, own)
        alone.update(scores, own)
        assert torch.equal(result[name].mean, alone.compute().mean)


def test_what_is_refused():
    scores, own = explanations()
    metric = Agreement(NAMES, spearman)
    for wrong in ((scores[:3], own), (scores, own[:4]), (scores[0], own), (scores, own[:, :4])):
        with pytest.raises(InputError, match=r"M = 4 for a, b, c, d.*got \("):
            metric.update(*wrong)
    for names in ([], ["a"], ["a", "b", "a"]):
        with pytest.raises(InputError, match="two names or more"):
            Agreement(names, spearman)
    for k in (0, -2):
        with pytest.raises(InputError, match="at least 1"):
            TopKOverlap(k)(scores[0], scores[1], own)
    assert metric.higher_is_better is None


def test_two_ranks_equal_one():
    scores, own = explanations()
    metrics = [Agreement(NAMES, kendall) for _ in range(3)]
    for metric, rows in zip(metrics, (slice(4), slice(4, None), slice(None)), strict=True):
        metric.update(scores[:, rows], own[rows])
    first, second, whole = metrics
    for result, expected in zip(synced(first, second), whole.compute(), strict=True):
        assert torch.allclose(result, expected, rtol=0, atol=1e-12)
