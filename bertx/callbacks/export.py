"""HuggingFaceExport: the best model of a run in the format of Hugging Face."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch import Tensor
from transformers import PreTrainedModel

from bertx.callbacks.adapters import check_loadable, has_adapters, is_adapter, merge_adapters
from bertx.callbacks.checkpoint_file import load_checkpoint
from bertx.callbacks.explaining import find_tokenizer, log_choice, naming
from bertx.callbacks.logits_check import LogitsCheck
from bertx.callbacks.trainer import callbacks_of, check_within, run_folder, writes_files
from bertx.models.checkpoint import save_tokenizer
from bertx.models.classifier import ModelChoice, one_classifier, path_of, uncompiled_name
from bertx.rendering.files import drafted_folder


class HuggingFaceExport(LogitsCheck):
    """Writes the best checkpoint's weights to ``<run>/hf`` when training ends.

    The tokenizer and the label names are included, so that
    ``transformers.pipeline("text-classification", FOLDER)`` loads it. Any module that holds a
    Hugging Face classifier can be exported, compiled or not; it is left as it is. Adapters, such
    as LoRA's, are merged into the weights. With weight averaging, such as `EMAWeightAveraging`,
    the weights of a checkpoint are the averaged ones. Without a checkpoint that monitors a metric,
    the weights at the end of training are written.

    Args:
        folder: Name of the folder within the run's.
        model: Which classifier, if the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.

    Raises:
        InputError: If the folder is not within the run's; before training, if the module holds no
            classifier, several without a choice, an encoder without a head, an adapter that cannot
            be merged, or a classifier that transformers would not load as it is.
    """

    def __init__(self, folder: str = "hf", model: ModelChoice | None = None) -> None:
        check_within("HuggingFaceExport: folder", folder)
        self.folder = folder
        self.model = model
        self.path: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before the first step that the model can be exported."""
        model = self._classifier(pl_module)
        with naming(self):
            check_loadable(*_without_adapters(pl_module, model, pl_module.state_dict()))
        if self.model is not None:
            log_choice(self, "exports", pl_module, model)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder on rank zero."""
        path = run_folder(trainer) / self.folder
        if not writes_files(trainer):
            return
        model = self._classifier(pl_module)
        best = _best_checkpoint(trainer)
        weights = pl_module.state_dict() if best is None else _saved_weights(best)
        plain, state = _without_adapters(pl_module, model, weights)
        tokenizer = find_tokenizer(trainer, pl_module, model, None)
        with drafted_folder(path) as draft:
            plain.save_pretrained(draft, state_dict=state)
            save_tokenizer(tokenizer, draft)
        self.path = path
        print(f"Model ({_last_step(trainer) if best is None else best.name}): {path}")

    def _classifier(self, pl_module: LightningModule) -> PreTrainedModel:
        with naming(self):
            return one_classifier(pl_module, self.model)


def _without_adapters(
    module: LightningModule, model: PreTrainedModel, weights: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """Return the model and the state to export, with adapters merged."""
    parents = (part for part in module.modules() if any(p is model for p in part.modules()))
    outermost = next(filter(is_adapter, parents), model)
    prefix = f"{path_of(module, outermost)}."
    plain = {uncompiled_name(key): value for key, value in weights.items()}
    state = {k.removeprefix(prefix): value for k, value in plain.items() if k.startswith(prefix)}
    if not has_adapters(outermost):
        return model, state
    merged = merge_adapters(outermost, state)
    return merged, {uncompiled_name(name): value for name, value in merged.state_dict().items()}


def _last_step(trainer: Trainer) -> str:
    """Describe the weights at the end of training."""
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
