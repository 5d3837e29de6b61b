"""Two processes over gloo: one run folder, and the numbers of one process."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertx.callbacks.shards import shards
from tests.callbacks.attributing import ON_THE_COMMAND_LINE, table
from tests.runs import last_value

ROOT = Path(__file__).parents[2]
RUNS = Path("lightning_logs")


def predictions(run):
    with (run / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_processes_equal_one(model, data, run, workplace):
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.distributed", model, data],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in RUNS.iterdir()) == ["version_0", "version_1", "version_2"]
    assert (RUNS / "version_0/hf/config.json").is_file()

    last = "--ckpt_path=lightning_logs/version_0/checkpoints/last.ckpt"
    run("test", last)
    for key in ("test/loss", "test/accuracy", "test/macro_f1"):
        one = last_value(RUNS / "version_3", key)
        assert last_value(RUNS / "version_1", key) == pytest.approx(one, abs=1e-6)
    assert "(23 texts written, 0 skipped because already stored)" in done.stdout
    run("predict", last, ON_THE_COMMAND_LINE)
    two, one = predictions(RUNS / "version_2"), predictions(RUNS / "version_4")
    assert len(two) == 23
    for ours, theirs in zip(two, one, strict=True):
        assert (ours["index"], ours["text"]) == (theirs["index"], theirs["text"])
        assert float(ours["probability(positive)"]) == pytest.approx(
            float(theirs["probability(positive)"]), abs=1e-5
        )

    two, one = (table(RUNS / f"version_{i}/attributions") for i in (2, 4))
    ranks = [path.parent.name for path in shards(RUNS / "version_2/attributions")]
    assert ranks == ["rank-00000"] * 3 + ["rank-00001"] * 3
    assert len(two) == 23
    for ours, theirs in zip(two, one, strict=True):
        assert ours.pop("scores_gi") == pytest.approx(theirs.pop("scores_gi"), rel=1e-5, abs=1e-6)
        assert ours.pop("probabilities") == pytest.approx(theirs.pop("probabilities"), abs=1e-5)
        assert ours == theirs
