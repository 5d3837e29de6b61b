"""HuggingFaceExport: the best model of a run in the form that everybody can load."""

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from transformers import PreTrainedModel

from bertx.callbacks.folder import check_within, run_folder
from bertx.callbacks.methods import tokenizer_of
from bertx.classifier import classifier_in
from bertx.errors import InputError

_SHELL = "_orig_mod."


class HuggingFaceExport(Callback):
    """Writes the best checkpoint's weights to ``<run>/hf`` when training ends.

    Tokenizer and label names go with it, so that ``transformers.pipeline("text-classification",
    FOLDER)`` loads it. The module may be any that holds a Hugging Face classifier, compiled or
    not; it stays as it is. Without a checkpoint that monitors a metric, the weights are those at
    the end of training.

    Args:
        folder: Name of the folder within the run's.

    Raises:
        InputError: If the folder is not within the run's; before training, if the module holds no
            classifier.
    """

    def __init__(self, folder: str = "hf") -> None:
        check_within("HuggingFaceExport: folder", folder)
        self.folder = folder
        self.path: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be exported before the first step."""
        _classifier(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder on rank zero."""
        path = run_folder(trainer) / self.folder
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        model = _classifier(pl_module)
        best = _best_checkpoint(trainer)
        weights = pl_module.state_dict() if best is None else _saved_weights(best)
        model.save_pretrained(path, state_dict=inner_weights(pl_module, model, weights))
        tokenizer_of(trainer, pl_module, model, None).save_pretrained(path)
        self.path = path
        print(f"Model ({'last step' if best is None else best.name}): {path}")


def inner_weights(
    module: LightningModule, model: PreTrainedModel, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of ``model`` out of those of the ``module`` that holds it.

    Args:
        module: The module.
        model: A part of it.
        weights: A state of the module, compiled or not.

    Returns:
        The state of the model, under the names it has alone.
    """
    name = next(name for name, part in module.named_modules() if part is model)
    prefix = f"{name}.".replace(_SHELL, "")
    bare = {key.replace(_SHELL, ""): value for key, value in weights.items()}
    return {k.removeprefix(prefix): value for k, value in bare.items() if k.startswith(prefix)}


def _classifier(module: LightningModule) -> PreTrainedModel:
    model = classifier_in(module)
    if model is None:
        raise InputError(
            f"HuggingFaceExport found no Hugging Face model in {type(module).__name__}. Hold one "
            "as an attribute of the module."
        )
    return model


def _best_checkpoint(trainer: Trainer) -> Path | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            best = Path(callback.best_model_path)
            if best.is_file():
                return best
    return None


def _saved_weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
