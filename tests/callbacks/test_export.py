"""The exported folder is the best model, and the live one is left alone."""

import copy

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.compiler import set_stance
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from bertx.callbacks import HuggingFaceExport
from bertx.errors import InputError
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer


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
    assert AutoTokenizer.from_pretrained(export.path)("the film") == module.tokenizer("the film")


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

    with pytest.raises(InputError, match="HuggingFaceExport found no Hugging Face model in Empty"):
        trainer(tmp_path, [HuggingFaceExport()]).fit(Empty(), loader(data=DATA[:4]))
