"""`ProgressLines` for runs without a progress bar, and further progress beside a bar."""

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

from bertx.callbacks.trainer import callbacks_of
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
    """Prints the progress of a run without a progress bar, as in the log of a cluster.

    In training, it prints a line every few hundred steps (loss, learning rate, rows per second,
    time left) and one after every validation (its metrics, the best value so far of the metric that
    the checkpoint monitors, time). Long evaluations and predictions print a line every 30 s. Only
    the first process prints, to standard error, and only if there is no progress bar.

    Args:
        every_n_steps: Training steps between two lines; 0 for lines after validations only.

    Raises:
        InputError: If ``every_n_steps`` is negative.
    """

    clock: Callable[[], float] = staticmethod(monotonic)

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 0:
            raise InputError(f"every_n_steps must be at least 0, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._prints = False
        self._best: float | None = None
        self._stack = ExitStack()
        self._advance: Advance | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Print only without a progress bar."""
        self._prints = trainer.is_global_zero and not has_bar(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop printing lines."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop printing lines."""
        self._close()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure time."""
        self._began = self._last_time = self.clock()
        self._first_step = self._last_step = trainer.global_step
        self._rows, self._best = 0, None
        self._rate: float | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Store the learning rate before the scheduler changes it."""
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
        self._rows += _row_count(batch) * trainer.world_size
        step = trainer.global_step
        due = self.every_n_steps and step > self._last_step and step % self.every_n_steps == 0
        if not self._prints or not due:
            return
        seconds = max(self.clock() - self._last_time, 1e-9)
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        parts = [f"loss {float(loss):.4g}"] if isinstance(loss, Tensor) else []
        if self._rate is not None:
            parts.append(f"learning rate {self._rate:.2g}")
        if self._rows:
            parts.append(f"{self._rows / seconds:,.0f} rows/s")
        total, done = _total_steps(trainer), step - self._first_step
        if total is not None and done:
            left = (self.clock() - self._began) / done * max(total - step, 0)
            parts.append(f"about {duration(left)} left")
        _print_line(trainer, parts)
        self._last_time, self._rows, self._last_step = self.clock(), 0, step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure time and count batches."""
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
        """Count the batch."""
        if self._advance is not None:
            self._advance(1)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the metrics in training; in other runs the trainer prints a table."""
        self._close()
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        spent = self.clock() - self._validated_at
        self._last_time += spent  # rows per second do not count validation
        if self._prints:
            metrics = trainer.progress_bar_metrics
            parts = [f"{k} {v:.4g}" for k, v in metrics.items() if k.startswith("val")]
            parts += self._best_so_far(trainer)
            _print_line(trainer, [*parts, f"validated in {duration(spent)}"])

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count batches."""
        self._open("Testing, batches", trainer.num_test_batches)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop printing lines."""
        self._close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to count batches."""
        self._open("Predicting, batches", trainer.num_predict_batches)

    on_predict_end = on_test_end

    def _open(self, what: str, batches: list[int | float]) -> None:
        self._close()
        if self._prints:
            total = sum(batches)
            count = int(total) if isfinite(total) else None
            self._advance = self._stack.enter_context(Lines().task(what, count))

    def _close(self) -> None:
        self._stack.close()
        self._advance = None

    def _best_so_far(self, trainer: Trainer) -> list[str]:
        """Describe the best value of the checkpoint's metric, this validation included."""
        checkpoint = trainer.checkpoint_callback
        monitor = getattr(checkpoint, "monitor", None)
        value = trainer.callback_metrics.get(monitor) if monitor else None
        if value is None:
            return []
        better = min if getattr(checkpoint, "mode", None) == "min" else max
        values = [self._best, getattr(checkpoint, "best_model_score", None), value]
        self._best = better(float(each) for each in values if each is not None)
        return [f"best {monitor} so far {self._best:.4g}"]


@contextmanager
def beside_bar(trainer: Trainer) -> Iterator[None]:
    """Show progress as another bar of the trainer, or as lines if it has no bar to extend.

    Without a progress bar nothing is shown, unless a display was chosen or there is a
    `ProgressLines`.
    """
    bar = trainer.progress_bar_callback
    display: Display = Lines()
    if bar is None or not has_bar(trainer):
        prints = any(isinstance(callback, ProgressLines) for callback in callbacks_of(trainer))
        display = chosen() or (Lines() if prints else Silent())
    elif isinstance(bar, RichProgressBar):
        if bar.progress is not None and bar.progress.console.is_terminal:
            display = Bars(bar.progress)
    elif interactive():
        display = Lines(bar.print)
    with displayed(display):
        yield


def has_bar(trainer: Trainer) -> bool:
    """Return whether a trainer shows a progress bar."""
    bar = trainer.progress_bar_callback
    return bar is not None and not getattr(bar, "is_disabled", False)


def _print_line(trainer: Trainer, parts: list[str]) -> None:
    epochs, steps = trainer.max_epochs or -1, _total_steps(trainer)
    # Counted from 0, as in the trainer's bar, the logs and the names of checkpoints.
    epoch = f"Epoch {trainer.current_epoch}" + (f"/{epochs - 1}" if epochs > 0 else "")
    step = f"step {trainer.global_step:,}" + (f"/{steps:,}" if steps is not None else "")
    print(f"{epoch}, {step}: {', '.join(parts)}", file=sys.stderr, flush=True)


def _total_steps(trainer: Trainer) -> int | None:
    steps = trainer.estimated_stepping_batches
    return int(steps) if isfinite(steps) and steps > 0 else None


def _row_count(batch: Any) -> int:
    """Return the number of rows of a batch; 0 if unknown."""
    values = batch.values() if isinstance(batch, Mapping) else batch
    if isinstance(values, Tensor):
        return len(values)
    if not isinstance(values, (list, tuple, ValuesView)):
        return 0
    return next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 0)
