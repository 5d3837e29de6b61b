"""Whether the logits of a module's step are those of the classifier that is taken for its own."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from bertx.callbacks.run import callbacks_of
from bertx.models.classifier import ModelChoice, classifier_in
from bertx.models.heads import Logits

log = logging.getLogger("bertx")

_ROUNDINGS = 8
"""How many roundings of the less precise type apart logits may be that are only cast."""


class Listener(Callback):
    """Warns at the first evaluated batch of logits that are not the classifier's own.

    Of several callbacks that mean the same classifier, the first one listens.
    """

    model: ModelChoice | None
    logits: Logits | None = None
    _outcome: "Outcome | None" = None
    _listened = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen once in every run of the trainer."""
        self._listened = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop listening to a step that has failed."""
        self._stop()

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Listen to the first step."""
        if self._listened or self.logits is not None:
            return
        self._listened = True
        listeners = (each for each in callbacks_of(trainer) if isinstance(each, Listener))
        alike = (each for each in listeners if each.model == self.model)
        model = classifier_in(pl_module, self.model) if next(alike) is self else None
        # Listening would have a compiled model compiled anew.
        if model is not None and not any(map(_compiled, pl_module.modules())):
            self._outcome = Outcome(pl_module, model)

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
        """Compare what was heard."""
        heard, self._outcome = self._outcome, None
        if heard is not None and heard.changed(outputs) and trainer.is_global_zero:
            name, kind = type(heard.model).__name__, type(pl_module).__name__
            log.warning(
                f"{name}, which is explained and exported, is not all of {kind}: the logits "
                f"of the first batch's step differ from those of {name}, for example by a "
                f"temperature, a bias or another head. Compute all logits in {name}.forward, or "
                "choose the classifier that has them, model=..."
            )

    on_test_batch_end = on_validation_batch_end

    def _stop(self) -> None:
        if self._outcome is not None:
            self._outcome.close()
        self._outcome = None


class Outcome:
    """Listens to one step of a module, which is then as it was.

    What the classifier answers is compared with what the step makes of it: what it returns as
    ``logits``, what the forward of the module returns, and what it asks the cross entropy of.

    Args:
        pl_module: The module.
        model: The classifier in it.
    """

    def __init__(self, pl_module: LightningModule, model: PreTrainedModel) -> None:
        self.model = model
        self._answered: list[Tensor] = []
        self._used: list[Tensor] = []
        self._stack = ExitStack()
        for part, kept in ((model, self._answered), (pl_module, self._used)):
            self._stack.callback(_overhear(part, kept))
        self._stack.enter_context(_Losses(self._used))

    def close(self) -> None:
        """Stop listening."""
        self._stack.close()

    def changed(self, outputs: Any) -> bool:
        """Stop listening; whether the step's logits are others than the classifier's.

        Args:
            outputs: What the step has returned.
        """
        self.close()
        if isinstance(outputs, Mapping):
            _keep(self._used, outputs.get("logits"))
        if not self._answered:
            return any(used.shape[1] == self.model.config.num_labels for used in self._used)
        alike = [(a, b) for a in self._used for b in self._answered if a.shape == b.shape]
        return bool(alike) and not any(_same(a, b) for a, b in alike)


class _Losses(TorchFunctionMode):
    """Keeps what the cross entropy is asked of."""

    def __init__(self, kept: list[Tensor]) -> None:
        super().__init__()
        self._kept = kept

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func is cross_entropy:
            _keep(self._kept, args[0] if args else named.get("input"))
        return func(*args, **named)


def _overhear(part: nn.Module, kept: list[Tensor]) -> Callable[[], None]:
    """Keep the logits that a forward returns; what is returned ends that."""
    # No hook: adapters call the forward of what they wrap, and not the module.
    before, replaced = part.forward, "forward" in vars(part)

    def forward(*arguments: Any, **named: Any) -> Any:
        output = before(*arguments, **named)
        logits = getattr(output, "logits", output)
        _keep(kept, logits[0] if isinstance(logits, tuple) and logits else logits)
        return output

    def undo() -> None:
        vars(part).pop("forward", None)
        if replaced:
            part.forward = before

    part.forward = forward
    return undo


def _keep(kept: list[Tensor], logits: Any) -> None:
    if isinstance(logits, Tensor) and logits.dim() == 2 and logits.is_floating_point():
        kept.append(logits.detach())


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal up to casts."""
    step = max(torch.finfo(a.dtype).eps, torch.finfo(b.dtype).eps)
    a, b = a.double().cpu(), b.double().cpu()
    largest = float(torch.maximum(a.abs(), b.abs()).nan_to_num().amax()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=0, atol=_ROUNDINGS * step * largest, equal_nan=True)


def _compiled(part: nn.Module) -> bool:
    return "_orig_mod" in part._modules or part._compiled_call_impl is not None
