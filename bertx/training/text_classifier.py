"""The Lightning module that trains a Hugging Face sequence classifier."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.models.checkpoint import FILES, files_of
from bertx.models.classifier import logits_of, takes
from bertx.models.inputs import UNKNOWN
from bertx.models.last_layer import first_token_alone
from bertx.models.pretrained import Dtype, load_with_missing, longest_input
from bertx.training.class_weights import ClassWeights, check_class_weights, loss_weights
from bertx.training.freezing import Freezing, Frozen

_MODEL_FIELDS = ("input_ids", "attention_mask", "token_type_ids")
"""Fields of a batch that the forward of an encoder may take."""

_SHOWN = 80
"""Characters of a text that an error message quotes."""

EvaluationStage = Literal["train", "val", "test", "predict"]


class TextClassifier(LightningModule):
    """Fine-tunes a pretrained encoder with AdamW, linear warm-up and linear decay.

    Logs ``train/loss``, the minimized loss, at every step and ``val/loss``, ``val/accuracy`` and
    ``val/macro_f1`` at the end of an epoch; ``test/...`` likewise. Rows whose label is -100 or
    whose ``index`` is -1 (the padding of a distributed sampler) are ignored. ``val/loss`` is the
    mean cross-entropy over the examples without class weights or label smoothing, so that it can
    be compared between runs with different settings.

    Args:
        name: The pretrained model: a hub id, a folder, package:MODULE/FOLDER, or the path of
            another run's checkpoint (.ckpt).
        labels: Names of the C classes, in the order of their numbers.
        learning_rate: Highest learning rate, reached at the end of the warm-up.
        weight_decay: Weight decay; biases and norms are not decayed.
        warmup: Share of all training steps over which the learning rate rises from 0.
        dtype: Precision of the weights.
        class_weights: Weight of each class in the training loss: ``balanced``, with which all
            classes of the training split have the same total weight, or one weight per class, in
            the order of ``labels`` or by name. Default: all texts have the same weight.
        label_smoothing: Share of the target that is spread evenly over all classes in training.
        freeze: What is not trained: ``embeddings``, a number of layers counted from the embeddings
            (which are then frozen too), or ``encoder``, all but the head, to which BERT's pooler
            belongs. Dropout stays on in frozen layers.
        unfreeze_at_epoch: The epoch, counted from 0, from which all weights are trained, at the
            current learning rate of the schedule. Default: never.
        unfreeze_at_step: The same, as a step of the optimizer.

    Attributes:
        model: The classifier.
        untrained: Names of the weights that the pretrained model lacks and that are drawn at
            random until they are trained or loaded from a checkpoint.

    Raises:
        InputError: If a number is out of range or the model cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        labels: list[str],
        learning_rate: float = 2e-5,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        dtype: Dtype = "float32",
        class_weights: ClassWeights | None = None,
        label_smoothing: float = 0.0,
        freeze: Frozen | None = None,
        unfreeze_at_epoch: int | None = None,
        unfreeze_at_step: int | None = None,
    ) -> None:
        super().__init__()
        _check_settings(learning_rate, weight_decay, warmup, label_smoothing)
        check_class_weights(class_weights, labels)
        self.save_hyperparameters(logger=False)
        self.labels = list(labels)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.model, self.untrained = load_with_missing(name, labels, dtype)
        self._files: dict[str, bytes] = {}
        self._longest = longest_input(self.model)
        self._fields = [field for field in _MODEL_FIELDS if takes(self.model, field)]
        self.metrics = EpochMetrics(len(labels))
        self.freezing = Freezing(self.model, freeze, unfreeze_at_epoch, unfreeze_at_step)
        self._weights: Tensor | None = None
        self._scheduled_rate = learning_rate

    def setup(self, stage: str) -> None:
        """Compute the class weights and prepare the frozen weights for training."""
        if stage == "fit":
            counts = self._counts() if self.class_weights == "balanced" else None
            self._weights = loss_weights(self.class_weights, self.labels, counts)
            self.freezing.prepare(self.trainer.world_size)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the logits (B, C) of a collated batch."""
        width = batch["input_ids"].shape[1]
        if self._longest is not None and width > self._longest:
            raise InputError(
                f"a text of {width} tokens, but {self.hparams['name']!r} has {self._longest} "
                f"positions. Set `max_length` to {self._longest} or less."
            )
        arguments = {field: batch[field] for field in self._fields if field in batch}
        recomputed = _checkpoints_activations(self.model)
        with nullcontext() if recomputed else first_token_alone(self.model):
            return logits_of(self.model, arguments)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the mean loss of a batch and its logits (B, C)."""
        self._check_labels("train", batch)
        logits = self._finite_logits("train", batch)
        weights = None if self._weights is None else self._weights.to(logits.device)
        loss = cross_entropy(
            logits.float(),
            batch["labels"],
            weights,
            ignore_index=UNKNOWN,
            label_smoothing=self.label_smoothing,
        )
        self.log("train/loss", loss, prog_bar=True, batch_size=len(logits))
        return {"loss": loss, "logits": logits.detach()}

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the mean loss of a batch and its logits (B, C)."""
        return self._evaluate("val", batch)

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the mean loss of a batch and its logits (B, C)."""
        return self._evaluate("test", batch)

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return ``index`` (B,) and ``probabilities`` (B, C); NaN where logits overflowed."""
        logits = self(batch)
        finite = logits.isfinite().all(-1, keepdim=True)
        logits = logits.masked_fill(~finite, torch.nan)  # no text is lost for another one
        return {"index": batch["index"], "probabilities": logits.float().softmax(-1)}

    def on_train_epoch_start(self) -> None:
        """Update the schedule if ``learning_rate`` has changed since, as by LearningRateFinder."""
        schedule, rate = self.lr_schedulers(), self.learning_rate
        if rate == self._scheduled_rate or not isinstance(schedule, LambdaLR):
            return
        self._scheduled_rate, schedule.base_lrs = rate, [rate] * len(schedule.base_lrs)
        for group, share in zip(schedule.optimizer.param_groups, schedule.lr_lambdas, strict=True):
            group.update(initial_lr=rate, lr=rate * share(schedule.last_epoch))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Unfreeze the frozen weights when it is due, also after resuming."""
        self.freezing.update(self.current_epoch, self.global_step)

    def on_after_backward(self) -> None:
        """Drop the gradients of frozen weights."""
        self.freezing.drop_gradients()

    def on_validation_epoch_start(self) -> None:
        """Reset the metrics."""
        self.metrics.reset()

    def on_test_epoch_start(self) -> None:
        """Reset the metrics."""
        self.metrics.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the epoch."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics of the epoch."""
        self._log_metrics("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with linear warm-up and linear decay, stepped after every batch."""
        from transformers import get_linear_schedule_with_warmup

        rate = self._scheduled_rate = self.learning_rate
        optimizer = torch.optim.AdamW(self._parameter_groups(), lr=rate, fused=self._fused())
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise InputError(
                "the learning rate falls to 0 at the last step, but training has no end. "
                "Set `max_epochs` or `max_steps`."
            )
        schedule = get_linear_schedule_with_warmup(
            optimizer, math.ceil(self.warmup * steps), int(steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the files of model and tokenizer, so that the checkpoint can be loaded by itself."""
        if not self._files:
            tokenizer = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
            usable = isinstance(tokenizer, PreTrainedTokenizerBase)
            self._files = files_of(self.model, tokenizer if usable else None)
        checkpoint[FILES] = self._files

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model; replace saved settings by those of this run.

        Raises:
            InputError: If the classes differ, or names or shapes of the weights.
        """
        self._check_checkpoint(checkpoint)
        rates = [self.learning_rate] * 2
        decays = [self.weight_decay, 0.0]
        for state in checkpoint.get("optimizer_states", []):
            for group, rate, decay in zip(state["param_groups"], rates, decays, strict=True):
                group["lr"] *= rate / group["initial_lr"]
                group.update(initial_lr=rate, weight_decay=decay)
        for state in checkpoint.get("lr_schedulers", []):
            state["base_lrs"] = rates

    def _fused(self) -> bool | None:
        """Return whether to use the fused AdamW; None for torch's default."""
        # Lightning's mixed precision does not clip gradients with a fused optimizer.
        mixed = isinstance(self.trainer.precision_plugin, MixedPrecision)
        return True if self.device.type in ("cpu", "cuda") and not mixed else None

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return matrices, which are decayed, and vectors (biases, norms), which are not."""
        frozen = {*self.freezing.weights}  # part of the optimizer from the beginning
        trained = [p for p in self.model.parameters() if p.requires_grad or p in frozen]
        return [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def _counts(self) -> list[int]:
        """Return the number of training texts of each class."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "class_counts"):
            raise InputError(
                "`class_weights` balanced: expected a TextDataModule, whose training texts "
                "are counted, but the trainer has none. Give a weight for each class."
            )
        return list(data.class_counts())

    def _evaluate(self, stage: EvaluationStage, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        self._check_labels(stage, batch)
        logits = self._finite_logits(stage, batch)
        labels = batch["labels"]
        counted = labels != UNKNOWN
        if "index" in batch:
            counted = counted & (batch["index"] >= 0)
        losses = cross_entropy(logits.float(), labels, ignore_index=UNKNOWN, reduction="none")
        if counted.any():
            self.metrics.add(losses[counted], logits[counted], labels[counted])
        return {"loss": losses.sum() / (labels != UNKNOWN).sum().clamp(min=1), "logits": logits}

    def _log_metrics(self, stage: EvaluationStage) -> None:
        for key, value in self.metrics.compute().items():
            # The values cover all processes already and are equal on each: averaging is harmless.
            self.log(f"{stage}/{key}", value, prog_bar=True, sync_dist=True)

    def _check_labels(self, stage: EvaluationStage, batch: Mapping[str, Any]) -> None:
        labels, classes = batch["labels"], len(self.labels)
        wrong = ((labels < 0) | (labels >= classes)) & (labels != UNKNOWN)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"{stage}, step {self.global_step}: expected labels 0..{classes - 1} "
                f"({', '.join(self.labels)}), but {_example(batch, row)} has label "
                f"{int(labels[row])}. Check the label column and `labels`."
            )

    def _finite_logits(self, stage: EvaluationStage, batch: Mapping[str, Any]) -> Tensor:
        """Return the logits (B, C), and refuse NaN and infinity."""
        logits = self(batch)
        finite = logits.isfinite().all(-1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise InputError(
                f"{stage}, step {self.global_step}: expected finite logits, but "
                f"{_example(batch, row)} has {logits[row].tolist()}. Lower `learning_rate`, "
                f"check the weights of {self.hparams['name']!r}, or use "
                "`precision` 32-true."
            )
        return logits

    def _check_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        saved = checkpoint.get("hyper_parameters", {})
        if list(saved.get("labels", self.labels)) != self.labels:
            raise InputError(
                f"the checkpoint has the classes {saved['labels']}, this run {self.labels}. Give "
                "the data set of the checkpoint, or its classes as `labels`."
            )
        saved_shapes = {key: value.shape for key, value in checkpoint["state_dict"].items()}
        shapes = {key: value.shape for key, value in self.state_dict().items()}
        if saved_shapes != shapes:
            key = sorted({k for k, _ in saved_shapes.items() ^ shapes.items()})[0]
            raise InputError(
                f"the checkpoint has the weights of {saved.get('name', 'another model')!r}, not of "
                f"{self.hparams['name']!r}: they differ in {key}. Give that model as `name`."
            )


class EpochMetrics(nn.Module):
    """Metrics of an epoch, exact over several processes.

    Args:
        classes: Number of classes C.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.macro_f1 = MulticlassF1Score(classes, average="macro", validate_args=False)

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add B examples: losses (B,), logits (B, C), labels (B,)."""
        self.loss.update(losses)
        self.accuracy.update(logits, labels)
        self.macro_f1.update(logits, labels)

    def compute(self) -> dict[str, Tensor]:
        """Return the values by the name under which they are logged; a collective call."""
        metrics = {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1}
        return {name: metric.compute() for name, metric in metrics.items()}

    def reset(self) -> None:
        """Reset all metrics."""
        # A state created in inference mode (trainer.validate) cannot be updated in fit.
        with torch.inference_mode(False):
            for metric in (self.loss, self.accuracy, self.macro_f1):
                metric.reset()


def _check_settings(
    learning_rate: float, weight_decay: float, warmup: float, label_smoothing: float
) -> None:
    for name, value, valid, expected in (
        ("learning_rate", learning_rate, 0 < learning_rate < math.inf, "a number above 0"),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more"),
        ("warmup", warmup, 0 <= warmup <= 1, "a share from 0 to 1"),
        ("label_smoothing", label_smoothing, 0 <= label_smoothing < 1, "0 or more, and below 1"),
    ):
        if not valid:
            raise InputError(f"`{name}`: expected {expected}, but got {value}.")


def _example(batch: Mapping[str, Any], row: int) -> str:
    """Name an example, and quote the beginning of its text."""
    index = f"example {int(batch['index'][row])}" if "index" in batch else f"row {row}"
    text = batch["text"][row] if "text" in batch else ""
    return f"{index} ({text[:_SHOWN]!r}{'...' if len(text) > _SHOWN else ''})" if text else index


def _checkpoints_activations(model: PreTrainedModel) -> bool:
    """Return whether the backward runs layers again, when hooks of the forward are gone."""
    for name in ("is_activation_checkpointing", "is_gradient_checkpointing"):  # newer name first
        if hasattr(type(model), name):
            return bool(getattr(model, name))
    return False
