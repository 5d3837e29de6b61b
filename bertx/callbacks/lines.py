"""How a run goes: `ProgressLines` where there is no progress bar, progress beside one."""

import sys
from collections.abc import Callable, Iterator, Mapping, ValuesView
from contextlib import ExitStack, contextmanager
from math import isfinite
from time import monotonic
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from bertx.callbacks.run import callbacks_of
from bertx.errors import InputError
from bertx.progress import (
    Advance,
    Bars,
    Display,
    Lines,
    Silent,
    chosen,
    displayed,
    duration,
    interactive,
)


class ProgressLines(Callback):
    """Prints how a run goes where the trainer has no progress bar, as in the log of a cluster.

    While training, a line every few hundred steps (loss, learning rate, rows per second, time
    left) and one after every validation (its metrics, the best value so far of what the checkpoint
    monitors, time). Evaluation and prediction that take long print a line every 30 s. Lines go to
    standard error, from the first process alone; beside a progress bar nothing is printed.

    Args:
        every_n_steps: Training steps between two lines; 0 for none between validations.

    Raises:
        InputError: If ``every_n_steps`` is negative.
    """

    clock: Callable[[], float] = staticmethod(monotonic)

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 0:
            raise InputError(f"every_n_steps must be at least 0, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._speaks = False
        self._best: float | None = None
        self._stack = ExitStack()
        self._advance: Advance | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out whether anybody else shows how the run goes."""
        self._speaks = trainer.is_global_zero and not has_bar(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop."""
        self._close()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = self._since = self.clock()
        self._first = self._printed = trainer.global_step
        self._rows, self._best = 0, None
        self._rate: float | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate: after the step it is that of the next one."""
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        self._rate = groups[0]["lr"] if groups else None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Print a line when one is due."""
        self._rows += _rows(batch) * trainer.world_size
        step = trainer.global_step
        due = self.every_n_steps and step > self._printed and step % self.every_n_steps == 0
        if not self._speaks or not due:
            return
        seconds = max(self.clock() - self._since, 1e-9)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        parts = [f"loss {float(loss):.4g}"] if isinstance(loss, Tensor) else []
        if self._rate is not None:
            parts.append(f"learning rate {self._rate:.2g}")
        if self._rows:
            parts.append(f"{self._rows / seconds:,.0f} rows/s")
        left = self._left(trainer)
        _say(trainer, [*parts, *([f"about {duration(left)} left"] if left is not None else [])])
        self._since, self._rows, self._printed = self.clock(), 0, step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count batches, and to take the time."""
        self._validated_at = self.clock()
        if not trainer.sanity_checking:
            self._open("Validating, batches", trainer.num_val_batches)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count."""
        if self._advance is not None:
            self._advance(1)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what came out, while training; elsewhere the trainer prints a table."""
        self._close()
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        spent = self.clock() - self._validated_at
        self._since += spent  # rows per second are those of the training
        if self._speaks:
            metrics = trainer.progress_bar_metrics
            parts = [f"{k} {v:.4g}" for k, v in metrics.items() if k.startswith("val")]
            parts += self._best_so_far(trainer)
            _say(trainer, [*parts, f"validated in {duration(spent)}"])

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count batches."""
        self._open("Testing, batches", trainer.num_test_batches)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop."""
        self._close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count batches."""
        self._open("Predicting, batches", trainer.num_predict_batches)

    on_predict_end = on_test_end

    def _open(self, what: str, batches: list[int | float]) -> None:
        self._close()
        if self._speaks:
            total = sum(batches)
            count = int(total) if isfinite(total) else None
            self._advance = self._stack.enter_context(Lines().task(what, count))

    def _close(self) -> None:
        self._stack.close()
        self._advance = None

    def _left(self, trainer: Trainer) -> float | None:
        total, done = _all_steps(trainer), trainer.global_step - self._first
        if total is None or not done:
            return None
        return (self.clock() - self._began) / done * max(total - trainer.global_step, 0)

    def _best_so_far(self, trainer: Trainer) -> list[str]:
        """The best value of what the checkpoint monitors, this validation included."""
        checkpoint = trainer.checkpoint_callback
        monitor = getattr(checkpoint, "monitor", None)
        value = trainer.callback_metrics.get(monitor) if monitor else None
        if value is None:
            return []
        better = min if getattr(checkpoint, "mode", None) == "min" else max
        values = [self._best, getattr(checkpoint, "best_model_score", None), value]
        self._best = better(float(one) for one in values if one is not None)
        return [f"best {monitor} so far {self._best:.4g}"]


@contextmanager
def beside_bar(trainer: Trainer) -> Iterator[None]:
    """Show progress as one more bar of the trainer's, or in lines where it cannot have one.

    A trainer without a bar shows nothing, unless the command line or `ProgressLines` asks for it.
    """
    with displayed(_display(trainer)):
        yield


def _display(trainer: Trainer) -> Display:
    bar = trainer.progress_bar_callback
    if bar is None or not has_bar(trainer):
        shown = any(isinstance(callback, ProgressLines) for callback in callbacks_of(trainer))
        return chosen() or (Lines() if shown else Silent())
    if isinstance(bar, RichProgressBar):
        live = bar.progress
        return Bars(live) if live is not None and live.console.is_terminal else Lines()
    return Lines(bar.print) if interactive() else Lines()


def has_bar(trainer: Trainer) -> bool:
    """Whether a trainer shows a progress bar."""
    bar = trainer.progress_bar_callback
    return bar is not None and not getattr(bar, "is_disabled", False)


def _say(trainer: Trainer, parts: list[str]) -> None:
    epochs, steps = trainer.max_epochs or -1, _all_steps(trainer)
    # Counted from 0, as in the trainer's bar, the logs and the names of checkpoints.
    epoch = f"Epoch {trainer.current_epoch}" + (f"/{epochs - 1}" if epochs > 0 else "")
    step = f"step {trainer.global_step:,}" + (f"/{steps:,}" if steps is not None else "")
    print(f"{epoch}, {step}: {', '.join(parts)}", file=sys.stderr, flush=True)


def _all_steps(trainer: Trainer) -> int | None:
    steps = trainer.estimated_stepping_batches
    return int(steps) if isfinite(steps) and steps > 0 else None


def _rows(batch: Any) -> int:
    """How many rows a batch has, as far as can be told."""
    values = batch.values() if isinstance(batch, Mapping) else batch
    if isinstance(values, Tensor):
        return len(values)
    if not isinstance(values, (list, tuple, ValuesView)):
        return 0
    return next((len(one) for one in values if isinstance(one, Tensor) and one.ndim), 0)
