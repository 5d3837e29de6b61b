"""Checkpoints: the best one, the last one, and finding them again in a later run."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bertx.callbacks.checkpoint_file import checkpoints_beside, load_checkpoint
from bertx.errors import InputError

LAST_FILE = "last"


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint; a resumed run, which has a new folder, still knows the old one."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Know from which checkpoint the run goes on."""
        super().setup(trainer, pl_module, stage)
        self._resumed = trainer.ckpt_path

    def state_dict(self) -> dict[str, Any]:
        """The best score and its checkpoint, and whether one waits for the next validation."""
        return {
            **super().state_dict(),
            "deferred": self._defer_save_until_validation,
            "last_global_step_saved": self._last_global_step_saved,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, if its checkpoint is still there."""
        self._defer_save_until_validation = state_dict.get("deferred", False)
        self._last_global_step_saved = state_dict.get("last_global_step_saved", 0)
        best = _find(state_dict["best_model_path"], Path(self._resumed or ""))
        if best is not None:
            super().load_state_dict({**state_dict, "dirpath": self.dirpath})
            self.best_model_path = str(best)


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt`` in every run, from which ``--ckpt_path last`` resumes.

    It is written every N steps, at the end of every epoch, and on SIGTERM or Ctrl-C, which in a
    training of one process waits for the end of the batch, unless it comes twice. Any other
    exception leaves the one before untouched: what failed may be the weights, and an interrupted
    step may have changed some of them.

    Args:
        every_n_train_steps: N. A killed run loses at most this many steps.
        dirpath: Folder. Default: that of the best checkpoint.
    """

    def __init__(self, every_n_train_steps: int = 500, dirpath: str | None = None) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=LAST_FILE,
            every_n_train_steps=every_n_train_steps,
            save_on_exception=True,
            enable_version_counter=False,
        )
        self._asked = self._between_batches = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Ctrl-C wait for the end of the batch."""
        super().on_train_start(trainer, pl_module)
        alone = trainer.world_size == 1 and current_thread() is main_thread()
        if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write it if its step has come, and end the run if the user has asked for it."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._end_if_asked()

    def on_validation_batch_end(self, *_: Any) -> None:
        """End the run if the user has asked for it: this validation is begun anew."""
        self._end_if_asked()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a resumed run writes a file of its own."""
        return {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, also where the last step has: the best checkpoint is known only now."""
        if not vars(trainer)["fast_dev_run"]:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write it when the user or the system ends the run between two batches."""
        self._let_go()
        if self._between_batches or isinstance(exception, SIGTERMException):
            super().on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave Ctrl-C as it was."""
        self._let_go()

    def _let_go(self) -> None:
        if signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, *_: Any) -> None:
        """Take the first Ctrl-C; the next one ends the run at once."""
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"\nCtrl-C: ending after this batch; once more to end at once.\n")

    def _end_if_asked(self) -> None:
        if self._asked:
            self._between_batches = True
            raise KeyboardInterrupt


def find_checkpoint(which: str, folders: Iterable[str], option: str = "--ckpt_path") -> str:
    """The checkpoint of the newest earlier run.

    Args:
        which: ``last``, the newest ``last.ckpt`` of all runs, or ``best``, the best checkpoint of
            the run that wrote it.
        folders: Where runs are kept.
        option: The option that names it, for messages.

    Raises:
        InputError: If there is none.
    """
    folders = sorted(set(folders))
    checkpoints = [path for folder in folders for path in Path(folder).rglob(f"{LAST_FILE}.ckpt")]
    if not checkpoints:
        raise InputError(
            f"{option} {which}: expected {LAST_FILE}.ckpt of an earlier run under "
            f"{', '.join(folders)}, but found none. Give the path of a checkpoint."
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
    return str(newest if which == LAST_FILE else _best_of(newest, option))


def _best_of(last: Path, option: str) -> Path:
    """The best checkpoint, as the run that wrote ``last`` recorded it.

    One that was found after that has taken its place, and says so itself.
    """
    recorded = list[str]()
    for written in (last, *checkpoints_beside(last)):
        recorded += _recorded(written)
        for path in recorded:
            if best := _find(path, last):
                return best
    raise InputError(
        f"{option} best: expected {last} to name a best checkpoint that exists, but it names "
        f"{', '.join(recorded) or 'none: no validation was run'}. Use {option} last, or a path."
    )


def _recorded(path: Path) -> list[str]:
    states = load_checkpoint(path).get("callbacks", {})
    return [
        state["best_model_path"]
        for key, state in states.items()
        if key.startswith(BestCheckpoint.__qualname__) and state["best_model_path"]
    ]


def _find(recorded: str, beside: Path) -> Path | None:
    """A checkpoint where it was recorded or, after the run's folder was moved, beside another."""
    places = (Path(recorded), beside.parent / Path(recorded).name) if recorded else ()
    return next((path for path in places if path.is_file()), None)
