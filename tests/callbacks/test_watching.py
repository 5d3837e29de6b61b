"""What holds for DriftMonitor, ShortcutAlarm and AgreementMonitor alike."""

import weakref
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from bertx.attribution import GradientSensitivity, Random
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, epoch_explainer
from bertx.callbacks.agreement import AgreementMonitor
from bertx.callbacks.drift import DriftMonitor
from bertx.callbacks.shortcut import ShortcutAlarm
from bertx.errors import InputError
from bertx.evaluation import forwards
from bertx.perturb.packing import Budget
from bertx.trace import Trace
from tests.callbacks.toy import ForeignModule, loader, trainer
from tests.callbacks.watching import monitors, table
from tests.trace.test_trace import assert_same, condition

TABLES = ("drift", "shortcuts", "agreement")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_is_bit_identical_with_and_without(tmp_path, precision):
    weights = []
    for n, callbacks in enumerate([[], monitors()]):
        torch.manual_seed(7)
        module = ForeignModule()
        torch.manual_seed(8)
        runner = trainer(tmp_path / str(n), callbacks, max_epochs=2, precision=precision)
        runner.fit(module, loader(shuffle=True), loader())
        weights.append({k: v.clone() for k, v in module.state_dict().items()})
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    assert not all(torch.equal(v, weights[0][k]) for k, v in ForeignModule().state_dict().items())


@pytest.mark.parametrize("run", ["validate", "test"])
def test_nothing_is_left_changed(tmp_path, run):
    module = ForeignModule().train()
    module.net.base_model.encoder.layer[1].eval()
    conditions = []
    for callbacks in ([], monitors()):
        torch.manual_seed(5)
        getattr(trainer(tmp_path, callbacks), run)(module, loader(), verbose=False)
        conditions.append(condition(module.net))
    assert_same(*conditions)
    assert table(tmp_path, "shortcuts", {"validate": "val", "test": "test"}[run])


class Counting(GradientSensitivity):
    def __init__(self):
        self.texts = 0

    def scores(self, trace):
        self.texts += len(trace.inputs)
        return super().scores(trace)


@pytest.mark.parametrize(
    "make",
    [
        lambda method, **kw: DriftMonitor({"gs": method}, **kw),
        lambda method, **kw: ShortcutAlarm(method, **kw),
        lambda method, **kw: AgreementMonitor({"gs": method, "random": Random()}, **kw),
    ],
    ids=TABLES,
)
def test_only_due_epochs_are_explained_and_never_the_sanity_check(tmp_path, make):
    method = Counting()
    monitor = make(method, every_n_epochs=2, max_examples=7)
    trainer(tmp_path, [monitor], max_epochs=5).fit(ForeignModule(), loader(), loader())
    assert method.texts == 2 * 7
    [name] = [n for n in TABLES if Path(tmp_path, f"version_0/bertx/val/{n}.csv").is_file()]
    assert {row["epoch"] for row in table(tmp_path, name)} == {"1", "3"}


def test_a_strange_batch_can_be_translated(tmp_path):
    class Tuples(ForeignModule):
        def on_after_batch_transfer(self, batch, _):
            return batch["input_ids"], batch["labels"]

        def loss(self, batch):
            return self.net(batch[0]).logits.square().mean()

        def validation_step(self, batch, _):
            self.loss(batch)

    class Reading(AgreementMonitor):
        def read(self, batch):
            return {"input_ids": batch[0], "label": batch[1]}

    monitor = Reading()
    trainer(tmp_path, [monitor]).fit(Tuples(), loader(), loader())
    assert all(pair.count > 20 for pair in monitor.results)


@pytest.mark.parametrize(
    "callback",
    [
        FaithfulnessMonitor({"gs": GradientSensitivity(), "random": Random()}),
        HeatmapLogger({"gs": GradientSensitivity()}),
        *monitors(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_one_graph_is_held_at_a_time(tmp_path, monkeypatch, callback):
    held = []

    def traced(*arguments):
        assert not any(trace() for trace in held)
        trace = Trace(*arguments)
        held.append(weakref.ref(trace))
        return trace

    monkeypatch.setattr(forwards, "Trace", traced)
    monkeypatch.setattr(epoch_explainer, "budget_for", lambda *_, **__: Budget(60))
    trainer(tmp_path, [callback]).fit(ForeignModule(), loader(), loader())
    assert len(held) > 3


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (DriftMonitor, "val/drift_rank/gs"),
        (ShortcutAlarm, "val/shortcut_share/LABEL_0"),
        (AgreementMonitor, "val/agreement/gs/random"),
    ],
)
def test_a_callback_that_needs_a_number_in_between_is_refused(tmp_path, make, key):
    callbacks = [make(every_n_epochs=2), EarlyStopping(key)]
    message = f"{make.__name__}: every_n_epochs 2, but EarlyStopping monitors '{key}'"
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, callbacks).fit(ForeignModule(), loader(), loader())


@pytest.mark.parametrize(
    "make", [FaithfulnessMonitor, HeatmapLogger, DriftMonitor, AgreementMonitor]
)
def test_the_default_methods_are_named(make):
    said = " ".join(make.__doc__.split())
    assert "AttnLRP and the paper's four methods, if the model supports them, and a random" in said
