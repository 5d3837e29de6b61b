"""A check that the logits of a module's step are those of the classifier that is explained."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from bertx.callbacks.trainer import callbacks_of
from bertx.models.classifier import ModelChoice, classifier_in
from bertx.models.heads import Logits

log = logging.getLogger("bertx")

_TOLERANCE = 8
"""Largest difference between equal logits of different precision, in roundings of the coarser."""


class LogitsCheck(Callback):
    """Warns at the first evaluated batch if the module changes the classifier's logits.

    Of several callbacks that use the same classifier, only the first one checks.
    """

    model: ModelChoice | None
    logits: Logits | None = None
    _logits_recorder: "LogitsRecorder | None" = None
    _checked = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check once in every run of the trainer."""
        self._checked = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop recording."""
        self._stop_recording()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop recording a failed step."""
        self._stop_recording()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record the logits of the first step."""
        if self._checked or self.logits is not None:
            return
        self._checked = True
        checks = (each for each in callbacks_of(trainer) if isinstance(each, LogitsCheck))
        if next(check for check in checks if check.model == self.model) is not self:
            return
        model = classifier_in(pl_module, self.model)
        # Recording would make torch compile a compiled model again.
        if model is not None and not any(map(_is_compiled, pl_module.modules())):
            self._logits_recorder = LogitsRecorder(pl_module, model)

    on_test_batch_start = on_validation_batch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare the recorded logits."""
        recorder, self._logits_recorder = self._logits_recorder, None
        if recorder is not None and recorder.differ(outputs) and trainer.is_global_zero:
            name, module = type(recorder.model).__name__, type(pl_module).__name__
            log.warning(
                f"{name}, which is explained and exported, does not compute the final logits of "
                f"{module}: in the first batch, the logits of the step differ from those of "
                f"{name}, for example by a temperature, a bias or another head. Compute all logits "
                f"in {name}.forward, or choose the classifier that does, model=..."
            )

    on_test_batch_end = on_validation_batch_end

    def _stop_recording(self) -> None:
        if self._logits_recorder is not None:
            self._logits_recorder.close()
        self._logits_recorder = None


class LogitsRecorder:
    """Records the logits of a classifier, and those that one step of a module uses.

    The step uses the logits that it returns as ``logits``, that the module's forward returns, and
    that enter a cross-entropy. The module is left as it was.

    Args:
        pl_module: The module.
        model: The classifier in it.
    """

    def __init__(self, pl_module: LightningModule, model: PreTrainedModel) -> None:
        self.model = model
        self._computed: list[Tensor] = []
        self._used: list[Tensor] = []
        self._stack = ExitStack()
        self._record_forward(model, self._computed)
        self._record_forward(pl_module, self._used)
        self._stack.enter_context(_CrossEntropyInputs(self._used))

    def close(self) -> None:
        """Stop recording."""
        self._stack.close()

    def differ(self, outputs: Any) -> bool:
        """Stop recording, and return whether the step uses other logits than the classifier's.

        Args:
            outputs: What the step has returned.
        """
        self.close()
        if isinstance(outputs, Mapping):
            _append_logits(self._used, outputs.get("logits"))
        if not self._computed:
            return any(used.shape[1] == self.model.config.num_labels for used in self._used)
        pairs = [(a, b) for a in self._used for b in self._computed if a.shape == b.shape]
        return bool(pairs) and not any(_equal(a, b) for a, b in pairs)

    def _record_forward(self, module: nn.Module, logits: list[Tensor]) -> None:
        # Not a hook: adapters call the forward of the model that they wrap, not the module.
        forward, is_attribute = module.forward, "forward" in vars(module)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            first = getattr(output, "logits", output)
            _append_logits(logits, first[0] if isinstance(first, tuple) and first else first)
            return output

        def restore() -> None:
            vars(module).pop("forward", None)
            if is_attribute:
                module.forward = forward

        module.forward = recorded
        self._stack.callback(restore)


class _CrossEntropyInputs(TorchFunctionMode):
    """Records the logits that enter a cross-entropy."""

    def __init__(self, logits: list[Tensor]) -> None:
        super().__init__()
        self._logits = logits

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is cross_entropy:
            _append_logits(self._logits, args[0] if args else kwargs.get("input"))
        return func(*args, **kwargs)


def _append_logits(logits: list[Tensor], value: Any) -> None:
    if isinstance(value, Tensor) and value.dim() == 2 and value.is_floating_point():
        logits.append(value.detach())


def _equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal up to casts between precisions."""
    eps = max(torch.finfo(a.dtype).eps, torch.finfo(b.dtype).eps)
    a, b = a.double().cpu(), b.double().cpu()
    largest = float(torch.maximum(a.abs(), b.abs()).nan_to_num().amax()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=_TOLERANCE * eps * largest, equal_nan=True)


def _is_compiled(module: nn.Module) -> bool:
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None
