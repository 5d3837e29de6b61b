"""Kill trainings at given places, as a dying process leaves them, and resume them."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from bertx.callbacks import HuggingFaceExport
from bertx.cli import main
from bertx.cli.checkpoints import LastCheckpoint, find_checkpoint
from bertx.training import TextClassifier
from tests.runs import arguments, logged

RUNS = Path("lightning_logs")


class Killed(BaseException):
    """What no handler of an ordinary error catches."""


class Training:
    """Runs of ``bertx fit`` that together are one training.

    Attributes:
        steps: Epoch, step, rows and loss of every batch of the current run.
    """

    def __init__(self, monkeypatch, model, data, *settings):
        self.steps = []
        self._place, self._countdown = None, 0
        self._arguments = arguments("fit", model, data, *settings)
        self._watch(monkeypatch)

    def run(self, *more, kill=None):
        """Train, until ``kill`` (a place and how often it is passed before) or to the end.

        Returns:
            Whether it was killed.
        """
        self.steps = []
        self._place, self._countdown = kill or (None, 0)
        try:
            main([*self._arguments, *more])
        except Killed:
            return True
        return False

    def _die(self, place):
        if place == self._place:
            self._countdown -= 1
            if self._countdown < 0:
                raise Killed

    def _watch(self, monkeypatch):
        step, evaluate = TextClassifier.training_step, TextClassifier.validation_step
        end, save, export = (
            LastCheckpoint.on_train_epoch_end,
            torch.save,
            HuggingFaceExport.on_fit_end,
        )

        def training_step(module, batch, number):
            self._die("step")
            outputs = step(module, batch, number)
            rows = batch["index"].tolist()
            done = module.current_epoch, module.global_step, rows, outputs["loss"].item()
            self.steps.append(done)
            return outputs

        def validation_step(module, batch, number):
            if not module.trainer.sanity_checking:
                self._die("validation")
            return evaluate(module, batch, number)

        def on_train_epoch_end(callback, trainer, module):
            self._die("epoch end")
            end(callback, trainer, module)
            self._die("epoch's checkpoint")

        def half(checkpoint, file, *settings, **named):
            save(checkpoint, file, *settings, **named)
            if self._place == "writing" and "last.ckpt" in str(file.name):
                file.truncate(file.tell() // 2)
                self._die("writing")

        def on_fit_end(callback, trainer, module):
            self._die("export")
            export(callback, trainer, module)

        monkeypatch.setattr(TextClassifier, "training_step", training_step)
        monkeypatch.setattr(TextClassifier, "validation_step", validation_step)
        monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", on_train_epoch_end)
        monkeypatch.setattr(torch, "save", half)
        monkeypatch.setattr(HuggingFaceExport, "on_fit_end", on_fit_end)


def result():
    """What a training comes to: weights, optimizer, best checkpoint, exported model."""
    last = torch.load(find_checkpoint("last", [str(RUNS)]))
    exported = max(RUNS.rglob("hf/model.safetensors"), key=lambda path: path.stat().st_mtime)
    best = next(s for k, s in last["callbacks"].items() if k.startswith("BestCheckpoint"))
    return {
        "weights": last["state_dict"],
        "optimizer": last["optimizer_states"][0]["state"],
        "schedule": last["lr_schedulers"],
        "step": last["global_step"],
        "epoch": last["epoch"],
        "best": Path(best["best_model_path"]).name,
        "score": best["best_model_score"],
        "best weights": torch.load(best["best_model_path"])["state_dict"],
        "exported": load_file(exported),
        "streams": last["bertx_resumption"]["streams"],
    }


def differences(ours, theirs, path=""):
    """Where two results differ, bit for bit."""
    if isinstance(ours, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [path]
    if isinstance(ours, dict):
        keys = ours.keys() | theirs.keys()
        return [
            d
            for k in sorted(keys, key=str)
            for d in differences(ours.get(k), theirs.get(k), f"{path}/{k}")
        ]
    if isinstance(ours, (list, tuple)):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}/{i}")]
    return [] if ours == theirs else [f"{path}: {ours} is not {theirs}"]


def curves(run):
    """Everything logged, by key and step."""
    return {
        (key, row["step"]): value
        for row in logged(run)
        for key, value in row.items()
        if key != "step"
    }
