"""The exported folder is the best model, and the live one is left alone."""

import copy

import peft
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from torch.compiler import set_stance
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from bertx.callbacks import HuggingFaceExport
from bertx.errors import InputError
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer
from tests.tiny import ARCHITECTURES


def checkpointing(folder, callbacks, **settings):
    return trainer(folder, callbacks, enable_checkpointing=True, **settings)


def weights(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("compiled", [False, True])
def test_exports_the_best_checkpoint(compiled, tmp_path, capsys):
    best = ModelCheckpoint(monitor="val/loss", mode="max")  # the first epoch is the worst fit
    export = HuggingFaceExport()
    runner = checkpointing(tmp_path, [best, export], max_epochs=2)
    module = ForeignModule(compiled=compiled)
    module.tokenizer.truncation_side = "left"
    module.net.config.id2label = {0: "bad", 1: "so so", 2: "good"}
    module.net.config.label2id = {"bad": 0, "so so": 1, "good": 2}
    # Only the names of a compiled model's weights matter here; compiling takes long.
    with set_stance("force_eager"):
        runner.fit(module, loader(), loader())
    assert "hf" == export.path.name and str(export.path) in capsys.readouterr().out

    saved = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    exported = AutoModelForSequenceClassification.from_pretrained(export.path)
    for name, weight in exported.state_dict().items():
        shell = "net._orig_mod." if compiled else "net."
        assert torch.equal(weight, saved[shell + name])
    live = weights(module)
    assert any(not torch.equal(value, saved[key]) for key, value in live.items())

    answer = pipeline("text-classification", str(export.path))("the film was good")
    assert answer[0]["label"] in {"bad", "so so", "good"}
    read = AutoTokenizer.from_pretrained(export.path)
    assert read("the film") == module.tokenizer("the film") and read.truncation_side == "left"


def test_the_live_model_is_left_alone(tmp_path):
    finals = []
    for export in ([], [HuggingFaceExport()]):
        torch.manual_seed(0)
        module = ForeignModule()
        modes = [part.training for part in module.modules()]
        callbacks = [ModelCheckpoint(monitor="val/loss"), *export]
        checkpointing(tmp_path / str(len(export)), callbacks).fit(module, loader(), loader())
        finals.append((weights(module), copy.deepcopy(modes)))
        assert all(p.requires_grad for p in module.parameters())
    (plain, modes), (exported, other_modes) = finals
    assert modes == other_modes
    assert all(torch.equal(plain[key], exported[key]) for key in plain)


def test_without_a_monitored_checkpoint_the_last_weights_are_written(tmp_path, capsys):
    module, export = ForeignModule(), HuggingFaceExport("export")
    trainer(tmp_path, [export]).fit(module, loader())
    exported = AutoModelForSequenceClassification.from_pretrained(export.path)
    assert torch.equal(exported.classifier.weight, module.net.classifier.weight)
    assert "last step" in capsys.readouterr().out


def test_a_module_without_a_model_is_refused(tmp_path):
    class Empty(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def training_step(self, batch, _):
            raise AssertionError("training began")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    with pytest.raises(InputError, match=r"HuggingFaceExport: expected .* got Empty"):
        trainer(tmp_path, [HuggingFaceExport()]).fit(Empty(), loader(data=DATA[:4]))


class Validated(ForeignModule):
    """Knows the weights of its last validation."""

    def validation_step(self, batch, _):
        self.seen = copy.deepcopy(weights(self))
        super().validation_step(batch, _)


def exported_is(export, state):
    """Whether what was exported has the weights of a module's net."""
    read = AutoModelForSequenceClassification.from_pretrained(export.path).state_dict()
    plain = {name.replace("_orig_mod.", "").removeprefix("net."): v for name, v in state.items()}
    return read.keys() == plain.keys() and all(
        torch.equal(read[name], plain[name]) for name in read
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("monitored", [False, True])
def test_averaged_weights_that_were_validated_are_written_by_every_fit(
    tmp_path, capsys, compiled, monitored
):
    module, export = Validated(compiled=compiled), HuggingFaceExport()
    best = [ModelCheckpoint(tmp_path, monitor="epoch", mode="max")] if monitored else []
    runner = checkpointing(tmp_path, [export, *best, EMAWeightAveraging(decay=0.5)])
    for epochs in (1, 2):
        runner.fit_loop.max_epochs = epochs
        with set_stance("force_eager"):
            runner.fit(module, loader(), loader())
        assert exported_is(export, module.seen)
        told = "epoch=" if monitored else "last step, averaged by EMAWeightAveraging"
        assert told in capsys.readouterr().out


def test_of_stochastic_averages_a_checkpoint_is_what_was_validated(tmp_path, capsys):
    average = StochasticWeightAveraging(1e-2, swa_epoch_start=1)
    for best in ([], [ModelCheckpoint(tmp_path, monitor="epoch", mode="max")]):
        module, export = Validated(), HuggingFaceExport()
        callbacks = [copy.deepcopy(average), *best, export]
        checkpointing(tmp_path, callbacks, max_epochs=2).fit(module, loader(), loader())
        assert exported_is(export, module.seen if best else weights(module))
        assert not exported_is(export, weights(module) if best else module.seen)
    assert "averaged by StochasticWeightAveraging" in capsys.readouterr().out


class Adapted(ForeignModule):
    """Trains an adapter and the head."""

    def __init__(self, config=None, **settings):
        super().__init__(**settings)
        config = config or peft.LoraConfig(
            "SEQ_CLS", r=2, target_modules=["query"], modules_to_save=["classifier"]
        )
        self.net = peft.get_peft_model(self.net, config)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 0.1)


@pytest.mark.parametrize("averaged", [False, True])
def test_adapters_are_merged_into_a_copy(tmp_path, averaged):
    module, export = Adapted(), HuggingFaceExport()
    before = weights(module)
    best = ModelCheckpoint(tmp_path, monitor="epoch", mode="min")
    callbacks = [export, best, *([EMAWeightAveraging(decay=0.5)] if averaged else [])]
    checkpointing(tmp_path, callbacks, max_epochs=2).fit(module, loader(), loader())
    after = weights(module)
    assert after.keys() == before.keys() and any("lora_A" in name for name in after)

    module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    batch = module.tokenizer(["the film was good"], return_tensors="pt")
    read, told = AutoModelForSequenceClassification.from_pretrained(
        export.path, output_loading_info=True
    )
    assert not told["missing_keys"] and not told["unexpected_keys"]
    module.eval()
    with torch.no_grad(), module.net.disable_adapter():
        plain = module.net(**batch).logits
    with torch.no_grad():
        expected = module.net(**batch).logits
        assert not torch.allclose(plain, expected, atol=1e-3)  # the adapter says something
        torch.testing.assert_close(read.eval()(**batch).logits, expected)


def surgery(module):
    module.net.classifier = torch.nn.Sequential(torch.nn.Dropout(), module.net.classifier)


def added(module):
    module.net.add_adapter(peft.LoraConfig("SEQ_CLS", r=2, target_modules=["query"]))


def bare_encoder(module):
    module.net = AutoModel.from_config(module.net.config)


def unmergeable(module):
    config = peft.LoraConfig("SEQ_CLS", r=2, target_modules=["query"])
    module.net = peft.get_peft_model(module.net, config)
    module.net.base_model.merge_and_unload = None  # as with kinds that have no such thing


def inner(module):
    config = peft.LoraConfig(r=2, target_modules=["query"])
    module.net.bert = peft.get_peft_model(module.net.bert, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (surgery, r"has been changed: .* classifier\.1\.bias"),
        (added, "has been changed: .*get_peft_model"),
        (bare_encoder, "with BertModel, which has no head that classifies texts"),
        (unmergeable, "cannot be merged into the weights"),
        (inner, None),
    ],
)
def test_what_would_not_be_loaded_as_it_is_is_refused_before_training(tmp_path, change, message):
    module = ForeignModule()
    change(module)
    export, runner = HuggingFaceExport(), trainer(tmp_path)
    if message is None:
        export.on_fit_start(runner, module)
        return
    with pytest.raises(InputError, match=f"HuggingFaceExport: .*{message}"):
        export.on_fit_start(runner, module)


def test_every_architecture_of_the_hub_can_be_written():
    for kind in ARCHITECTURES:
        HuggingFaceExport().on_fit_start(None, ForeignModule(kind))
