"""HuggingFaceExport: the best model of a run in the form that everybody can load."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertx.callbacks.checkpoint_file import load_checkpoint
from bertx.callbacks.merging import check_loadable, has_adapters, merged
from bertx.callbacks.methods import blamed, say_choice, tokenizer_of
from bertx.callbacks.outcome import Listener
from bertx.callbacks.run import callbacks_of, check_within, run_folder, writes
from bertx.models.checkpoint import save_tokenizer
from bertx.models.classifier import ModelChoice, one_classifier, path_of, uncompiled_name
from bertx.rendering.files import drafted_folder


class HuggingFaceExport(Listener):
    """Writes the best checkpoint's weights to ``<run>/hf`` when training ends.

    Tokenizer and label names go with it, so that ``transformers.pipeline("text-classification",
    FOLDER)`` loads it. The module may be any that holds a Hugging Face classifier, compiled or
    not; it stays as it is. Adapters, such as LoRA's, are merged into the weights. Where weights
    are averaged, as by `EMAWeightAveraging`, those of a checkpoint are the averaged ones. Without
    a checkpoint that monitors a metric, the weights are those at the end of training.

    Args:
        folder: Name of the folder within the run's.
        model: Which classifier, where the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.

    Raises:
        InputError: If the folder is not within the run's; before training, if the module holds no
            classifier, several and none was chosen, an encoder without its head, an adapter that
            cannot be merged, or a classifier that transformers would not load as it is.
    """

    def __init__(self, folder: str = "hf", model: ModelChoice | None = None) -> None:
        check_within("HuggingFaceExport: folder", folder)
        self.folder = folder
        self.model = model
        self.path: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be exported before the first step."""
        model = self._classifier(pl_module)
        with blamed(self):
            check_loadable(*_plain(pl_module, model, pl_module.state_dict()))
        if self.model is not None:
            say_choice(self, "exports", pl_module, model)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder on rank zero."""
        path = run_folder(trainer) / self.folder
        if not writes(trainer):
            return
        model = self._classifier(pl_module)
        best = _best_checkpoint(trainer)
        weights = pl_module.state_dict() if best is None else _saved_weights(best)
        plain, state = _plain(pl_module, model, weights)
        tokenizer = tokenizer_of(trainer, pl_module, model, None)
        with drafted_folder(path) as draft:
            plain.save_pretrained(draft, state_dict=state)
            save_tokenizer(tokenizer, draft)
        self.path = path
        print(f"Model ({_averaged(trainer) if best is None else best.name}): {path}")

    def _classifier(self, pl_module: LightningModule) -> PreTrainedModel:
        with blamed(self):
            return one_classifier(pl_module, self.model)


def inner_weights(
    module: LightningModule, part: nn.Module, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a part out of those of the ``module`` that holds it.

    Args:
        module: The module.
        part: A part of it.
        weights: A state of the module, compiled or not.

    Returns:
        The state of the part, under the names it has alone.
    """
    prefix = f"{path_of(module, part)}."
    bared = {uncompiled_name(key): value for key, value in weights.items()}
    return {k.removeprefix(prefix): value for k, value in bared.items() if k.startswith(prefix)}


def _plain(
    module: LightningModule, model: PreTrainedModel, weights: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """A model to write, and its state; what they are without adapters, if the module has some."""
    around = (part for part in module.modules() if any(p is model for p in part.modules()))
    part = next((part for part in around if hasattr(part, "merge_and_unload")), model)
    state = inner_weights(module, part, weights)
    if not has_adapters(part):
        return model, state
    model = merged(part, state)
    return model, {uncompiled_name(name): value for name, value in model.state_dict().items()}


def _averaged(trainer: Trainer) -> str:
    """What the weights at the end of a training are."""
    kinds = (StochasticWeightAveraging, WeightAveraging)
    averaging = [type(each).__name__ for each in callbacks_of(trainer) if isinstance(each, kinds)]
    return ", ".join(["last step", *(f"averaged by {name}" for name in averaging)])


def _best_checkpoint(trainer: Trainer) -> Path | None:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor and callback.best_model_path:
            best = Path(callback.best_model_path)
            if best.is_file():
                return best
    return None


def _saved_weights(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_checkpoint(path)["state_dict"]
    return weights
