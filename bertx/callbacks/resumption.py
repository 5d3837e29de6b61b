"""Resumption: resumed training gives the same result as uninterrupted training."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from bertx.callbacks.checkpoint_file import AtomicCheckpointIO
from bertx.callbacks.trainer import gather

_STATE_KEY = "bertx_resumption"
"""Key of this callback's data in a checkpoint."""

_COUNTS = ("ready", "started", "processed", "completed")


class Resumption(Callback):
    """Lets ``trainer.fit(..., ckpt_path=...)`` continue exactly where a checkpoint was written.

    Every checkpoint gets the random states of each process, accumulated gradients, the metrics that
    callbacks monitor, and whether the last batch has been followed by its validation. A resumed
    run then trains on each row once per epoch, repeats an interrupted validation, and ends with
    the weights of an uninterrupted run, bit for bit on a CPU. The loader must have a state, as the
    loaders of `bertx.data.TextDataModule` do.

    Checkpoints are written by `AtomicCheckpointIO`, unless the trainer has a checkpoint plugin.
    """

    def __init__(self) -> None:
        self._validated = -1
        self._resumed: dict[str, Any] | None = None
        self._loaders: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write checkpoints atomically."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record that the validation after the last batch is done."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._validated = _batches_done(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state that training needs to continue; a collective call."""
        ended = _between_epochs(trainer)
        accumulating = not ended and trainer.fit_loop._should_accumulate()
        checkpoint[_STATE_KEY] = {
            "ended": ended,
            "validated": self._validated == _batches_done(trainer),
            "stopped": trainer.should_stop,
            "metrics": {key: value.cpu() for key, value in trainer.callback_metrics.items()},
            "streams": gather([_random_states(trainer)]),
            "gradients": gather([_gradients(pl_module)]) if accumulating else [],
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set the trainer's counters to the position from which its loops continue."""
        if trainer.state.fn != TrainerFn.FITTING or _STATE_KEY not in checkpoint:
            return
        state, loops = checkpoint[_STATE_KEY], checkpoint["loops"]["fit_loop"]
        self._resumed = state
        self._loaders = loops["state_dict"].pop("combined_loader", [])
        done = loops["epoch_loop.batch_progress"]["total"]["processed"]
        self._validated = done if state["validated"] else -1
        # Without early stopping, as when its settings have changed, training is not over.
        trainer.should_stop = state["stopped"] and bool(trainer.early_stopping_callbacks)
        _set_counters(loops, state["ended"], state["validated"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the state on which the first batch depends, right before it."""
        state, self._resumed = self._resumed, None
        if state is None:
            return
        _restore_loops(trainer, state["ended"], self._loaders)
        trainer._logger_connector._callback_metrics.update(state["metrics"])
        rank = trainer.global_rank
        if rank < len(state["gradients"]):
            for name, gradient in state["gradients"][rank].items():
                weight = pl_module.get_parameter(name)
                weight.grad = gradient.to(weight.device)
        if rank < len(state["streams"]):
            _restore_random_states(trainer, state["streams"][rank])


def _between_epochs(trainer: Trainer) -> bool:
    """Return whether every epoch that has begun is complete, its validation included.

    For Lightning an epoch also ends when max_steps is reached, but further steps belong to it.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress
    done = batches.current.processed
    through = batches.is_last_batch or done >= trainer.num_training_batches
    return bool(done == 0 or (progress.processed == progress.started and through))


def _batches_done(trainer: Trainer) -> int:
    """Return the number of training batches processed in all epochs."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(progress.processed)


def _set_counters(loops: dict[str, Any], ended: bool, validated: bool) -> None:
    """Set the counters of the fit loop's state to the end of the last batch or epoch.

    Lightning saves them within its hooks and resumes differently for each hook. Two positions are
    enough: between two epochs, and after a batch, before the validation that may follow it (which
    Lightning resumes if its counters say that it had begun).
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    begun = 0 if ended else 1
    for scope in ("total", "current"):
        done = min(epochs[scope]["processed"], epochs[scope]["started"] - begun)
        epochs[scope] = dict(zip(_COUNTS, (done + begun, done + begun, done, done), strict=True))
        batches[scope] = dict.fromkeys(_COUNTS, batches[scope]["processed"])
    if ended:
        batches["current"] = dict.fromkeys(_COUNTS, 0)
        batches["is_last_batch"] = False
    due = int(not ended and not validated)
    evaluated = dict(zip(_COUNTS, (due, due, 0, 0), strict=True))
    loops["epoch_loop.val_loop.batch_progress"].update(
        total=evaluated, current=dict.fromkeys(_COUNTS, 0), is_last_batch=False
    )


def _restore_loops(trainer: Trainer, ended: bool, loaders: list[dict[str, Any]]) -> None:
    """Restore the state of Lightning's loops that is not among their counters."""
    loop, steps = trainer.fit_loop.epoch_loop, trainer.global_step
    fetcher: Any = trainer.fit_loop._data_fetcher
    loader: Any = trainer.fit_loop._combined_loader
    if ended:
        loop.restarting = False  # with max_steps it would continue the epoch that has ended
        loop._batches_that_stepped = steps
        return
    # Lightning increments the logged step after a validation, and will do so again when the
    # validation is resumed or skipped.
    again = loop._should_check_val_fx(fetcher) and not loop._should_accumulate()
    loop._batches_that_stepped = steps - again
    if loop.batch_progress.is_last_batch:
        fetcher.done = True  # with limit_train_batches, the loader still has batches
    elif loaders:
        loader._load_state_dicts(loaders)


def _gradients(module: LightningModule) -> dict[str, Tensor]:
    return {
        name: weight.grad.detach().cpu()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


def _random_states(trainer: Trainer) -> dict[str, Any]:
    """Return this process's random states, of types that ``weights_only=True`` can load."""
    kind, keys, *rest = tuple(np.random.get_state(legacy=True))
    device = trainer.strategy.root_device.type
    torch_device: Any = torch if device == "cpu" else torch.get_device_module(device)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "device": (device, torch_device.get_rng_state()),
    }


def _restore_random_states(trainer: Trainer, states: Mapping[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    device, state = states["device"]
    if device == trainer.strategy.root_device.type != "cpu":
        torch_device: Any = torch.get_device_module(device)
        torch_device.set_rng_state(state)
