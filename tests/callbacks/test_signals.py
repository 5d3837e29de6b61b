"""Any set of metrics in the monitor, its files, and what training can make of its numbers."""

import csv
import logging
from math import isnan

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from bertx.attribution import GradientSensitivity, GradientXInput, Random
from bertx.callbacks import FaithfulnessMonitor
from bertx.errors import InputError
from bertx.leaderboard.example_values import read_examples
from bertx.metrics import (
    AccuracyDrop,
    DeletionCurve,
    FaithfulnessMetric,
    Infidelity,
    LeaveOneOutTau,
    LogOdds,
    MaxSensitivity,
    NormalizedComprehensiveness,
    RationaleAUPRC,
    SoftSufficiency,
)
from tests.callbacks.toy import DATA, ForeignModule, Plain, loader, trainer

METHODS = {"gi": GradientXInput(), "gs": GradientSensitivity(), "random": Random()}


def values(folder, stage="val"):
    (file,) = (folder / "version_0" / "bertx" / stage / "examples").glob("*.parquet")
    return read_examples(file)


def test_any_metrics_by_their_names(tmp_path):
    metrics = {
        "naopc": NormalizedComprehensiveness(beam=1, exact=3),
        "tau": LeaveOneOutTau(),
        "odds": LogOdds(),
        "drop": AccuracyDrop(words=2),
        "infidelity": Infidelity(samples=3),
        "moved": MaxSensitivity(samples=1),
        "soft": SoftSufficiency(samples=2),
    }
    monitor = FaithfulnessMonitor(METHODS, metrics, ceiling_examples=0)
    runner = trainer(tmp_path, [monitor])
    runner.validate(ForeignModule(), loader(), verbose=False)
    for name in metrics:
        for method in METHODS:
            assert f"val/{name}/{method}" in runner.callback_metrics
        assert f"val/{name}_gain/gi" in runner.callback_metrics
    assert float(runner.callback_metrics["val/moved/random"]) == 0
    with (tmp_path / "version_0/bertx/val/faithfulness.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = values(tmp_path)
    for row in rows:
        for name in metrics:
            own = [v.value for v in found if (v.method, v.metric) == (row["method"], name)]
            assert len(own) == len(DATA)
            known = [value for value in own if not isnan(value)]
            assert float(row[name]) == pytest.approx(sum(known) / len(known), abs=1e-9)


def test_the_questions_of_all_metrics_can_be_compiled(tmp_path, monkeypatch):
    found = []
    for compiled in (False, True):
        forwarded = []

        def wrap(model, forwarded=forwarded, **_):
            return lambda **named: forwarded.append(named["input_ids"].shape) or model(**named)

        monkeypatch.setattr(torch, "compile", wrap)
        monitor = FaithfulnessMonitor(METHODS, ceiling_examples=0, compiled=compiled)
        torch.manual_seed(0)
        trainer(tmp_path / str(compiled), [monitor]).validate(
            ForeignModule(), loader(), verbose=False
        )
        assert {shape[1] for shape in forwarded} == ({16} if compiled else set())
        found.append([s.mean for result in monitor.results for s in result.scores.values()])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_a_hooked_operator_is_not_compiled(tmp_path):
    monitor = FaithfulnessMonitor(operator="zero", compiled=True)
    with pytest.raises(InputError, match="'zero' sets a hook"):
        trainer(tmp_path, [monitor]).fit(ForeignModule(), loader(), loader())


def test_the_ceiling_of_accuracy_knows_the_labels(tmp_path):
    metrics = {"drop": AccuracyDrop(words=2)}
    monitor = FaithfulnessMonitor(METHODS, metrics, ceiling_examples=None)
    runner = trainer(tmp_path, [monitor])
    runner.validate(ForeignModule(), loader(), verbose=False)
    assert 0 <= float(runner.callback_metrics["val/drop/ceiling"]) <= 1
    found = {v.example: v.value for v in values(tmp_path) if v.method == "ceiling"}
    assert len(found) == len(DATA) and any(not isnan(value) for value in found.values())


def test_a_model_without_probabilities_is_not_taken_for_missing_examples(tmp_path, caplog):
    module = ForeignModule()
    module.net.classifier.bias.data.fill_(torch.nan)
    with caplog.at_level(logging.WARNING, "bertx"):
        trainer(tmp_path, [FaithfulnessMonitor(METHODS)]).validate(module, loader(), verbose=False)
    assert caplog.text.count("not finite; all metrics skip this example") == len(DATA)
    assert "probabilities of example 0" in caplog.text and "seen" not in caplog.text


def test_rationales_are_judged_where_the_data_has_them(tmp_path):
    class Marking(Plain):
        """Marks the last two tokens of each text, [SEP] among them."""

        def __call__(self, items):
            batch = super().__call__(items)
            lengths = batch["attention_mask"].sum(1, keepdim=True)
            places = torch.arange(batch["input_ids"].shape[1])
            return batch | {"rationale": (places < lengths) & (places >= lengths - 2)}

    data = torch.utils.data.DataLoader(DATA, batch_size=5, collate_fn=Marking())
    monitor = FaithfulnessMonitor(METHODS, {"auprc": RationaleAUPRC()})
    runner = trainer(tmp_path, [monitor])
    runner.validate(ForeignModule(), data, verbose=False)
    assert 0 < float(runner.callback_metrics["val/auprc/gi"]) <= 1
    assert "val/auprc/ceiling" not in runner.callback_metrics


def test_floor_and_ceiling_are_in_every_figure(tmp_path):
    monitor = FaithfulnessMonitor(METHODS, ceiling_examples=None)
    runner = trainer(tmp_path, [monitor])
    runner.validate(ForeignModule(), loader(), verbose=False)
    best = float(runner.callback_metrics["val/deletion_auc/ceiling"])
    for method in METHODS:
        assert best <= float(runner.callback_metrics[f"val/deletion_auc/{method}"])
    roles = {v.method: v.role for v in values(tmp_path)}
    assert roles == {"gi": "method", "gs": "method", "random": "floor", "ceiling": "ceiling"}
    with (tmp_path / "version_0/bertx/val/curves.csv").open() as file:
        drawn = {(row["kind"], row["method"]) for row in csv.DictReader(file)}
    assert drawn == {(k, m) for k in ("deletion", "insertion") for m in (*METHODS, "ceiling")}
    empty = [key for key in runner.callback_metrics if key.startswith("val/fully_perturbed/")]
    assert empty and all(0 <= float(runner.callback_metrics[key]) <= 1 for key in empty)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_checkpoints_follow_a_metric(tmp_path, mode):
    key = "val/comprehensiveness/gs"
    checkpoint = ModelCheckpoint(tmp_path, monitor=key, mode=mode)
    monitor = FaithfulnessMonitor(METHODS, ceiling_examples=0)
    runner = trainer(tmp_path, [monitor, checkpoint], max_epochs=4, enable_checkpointing=True)
    runner.fit(ForeignModule(), loader(shuffle=True), loader())
    with (tmp_path / "version_0/bertx/val/faithfulness.csv").open() as file:
        rows = [float(r["comprehensiveness"]) for r in csv.DictReader(file) if r["method"] == "gs"]
    choose = min if mode == "min" else max
    assert len(rows) == 4 and len(set(rows)) > 1
    assert float(checkpoint.best_model_score) == pytest.approx(choose(rows), abs=1e-6)


def test_training_stops_on_a_metric(tmp_path):
    class Epoch(FaithfulnessMetric):
        """The same in every epoch: it never gets better."""

        higher_is_better = True

        def __init__(self):
            super().__init__(["one"])

        def values(self, ranking, probabilities):
            return torch.ones(len(ranking.scores), 1)

    stop = EarlyStopping("val/one/gs", patience=2, mode="max", min_delta=0.1)
    monitor = FaithfulnessMonitor(METHODS, {"one": Epoch()}, ceiling_examples=0)
    runner = trainer(tmp_path, [monitor, stop], max_epochs=9)
    runner.fit(ForeignModule(), loader(), loader())
    assert runner.current_epoch == 3


def test_metrics_are_not_shared_between_epochs_or_runs(tmp_path):
    metrics = {"deletion_auc": DeletionCurve(3)}
    monitor = FaithfulnessMonitor(METHODS, metrics)
    for n in range(2):
        runner = trainer(tmp_path / str(n), [monitor])
        runner.validate(ForeignModule(), loader(), verbose=False)
        assert monitor.results[0].count == len(DATA)
    assert not metrics["deletion_auc"].update_called
