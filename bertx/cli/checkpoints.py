"""Callbacks that save the best and the last checkpoint, and how later runs find these again."""

import os
import signal
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Literal

from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bertx.callbacks.checkpoint_file import checkpoints_beside, load_checkpoint
from bertx.errors import InputError

LAST_FILE = "last"
AUTO = "auto"
Mode = Literal["min", "max"]

_MODES: dict[str, Mode] = {
    "loss": "min", "accuracy": "max", "macro_f1": "max", "cost": "min", "shortcut_share": "min",
    "drift": "min", "drift_rank": "max",
}  # fmt: skip


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint, even if a resumed run writes to another folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remember the checkpoint from which the run resumes."""
        super().setup(trainer, pl_module, stage)
        self._resumed = trainer.ckpt_path

    def state_dict(self) -> dict[str, Any]:
        """Add to Lightning's state whether a checkpoint waits for the next validation."""
        return {
            **super().state_dict(),
            "deferred": self._defer_save_until_validation,
            "last_global_step_saved": self._last_global_step_saved,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score, if its checkpoint still exists."""
        self._defer_save_until_validation = state_dict.get("deferred", False)
        self._last_global_step_saved = state_dict.get("last_global_step_saved", 0)
        best = _existing(state_dict["best_model_path"], Path(self._resumed or ""))
        if best is not None:
            super().load_state_dict({**state_dict, "dirpath": self.dirpath})
            self.best_model_path = str(best)


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt`` in every run, from which ``--ckpt_path last`` resumes.

    The file is written every N steps, at the end of every epoch, and on SIGTERM or Ctrl-C. In a
    training of one process the first Ctrl-C waits for the end of the batch. Any other exception
    leaves the file as it was, because the weights may be invalid or partly updated.

    Args:
        every_n_train_steps: N. A killed run loses at most this many steps.
        dirpath: The folder. Default: the folder of the best checkpoint.
    """

    def __init__(self, every_n_train_steps: int = 500, dirpath: str | None = None) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=LAST_FILE,
            every_n_train_steps=every_n_train_steps,
            save_on_exception=True,
            enable_version_counter=False,
        )
        self._interrupted = self._between_batches = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make Ctrl-C wait for the end of the batch."""
        super().on_train_start(trainer, pl_module)
        alone = trainer.world_size == 1 and current_thread() is main_thread()
        if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write the file every N steps, and end the run after a Ctrl-C."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._end_if_interrupted()

    def on_validation_batch_end(self, *_: Any) -> None:
        """End the run after a Ctrl-C; a resumed run starts this validation again."""
        self._end_if_interrupted()

    def state_dict(self) -> dict[str, Any]:
        """Return no state: a resumed run writes a new file."""
        return {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file, even if the last step did: it did not know this epoch's best."""
        if not vars(trainer)["fast_dev_run"]:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the file if the user ends the run between two batches, or on SIGTERM."""
        self._restore_signal()
        if self._between_batches or isinstance(exception, SIGTERMException):
            super().on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the default handling of Ctrl-C."""
        self._restore_signal()

    def _restore_signal(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, *_: Any) -> None:
        """Handle the first Ctrl-C; the next one ends the run at once."""
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nCtrl-C: ending after this batch; press it again to end at once.\n")

    def _end_if_interrupted(self) -> None:
        if self._interrupted:
            self._between_batches = True
            raise KeyboardInterrupt


def best_mode(monitor: str, metrics: Mapping[str, Any] | None) -> Mode:
    """Return whether smaller or larger values of a monitored key are better.

    Args:
        monitor: A logged key, such as ``val/loss`` or ``val/deletion_auc/attnlrp``.
        metrics: The setting ``faithfulness.metrics``; None for the default metrics.

    Raises:
        InputError: If neither is known to be better.
    """
    higher = _higher_is_better(metrics)
    for part in monitor.split("/")[1:] or [monitor]:  # a callback's name may precede the metric
        name = part.removesuffix("_searched")
        if name in _MODES:
            return _MODES[name]
        if name.endswith("_gain"):
            return "max"
        if higher.get(name) is not None:
            return "max" if higher[name] else "min"
    raise InputError(
        f"checkpoint.monitor {monitor!r}: unknown whether smaller or larger values are better. Set "
        "--checkpoint.mode min or max."
    )


def _higher_is_better(metrics: Mapping[str, Any] | None) -> dict[str, bool | None]:
    if metrics is None:
        from bertx.evaluation import default_metrics

        return {name: metric.higher_is_better for name, metric in default_metrics().items()}
    return {name: _metric_class(metric).higher_is_better for name, metric in metrics.items()}


def _metric_class(metric: Any) -> Any:
    if not isinstance(metric, Namespace):
        return type(metric)
    module, _, name = metric.class_path.rpartition(".")
    return getattr(import_module(module), name)


def find_checkpoint(which: str, folders: Iterable[str], option: str = "--ckpt_path") -> str:
    """Return the last or best checkpoint of the newest earlier run.

    Args:
        which: ``last`` for the newest ``last.ckpt`` of all runs, or ``best`` for the best
            checkpoint of the run that wrote it.
        folders: Folders of runs, searched recursively.
        option: The option that names the checkpoint, for messages.

    Raises:
        InputError: If there is no such checkpoint.
    """
    folders = sorted(set(folders))
    checkpoints = [path for folder in folders for path in Path(folder).rglob(f"{LAST_FILE}.ckpt")]
    if not checkpoints:
        raise InputError(
            f"{option} {which}: expected {LAST_FILE}.ckpt of an earlier run under "
            f"{', '.join(folders)}, but found none. Give the path of a checkpoint."
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
    return str(newest if which == LAST_FILE else best_of(newest))


def best_of(last: Path) -> Path:
    """Return the best checkpoint of the run that wrote ``last``.

    A checkpoint that became the best after ``last`` was written records this itself.

    Raises:
        InputError: If no best checkpoint is recorded, or it does not exist.
    """
    recorded = list[str]()
    for checkpoint in (last, *checkpoints_beside(last)):
        recorded += _recorded_best(checkpoint)
        for path in recorded:
            if best := _existing(path, last):
                return best
    raise InputError(
        f"expected {last} to name a best checkpoint that exists, but it names "
        f"{', '.join(recorded) or 'none: no validation was run'}. Give the path of a checkpoint, "
        f"such as {last}."
    )


def _recorded_best(path: Path) -> list[str]:
    states = load_checkpoint(path).get("callbacks", {})
    return [
        state["best_model_path"]
        for key, state in states.items()
        if key.startswith(BestCheckpoint.__qualname__) and state["best_model_path"]
    ]


def _existing(recorded: str, other: Path) -> Path | None:
    """Find a checkpoint at its recorded path or, if its folder was moved, beside another one."""
    paths = (Path(recorded), other.parent / Path(recorded).name) if recorded else ()
    return next((path for path in paths if path.is_file()), None)
