"""Explanation drift and its stabilization point against loops and limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertx.errors import InputError
from bertx.metrics import Drift, drift, shares, spearman, stabilized

LENGTHS = (4, 1, 7, 2)
OWN = torch.arange(7) < torch.tensor(LENGTHS)[:, None]


def two_epochs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    before, after = torch.randn(2, len(LENGTHS), 7, generator=generator, dtype=torch.float64)
    return before, after


def slow_drift(a, b):
    a, b = ([s / sum(map(abs, row)) for s in row] for row in (a, b))
    return sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 2


@pytest.mark.parametrize("seed", range(5))
def test_a_loop_over_single_texts_gives_the_same(seed):
    before, after = two_epochs(seed)
    result = drift(before, after, OWN)
    for b, n in enumerate(LENGTHS):
        expected = slow_drift(before[b, :n].tolist(), after[b, :n].tolist())
        assert float(result[b]) == pytest.approx(expected, abs=1e-12)
        size = sum(map(abs, before[b, :n].tolist()))
        known = [s / size for s in before[b, :n].tolist()] + [0.0] * (7 - n)
        assert shares(before, OWN)[b].tolist() == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_limits(seed):
    scores, _ = two_epochs(seed)
    assert torch.equal(drift(scores, scores, OWN), torch.zeros(4).double())
    assert torch.allclose(drift(scores, 2.5 * scores, OWN), torch.zeros(4).double(), atol=1e-12)
    assert torch.allclose(drift(scores, -scores, OWN), torch.ones(4).double(), atol=1e-12)
    left, right = torch.zeros(2, 1, 7), torch.ones(1, 7, dtype=torch.bool)
    left[0, 0, :3], left[1, 0, 3:] = 5, 0.1
    assert float(drift(left[0], left[1], right)) == pytest.approx(1)  # nothing in common
    other = scores.roll(1, 0)
    assert torch.equal(drift(scores, other, OWN), drift(other, scores, OWN))


@given(st.lists(st.floats(-1e30, 1e30), min_size=6, max_size=6))
def test_it_is_a_share(values):
    before, after = torch.tensor(values).reshape(2, 1, 3)
    result = float(drift(before, after, torch.ones(1, 3, dtype=torch.bool)))
    if (before == 0).all() or (after == 0).all():
        assert math.isnan(result)
    else:
        assert -1e-12 <= result <= 1 + 1e-12


def test_the_largest_and_the_smallest_scores():
    own = torch.ones(1, 2, dtype=torch.bool)
    huge = torch.tensor([[1.5e308, 1.5e308]], dtype=torch.float64)
    tiny = torch.tensor([[5e-324, 1e-323]], dtype=torch.float64)
    assert float(drift(huge, tiny, own)) == pytest.approx(1 / 6, abs=1e-12)


def test_texts_without_a_value():
    before, after = two_epochs()
    before[0, :4] = 0
    after[2, 5] = torch.nan
    after[3, 4] = torch.inf  # beyond the text's own two units
    assert drift(before, after, OWN).isnan().tolist() == [True, False, True, False]


def test_the_metric_holds_both_numbers():
    before, after = two_epochs()
    metric = Drift()
    metric.update(before[:1, :4], after[:1, :4], OWN[:1, :4])
    metric.update(before[1:], after[1:], OWN[1:])
    estimate = metric.compute()
    assert metric.columns == ("spearman", "drift")
    assert estimate.counts.tolist() == [3, 4]  # one unit has a share but no rank correlation
    values = drift(before, after, OWN)
    assert float(estimate.value) == pytest.approx(float(values.mean()), abs=1e-12)
    assert float(estimate.value_se) == pytest.approx(float(values.std() / 2), abs=1e-9)
    ranks = spearman(before, after, OWN)
    assert float(estimate.mean[0]) == pytest.approx(float(ranks.nanmean()), abs=1e-12)


@pytest.mark.parametrize(
    ("drifts", "patience", "expected"),
    [
        ([], 1, None),
        ([0.05], 1, 0),
        ([0.05], 2, None),
        ([0.3, 0.1, 0.05], 2, 1),  # the threshold itself is low
        ([0.3, 0.1, 0.05], 3, None),
        ([0.05, 0.05, 0.3, 0.05, 0.05], 2, 3),
        ([0.05, 0.05, 0.3], 1, None),
        ([0.05, math.nan, 0.05, 0.05], 2, 2),
        ([0.05, 0.05, 0.05], 2, 0),
    ],
)
def test_the_stabilization_point(drifts, patience, expected):
    assert stabilized(drifts, 0.1, patience) == expected


def test_settings_that_are_refused():
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="threshold"):
            stabilized([0.1], threshold)
    with pytest.raises(InputError, match="patience"):
        stabilized([0.1], 0.1, 0)
