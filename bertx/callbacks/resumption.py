"""Resumption: a resumed training ends as one that was never interrupted."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from bertx.callbacks.checkpoint_file import WholeCheckpoints
from bertx.callbacks.run import gather

STATE_KEY = "bertx_resumption"
"""Where a checkpoint holds what this callback adds to it."""

_COUNTS = ("ready", "started", "processed", "completed")


class Resumption(Callback):
    """Lets ``trainer.fit(..., ckpt_path=...)`` go on exactly where a checkpoint was written.

    Every checkpoint gets the random streams of each process, gradients that wait for more batches,
    the metrics that callbacks monitor, and whether the last batch has been validated. A training
    that was killed then trains on each row once in an epoch, makes up the validation that was cut
    off, and ends with the weights of one that was not, bit for bit on a CPU. The loader must have
    a state, as those of `bertx.data.TextDataModule` have.

    Checkpoints are written by `WholeCheckpoints`, unless the trainer has a checkpoint plugin.
    """

    def __init__(self) -> None:
        self._validated = -1
        self._resumed: dict[str, Any] | None = None
        self._loaders: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See to it that checkpoints are whole."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeCheckpoints()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know that the last batch has been validated."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._validated = _batches(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a training needs to go on; a collective call."""
        ended = _between_epochs(trainer)
        waiting = not ended and trainer.fit_loop._should_accumulate()
        checkpoint[STATE_KEY] = {
            "ended": ended,
            "validated": self._validated == _batches(trainer),
            "stopped": trainer.should_stop,
            "metrics": {key: value.cpu() for key, value in trainer.callback_metrics.items()},
            "streams": gather([_streams(trainer)]),
            "gradients": gather([_gradients(pl_module)]) if waiting else [],
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the trainer's counters where its loops go on from, not where they were."""
        if trainer.state.fn != TrainerFn.FITTING or STATE_KEY not in checkpoint:
            return
        state, loops = checkpoint[STATE_KEY], checkpoint["loops"]["fit_loop"]
        self._resumed = state
        self._loaders = loops["state_dict"].pop("combined_loader", [])
        done = loops["epoch_loop.batch_progress"]["total"]["processed"]
        self._validated = done if state["validated"] else -1
        # A training that was extended by another callback's settings is not over.
        trainer.should_stop = state["stopped"] and bool(trainer.early_stopping_callbacks)
        _place(loops, state["ended"], state["validated"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore what the first batch depends on, when nothing else happens before it."""
        state, self._resumed = self._resumed, None
        if state is None:
            return
        _go_on(trainer, state["ended"], self._loaders)
        trainer._logger_connector._callback_metrics.update(state["metrics"])
        rank = trainer.global_rank
        for name, gradient in dict(*state["gradients"][rank : rank + 1]).items():
            weight = pl_module.get_parameter(name)
            weight.grad = gradient.to(weight.device)
        for streams in state["streams"][rank : rank + 1]:
            _restore(trainer, streams)


def _between_epochs(trainer: Trainer) -> bool:
    """Whether all batches of the epochs that have begun are trained on and validated.

    For Lightning an epoch also ends where max_steps is reached, but more steps would belong to it.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress
    done = batches.current.processed
    through = batches.is_last_batch or done >= trainer.num_training_batches
    return bool(done == 0 or (progress.processed == progress.started and through))


def _batches(trainer: Trainer) -> int:
    """How many batches have been trained on in all epochs."""
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(progress.processed)


def _place(loops: dict[str, Any], ended: bool, validated: bool) -> None:
    """Set the counters of the fit loop's state to the end of the last batch or epoch.

    Lightning writes them in the middle of its hooks, and goes on from there in another way for each
    hook. Two places are enough: between two epochs, and between a batch and what follows it, which
    may be a validation (that Lightning resumes if its counters say that it had begun).
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


def _go_on(trainer: Trainer, ended: bool, loaders: list[dict[str, Any]]) -> None:
    """Set what Lightning's loops derive from their counters, or do not know."""
    loop, steps = trainer.fit_loop.epoch_loop, trainer.global_step
    fetcher: Any = trainer.fit_loop._data_fetcher
    loader: Any = trainer.fit_loop._combined_loader
    if ended:
        loop.restarting = False  # with max_steps it would go on in the epoch that has ended
        loop._batches_that_stepped = steps
        return
    # The step under which is logged is counted behind a validation: when that is resumed, or left
    # out because it was done, it is counted once more.
    again = loop._should_check_val_fx(fetcher) and not loop._should_accumulate()
    loop._batches_that_stepped = steps - again
    if loop.batch_progress.is_last_batch:
        fetcher.done = True  # limit_train_batches leaves batches that the loader still has
    elif loaders:
        loader._load_state_dicts(loaders)


def _gradients(module: LightningModule) -> dict[str, Tensor]:
    return {
        name: weight.grad.detach().cpu()
        for name, weight in module.named_parameters()
        if weight.grad is not None
    }


def _streams(trainer: Trainer) -> dict[str, Any]:
    """The states of this process's random streams, of types that can be read as weights alone."""
    kind, keys, *rest = tuple(np.random.get_state(legacy=True))
    device = trainer.strategy.root_device.type
    here = torch.get_rng_state() if device == "cpu" else _module(device).get_rng_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "device": (device, here),
    }


def _restore(trainer: Trainer, streams: Mapping[str, Any]) -> None:
    version, words, gauss = streams["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = streams["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(streams["torch"])
    device, here = streams["device"]
    if device == trainer.strategy.root_device.type != "cpu":
        _module(device).set_rng_state(here)


def _module(device: str) -> Any:
    return torch.get_device_module(device)
