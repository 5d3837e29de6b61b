"""Two processes over gloo give the numbers of one."""

import csv

import pytest

from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger
from bertx.evaluation import default_metrics
from bertx.leaderboard.example_values import read_examples
from tests.callbacks import watching
from tests.callbacks.distributed import ODD, explained
from tests.callbacks.toy import ForeignModule, loader, trainer
from tests.callbacks.watching import table
from tests.runs import in_two_processes

METRICS = default_metrics()


def scores(folder):
    with (folder / "version_0/bertx/val/faithfulness.csv").open() as file:
        return list(csv.DictReader(file))


def examples(folder):
    file = min((folder / "version_0/bertx/val/examples").glob("*.parquet"))
    return {(v.example, v.method, v.metric): v.value for v in read_examples(file)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes wrote; one launch serves all tests."""
    folder = tmp_path_factory.mktemp("two")
    in_two_processes("tests.callbacks.distributed", folder)
    return folder


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What one process wrote of the training that two watched."""
    folder = tmp_path_factory.mktemp("one")
    watching.main(folder)
    return folder


def test_numbered_rows_that_fill_a_rank_up_do_not_count(two, tmp_path):
    explained(tmp_path)
    [row], [expected] = scores(two / "explained"), scores(tmp_path)
    assert row["count"] == expected["count"] == str(len(ODD))
    assert float(row["deletion_auc"]) == pytest.approx(float(expected["deletion_auc"]), abs=1e-6)
    assert examples(two / "explained") == pytest.approx(examples(tmp_path), abs=1e-5)


def test_two_processes_equal_one(two, tmp_path):
    two, one = two / "monitored", tmp_path
    callbacks = [FaithfulnessMonitor(), HeatmapLogger(max_examples=7)]
    trainer(one, callbacks).validate(ForeignModule(), loader(data=ODD), verbose=False)
    rows, expected = scores(two), scores(one)
    assert len(rows) == 2 * len(expected)  # validated, then validated while fitting
    for row, other in zip(rows, expected, strict=False):
        assert row["count"] == other["count"] == str(len(ODD))
        assert row.keys() == other.keys() and len(row) == 6 + 2 * 2 * len(METRICS)
        for name in (n for n in row if n not in ("epoch", "step", "method", "signed", "cost")):
            assert row[name] == other[name] or float(row[name]) == pytest.approx(
                float(other[name]), abs=1e-6
            )
    together, alone = examples(two), examples(one)
    assert together.keys() == alone.keys() and len(alone) > 6 * len(METRICS) * len(ODD)
    for key, value in alone.items():
        assert together[key] == pytest.approx(value, abs=1e-5)
    history = two / "version_0/bertx/val/heatmaps/step=00000.html"
    page = one / "version_0/bertx/val/heatmaps.html"
    assert history.read_text() == page.read_text()


@pytest.mark.parametrize("size", ["10", "1"])
@pytest.mark.parametrize("name", ["drift", "shortcuts", "agreement"])
def test_what_two_processes_watch_is_what_one_does(two, watched, size, name):
    """With the examples on other ranks in every epoch, and with a rank that has none."""
    found, wanted = (table(folder / size, name) for folder in (two / "watched", watched))
    assert len(found) == len(wanted) > 0
    for row, expected in zip(found, wanted, strict=True):
        assert list(row) == list(expected)
        for key, value in expected.items():
            try:
                assert float(row[key]) == pytest.approx(float(value), abs=1e-6, nan_ok=True)
            except ValueError:
                assert row[key] == value, key


def test_the_processes_had_something_to_tell(two):
    counts = {row["count"] for row in table(two / "watched" / "10", "drift")[3:]}
    assert counts == {"10"}
