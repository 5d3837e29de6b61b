import pickle

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torchmetrics import MetricCollection

from bertx.errors import InputError
from bertx.faithfulness import DeletionCurve, Difference, InsertionCurve, PairedDifference

CURVES = torch.rand(23, 6, generator=torch.Generator().manual_seed(0))
RAGGED = (1, 7, 2, 13)
METRICS = [DeletionCurve, InsertionCurve]


def reference(curves):
    """Mean and standard error of curves and areas from all examples at once."""
    values = curves.double().numpy()
    areas = np.trapezoid(values, np.linspace(0, 1, values.shape[1]), axis=1)
    root = np.sqrt(len(values))
    return (
        values.mean(0), values.std(0, ddof=1) / root,
        areas.mean(), areas.std(ddof=1) / root, len(values),
    )  # fmt: skip


def equal(estimate, expected):
    pairs = zip(estimate, expected, strict=True)
    return all(np.allclose(np.asarray(a), b, rtol=0, atol=1e-12) for a, b in pairs)


def updated(metric, *batches):
    for batch in batches:
        metric.update(batch)
    return metric


@pytest.mark.parametrize("kind", METRICS)
def test_ragged_batches_equal_all_examples_at_once(kind):
    metric = updated(kind(points=6), *CURVES.split(RAGGED))
    assert equal(metric.compute(), reference(CURVES))
    assert metric.compute().auc.dtype == torch.float64
    assert metric.compute().curve.shape == (6,)


@pytest.mark.parametrize("kind", METRICS)
def test_forward_gives_the_batch_and_keeps_the_rest(kind):
    metric = kind(points=6)
    for batch in CURVES.split((10, 13)):
        assert equal(metric(batch), reference(batch))
    assert equal(metric.compute(), reference(CURVES))


@pytest.mark.parametrize("kind", METRICS)
def test_pickle_clone_and_reset(kind):
    metric = updated(kind(points=6), CURVES[:9])
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert equal(updated(copy, CURVES[9:]).compute(), reference(CURVES))
    assert equal(metric.compute(), reference(CURVES[:9]))
    metric.reset()
    assert equal(updated(metric, CURVES[3:]).compute(), reference(CURVES[3:]))


@pytest.mark.parametrize("kind", METRICS)
def test_reset_in_inference_mode_update_outside_and_back(kind):
    metric = kind(points=6)
    with torch.inference_mode():
        metric.reset()
        metric.update(CURVES[:4].clone())
    metric.update(CURVES[4:9])
    with torch.inference_mode():
        metric.update(CURVES[9:])
    assert equal(metric.compute(), reference(CURVES))


@pytest.mark.parametrize("groups", [True, False])
def test_a_collection_does_not_take_one_curve_for_the_other(groups):
    metrics = {"deletion": DeletionCurve(6), "insertion": InsertionCurve(6)}
    collection = MetricCollection(metrics, compute_groups=groups)
    collection.update(CURVES[:2])  # equal sums, which is when groups are formed
    assert not groups or len(collection.compute_groups) == 2
    collection["deletion"].update(CURVES[2:9])
    collection["insertion"].update(CURVES[9:])
    found = collection.compute()
    assert float(found["deletion"].auc) == pytest.approx(reference(CURVES[:9])[2])
    others = torch.cat([CURVES[:2], CURVES[9:]])
    assert float(found["insertion"].auc) == pytest.approx(reference(others)[2])


def test_directions():
    assert DeletionCurve.higher_is_better is False
    assert InsertionCurve.higher_is_better is True
    assert not DeletionCurve.is_differentiable and not DeletionCurve.full_state_update


def test_few_examples_have_no_interval():
    estimate = updated(DeletionCurve(6), CURVES[:1]).compute()
    assert torch.allclose(estimate.curve, CURVES[0].double())
    assert estimate.curve_se.isnan().all() and estimate.auc_se.isnan()
    with pytest.warns(UserWarning, match="before the ``update``"):
        empty = DeletionCurve(6).compute()
    assert empty.count == 0 and empty.auc.isnan()


def test_equal_examples_have_no_spread():
    for value in (0.1, 0.3, 0.7, 0.9):
        for count in (3, 7, 23, 100, 1000):
            same = torch.full((count, 6), value, dtype=torch.float64)
            estimate = updated(DeletionCurve(6), same).compute()
            assert estimate.curve_se.max() < 1e-7  # and never the root of a negative number


def test_other_points_are_refused():
    for wrong in (torch.rand(4, 5), torch.rand(6)):
        with pytest.raises(InputError, match=r"shape \(B, 6\), got .*points"):
            DeletionCurve(points=6).update(wrong)
    with pytest.raises(InputError, match="at least 2"):
        DeletionCurve(points=1)


def test_paired_difference():
    a, b = CURVES[:, 0], CURVES[:, 1] - 0.3
    metric = PairedDifference()
    for own, other in zip(a.split(RAGGED), b.split(RAGGED), strict=True):
        metric.update(own, other)
    difference = (a - b).double().numpy()
    se = difference.std(ddof=1) / np.sqrt(23)
    assert float(metric.compute().mean) == pytest.approx(difference.mean(), abs=1e-7)
    assert float(metric.compute().se) == pytest.approx(se, abs=1e-7)
    assert metric.compute().count == 23
    assert metric.compute().excludes_zero == (abs(difference.mean()) > 1.96 * se)


def test_whether_an_interval_excludes_zero():
    def excludes(mean, se):
        return Difference(torch.tensor(mean), torch.tensor(se), torch.tensor(9.0)).excludes_zero

    assert excludes(0.2, 0.1) and excludes(-0.2, 0.1)
    assert not excludes(0.19, 0.1) and not excludes(-0.19, 0.1)
    assert not excludes(0.2, float("nan"))


def _worker(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    shard = CURVES[:5] if rank == 0 else CURVES[5:]
    metrics = updated(DeletionCurve(6), shard), updated(InsertionCurve(6), *shard.split(3))
    paired = PairedDifference()
    paired.update(shard[:, 0], shard[:, 1])
    results = [tuple(metric.compute()) for metric in (*metrics, paired)]
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    mp.spawn(_worker, (str(tmp_path),), nprocs=2)
    paired = PairedDifference()
    paired.update(CURVES[:, 0], CURVES[:, 1])
    for rank in range(2):
        deletion, insertion, difference = torch.load(tmp_path / f"{rank}.pt")
        assert equal(deletion, reference(CURVES))
        assert equal(insertion, reference(CURVES))
        assert equal(difference, paired.compute())
