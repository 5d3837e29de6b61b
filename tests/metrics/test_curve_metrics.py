import pickle

import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from bertx.errors import InputError
from bertx.metrics import (
    DeletionCurve,
    InsertionCurve,
    fractions,
    with_area,
)
from bertx.metrics.estimates import mean_of
from tests.ranks import synced

CURVES = torch.rand(23, 6, generator=torch.Generator().manual_seed(0))
VALUES = with_area(CURVES.double(), fractions(6))
RAGGED = (1, 7, 2, 13)
METRICS = [DeletionCurve, InsertionCurve]


def reference(values):
    """Mean and standard error of curves and areas from all examples at once."""
    curves = values[:, :-1].double().numpy()
    areas = np.trapezoid(curves, np.linspace(0, 1, curves.shape[1]), axis=1)
    both = np.concatenate([curves, areas[:, None]], 1)
    return both.mean(0), both.std(0, ddof=1) / np.sqrt(len(both)), np.full(7, len(both))


def equal(estimate, expected):
    pairs = zip(estimate, expected, strict=True)
    return all(np.allclose(np.asarray(a), b, rtol=0, atol=1e-12) for a, b in pairs)


def updated(metric, *batches):
    for batch in batches:
        metric.update(batch)
    return metric


@pytest.mark.parametrize("kind", METRICS)
def test_ragged_batches_equal_all_examples_at_once(kind):
    metric = updated(kind(points=6), *VALUES.split(RAGGED))
    assert equal(metric.compute(), reference(VALUES))
    assert metric.compute().value.dtype == torch.float64
    assert metric.compute().mean.shape == (7,)


@pytest.mark.parametrize("kind", METRICS)
def test_forward_gives_the_batch_and_keeps_the_rest(kind):
    metric = kind(points=6)
    for batch in VALUES.split((10, 13)):
        assert equal(metric(batch), reference(batch))
    assert equal(metric.compute(), reference(VALUES))


@pytest.mark.parametrize("kind", METRICS)
def test_pickle_clone_and_reset(kind):
    metric = updated(kind(points=6), VALUES[:9])
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert equal(updated(copy, VALUES[9:]).compute(), reference(VALUES))
    assert equal(metric.compute(), reference(VALUES[:9]))
    metric.reset()
    assert equal(updated(metric, VALUES[3:]).compute(), reference(VALUES[3:]))


@pytest.mark.parametrize("kind", METRICS)
def test_reset_in_inference_mode_update_outside_and_back(kind):
    metric = kind(points=6)
    with torch.inference_mode():
        metric.reset()
        metric.update(VALUES[:4].clone())
    metric.update(VALUES[4:9])
    with torch.inference_mode():
        metric.update(VALUES[9:])
    assert equal(metric.compute(), reference(VALUES))


@pytest.mark.parametrize("groups", [True, False])
def test_a_collection_does_not_take_one_curve_for_the_other(groups):
    metrics = {"deletion": DeletionCurve(6), "insertion": InsertionCurve(6)}
    collection = MetricCollection(metrics, compute_groups=groups)
    collection.update(VALUES[:2])  # equal sums, which is when groups are formed
    assert not groups or len(collection.compute_groups) == 2
    collection["deletion"].update(VALUES[2:9])
    collection["insertion"].update(VALUES[9:])
    result = collection.compute()
    assert float(result["deletion"].value) == pytest.approx(reference(VALUES[:9])[0][-1])
    others = torch.cat([VALUES[:2], VALUES[9:]])
    assert float(result["insertion"].value) == pytest.approx(reference(others)[0][-1])


def test_directions():
    assert DeletionCurve.higher_is_better is False
    assert InsertionCurve.higher_is_better is True
    assert not DeletionCurve.is_differentiable and not DeletionCurve.full_state_update


def test_few_examples_have_no_interval():
    estimate = updated(DeletionCurve(6), VALUES[:1]).compute()
    assert torch.allclose(estimate.mean, VALUES[0])
    assert estimate.se.isnan().all() and estimate.value_se.isnan()
    with pytest.warns(UserWarning, match="before the ``update``"):
        empty = DeletionCurve(6).compute()
    assert empty.value_count == 0 and empty.value.isnan()


def test_equal_examples_have_no_spread():
    for value in (0.1, 0.3, 0.7, 0.9):
        for count in (3, 7, 23, 100, 1000):
            same = torch.full((count, 7), value, dtype=torch.float64)
            estimate = updated(DeletionCurve(6), same).compute()
            assert estimate.se.max() < 1e-7  # and never the root of a negative number


def test_other_points_are_refused():
    for wrong in (torch.rand(4, 6), torch.rand(7)):
        with pytest.raises(InputError, match=r"DeletionCurve: expected values of shape \(B, 7\)"):
            DeletionCurve(points=6).update(wrong)
    with pytest.raises(InputError, match="at least 2"):
        DeletionCurve(points=1)


def test_two_ranks_equal_one():
    ranks = VALUES[:5], VALUES[5:]
    for kind in (DeletionCurve, InsertionCurve):
        result = synced(*(updated(kind(6), *shard.split(3)) for shard in ranks))
        assert equal(result, reference(VALUES))


def test_an_infinite_value_counts():
    """Ignoring it would make the mean look better than it is."""
    values = VALUES.clone()
    values[3, 2] = torch.inf
    for result in (updated(DeletionCurve(6), *values.split(RAGGED)).compute(), mean_of(values)):
        assert result.mean[2] == torch.inf and result.counts.tolist() == [23] * 7


def test_missing_values_are_ignored():
    holes = VALUES.clone()
    holes[::3, 2], holes[1:, 4] = float("nan"), float("nan")
    result = updated(DeletionCurve(6), *holes.split(RAGGED)).compute()
    numbers = holes.numpy()
    assert np.allclose(result.mean, np.nanmean(numbers, 0), atol=1e-12)
    assert result.counts.tolist() == [23, 23, 15, 23, 1, 23, 23]
    few = np.nanstd(numbers[:, 2], ddof=1) / np.sqrt(15)
    assert float(result.se[2]) == pytest.approx(few, abs=1e-12) and result.se[4].isnan()
    apart = mean_of(holes)
    assert all(np.allclose(a, b, equal_nan=True) for a, b in zip(apart, result, strict=True))
