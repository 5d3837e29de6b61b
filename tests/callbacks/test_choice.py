"""Which model is explained: the one that is meant, with the weights and logits of a validation."""

import logging

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch.nn.functional import cross_entropy

from bertx.attribution import Random
from bertx.callbacks import (
    AgreementMonitor,
    AttributionWriter,
    DriftMonitor,
    FaithfulnessMonitor,
    HeatmapLogger,
    HuggingFaceExport,
    PredictionWriter,
    ShortcutAlarm,
)
from bertx.errors import InputError
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer
from tests.tiny import tiny_model

FEW = DATA[:12]


def logger(**settings):
    return HeatmapLogger({"random": Random()}, max_examples=2, **settings)


class Spy(HeatmapLogger):
    """Keeps what it explains."""

    def __init__(self, **settings):
        super().__init__({"random": Random()}, max_examples=2, **settings)
        self.explained, self.models = [], []

    def report(self, trainer, pl_module, stage, chunks):
        list(chunks)
        self.models.append(self._model)
        self.explained.append(self._model.classifier.weight.sum().item())


class Distilled(ForeignModule):
    """A frozen teacher comes before the student."""

    def __init__(self):
        super().__init__()
        self.teacher, self.student = tiny_model(seed=1).float(), self.net
        del self.net

    def training_step(self, batch, _):
        raise AssertionError("training began")

    def predict_step(self, batch, _):
        raise AssertionError("prediction began")

    def loss(self, batch):
        return cross_entropy(self.student(batch["input_ids"]).logits, batch["labels"])


MONITORS = [FaithfulnessMonitor, HeatmapLogger, AgreementMonitor, DriftMonitor, ShortcutAlarm]


@pytest.mark.parametrize("make", [*MONITORS, HuggingFaceExport])
def test_two_classifiers_and_no_choice_are_refused_before_the_first_step(tmp_path, make):
    with pytest.raises(InputError, match=rf"{make.__name__}: Distilled holds 2 .*model='student'"):
        trainer(tmp_path, [make()]).fit(Distilled(), loader(), loader())
    make(model="student").on_fit_start(trainer(tmp_path), Distilled())


@pytest.mark.parametrize("make", [AttributionWriter, PredictionWriter])
def test_so_they_are_before_a_prediction(tmp_path, make):
    writer = make() if make is PredictionWriter else make({"random": Random()})
    with pytest.raises(InputError, match=f"{make.__name__}: Distilled holds 2"):
        trainer(tmp_path, [writer]).predict(Distilled(), loader())


@pytest.mark.parametrize("choice", ["student", lambda module: module.student])
def test_the_chosen_one_is_explained_and_said(tmp_path, caplog, choice):
    spy, module = Spy(model=choice), Distilled()
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        trainer(tmp_path, [spy]).validate(module, loader(data=FEW), verbose=False)
    assert spy.models == [module.student]
    assert "Spy explains student (BertForSequenceClassification)" in caplog.text


class Watched(ForeignModule):
    """Knows the weights of its last validation, or changes its logits after the classifier."""

    scale, amiss = 1.0, None

    def loss(self, batch):
        logits = self.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return cross_entropy(logits * self.scale, batch["labels"])

    def validation_step(self, batch, _):
        self.seen = self.net.classifier.weight.sum().item()
        super().validation_step(batch, _)


class OwnAveraging(Callback):
    """Puts another model in place for a validation."""

    def __init__(self):
        self.other = tiny_model(seed=2).float()

    def on_validation_epoch_start(self, trainer, pl_module):
        self.raw, pl_module.net = pl_module.net, self.other

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.net = self.raw


