"""Two processes over gloo give the numbers of one."""

import csv
import sys
from pathlib import Path

import pytest

from bertx.attribution import GradientSensitivity
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger
from bertx.faithfulness import DeletionCurve
from bertx.judging import default_metrics
from bertx.report.examples import read_examples
from tests.callbacks.distributed import ODD
from tests.callbacks.toy import ForeignModule, loader, trainer
from tests.callbacks.watching import numbered
from tests.runs import in_two_processes

METRICS = default_metrics()


def scores(folder):
    with (folder / "version_0/bertx/val/faithfulness.csv").open() as file:
        return list(csv.DictReader(file))


def examples(folder):
    file = min((folder / "version_0/bertx/val/examples").glob("*.parquet"))
    return {(v.example, v.method, v.metric): v.value for v in read_examples(file)}


def explained(folder, **settings):
    """Batches with numbers, dealt out by the sampler that Lightning puts into the loader."""
    metrics = {"deletion_auc": DeletionCurve(3)}
    monitor = FaithfulnessMonitor({"gs": GradientSensitivity()}, metrics, ceiling_examples=0)
    runner = trainer(folder, [monitor], **settings)
    runner.validate(ForeignModule(), numbered(ODD), verbose=False)


def test_numbered_rows_that_fill_a_rank_up_do_not_count(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    in_two_processes("tests.callbacks.test_distributed", two)
    explained(one)
    [row], [expected] = scores(two), scores(one)
    assert row["count"] == expected["count"] == str(len(ODD))
    assert float(row["deletion_auc"]) == pytest.approx(float(expected["deletion_auc"]), abs=1e-6)
    assert examples(two) == pytest.approx(examples(one), abs=1e-5)


def test_two_processes_equal_one(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    in_two_processes("tests.callbacks.distributed", two)
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


if __name__ == "__main__":
    explained(Path(sys.argv[1]), strategy="ddp", devices=2)