@pytest.mark.parametrize(
    "averaging",
    [
        lambda: EMAWeightAveraging(decay=0.5),
        lambda: StochasticWeightAveraging(1e-2, swa_epoch_start=1),
        OwnAveraging,
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_the_weights_that_were_validated_are_explained(tmp_path, averaging, last):
    spy, module = Spy(), Watched()
    callbacks = [spy, averaging()] if last else [averaging(), spy]
    seen = []
    spy.on_validation_end = lambda trainer, module: seen.append(module.seen)
    runner = trainer(tmp_path, callbacks, max_epochs=2, num_sanity_val_steps=0)
    runner.fit(module, loader(data=FEW), loader(data=FEW))
    runner.validate(module, loader(data=FEW), verbose=False)
    assert spy.explained == seen and len(seen) == 3


def warned(caplog):
    return [
        r.message for r in caplog.records if "does not compute the final logits of" in r.message
    ]


class Headed(Watched):
    """A head of its own beside the classifier's."""

    def loss(self, batch):
        hidden = self.net.bert(batch["input_ids"]).pooler_output
        return cross_entropy(hidden[:, :3], batch["labels"])


class Returning(Watched):
    """Says by what it returns that it has a bias."""

    def validation_step(self, batch, _):
        return {"logits": self.net(batch["input_ids"]).logits + 0.1}


@pytest.mark.parametrize("kind", [Watched, Headed, Returning])
def test_other_logits_than_the_classifiers_are_warned_of_once(tmp_path, caplog, kind):
    module = kind()
    module.scale = 0.9
    callbacks = [logger(), logger(name="b"), HuggingFaceExport()]
    runner = trainer(tmp_path, callbacks, num_sanity_val_steps=1, limit_train_batches=0)
    runner.fit(module, loader(data=FEW), loader(data=FEW))
    (message,) = warned(caplog)
    assert f"final logits of {kind.__name__}" in message
    assert "forward" not in vars(module.net) and "forward" not in vars(module)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_its_own_logits_are_not(tmp_path, caplog, precision):
    class Cast(Watched):
        def forward(self, batch):
            return self.net.forward(batch["input_ids"]).logits.float()

        def loss(self, batch):
            logits = self(batch)
            other = cross_entropy(logits.flip(-1), batch["labels"])  # a loss beside
            return torch.nn.CrossEntropyLoss()(logits, batch["labels"]) + other

    runner = trainer(tmp_path, [logger()], precision=precision)
    runner.validate(Cast(), loader(data=FEW), verbose=False)
    assert not warned(caplog)


def test_a_step_that_fails_is_not_listened_to_any_longer(tmp_path):
    class Failing(Watched):
        def validation_step(self, batch, _):
            raise RuntimeError("a step fails")

    module = Failing()
    with pytest.raises(RuntimeError, match="a step fails"):
        trainer(tmp_path, [logger()]).validate(module, loader(data=FEW), verbose=False)
    assert "forward" not in vars(module.net) and "forward" not in vars(module)
    assert torch.overrides._len_torch_function_stack() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: (b["input_ids"], b["labels"]), r"got tuple. Override read\(batch\)"),
        (lambda b: b | {"labels": ["good"] * len(b["labels"])}, "labels: .* a list with 'good'"),
        (lambda b: b | {"labels": torch.eye(6)[:, :3]}, r"labels: .* \(6, 3\) of float32"),
        (lambda b: b | {"labels": b["labels"] + 0.5}, r"labels: .* \(6,\) of float32"),
        (lambda b: b | {"text": ["a"] * 6}, "text 'a': the offsets of its tokens"),
        (lambda b: b | {"text": [("a", "b")] * 6}, "text: expected a list of 6 strings"),
    ],
)
def test_wrong_batches_are_refused_by_the_sanity_check(tmp_path, change, message):
    class Strange(ForeignModule):
        def training_step(self, batch, _):
            raise AssertionError("training began")

        def validation_step(self, batch, _):
            pass

        def on_after_batch_transfer(self, batch, _):
            return change(batch)

    data = loader(data=FEW, extra=("text", "offsets"))
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, [logger()]).fit(Strange(), data, data)
