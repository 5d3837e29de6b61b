"""Checkpoints: the best one, the last one, and finding them again in a later run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from bertx.errors import InputError

LAST = "last"


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoint; a resumed run, which has a new folder, still knows the old one."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score, if its checkpoint is still there."""
        if Path(state_dict["best_model_path"]).is_file():
            super().load_state_dict({**state_dict, "dirpath": self.dirpath})


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt`` in every run, from which ``--ckpt_path last`` resumes.

    It is written every N steps, at the end of every epoch, and on Ctrl-C or SIGTERM. Any other
    exception leaves the one before untouched: what failed may be the weights.

    Args:
        every_n_train_steps: N. A killed run loses at most so many steps.
        dirpath: Folder. Default: that of the best checkpoint.
    """

    def __init__(self, every_n_train_steps: int = 500, dirpath: str | None = None) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=LAST,
            every_n_train_steps=every_n_train_steps,
            save_on_exception=True,
            enable_version_counter=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a resumed run writes a file of its own."""
        return {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, also where the last step has: the best checkpoint is known only now."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write it when the user or the system ends the run."""
        if isinstance(exception, KeyboardInterrupt | SIGTERMException):
            super().on_exception(trainer, pl_module, exception)


def find_checkpoint(which: Literal["last", "best"], folders: Iterable[str]) -> str:
    """The checkpoint of the newest earlier run.

    Args:
        which: ``last``, the newest ``last.ckpt`` of all runs, or ``best``, the best checkpoint of
            the run that wrote it.
        folders: Where runs are kept.

    Raises:
        InputError: If there is none.
    """
    folders = sorted(set(folders))
    found = [path for folder in folders for path in Path(folder).rglob(f"{LAST}.ckpt")]
    if not found:
        raise InputError(
            f"--ckpt_path {which}: expected {LAST}.ckpt of an earlier run under "
            f"{', '.join(folders)}, but found none. Give the path of a checkpoint."
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return str(newest if which == LAST else _best_of(newest))


def _best_of(last: Path) -> Path:
    """The best checkpoint, as the run that wrote ``last`` recorded it."""
    states = torch.load(last, map_location="cpu", weights_only=True, mmap=True)["callbacks"]
    recorded = [
        state["best_model_path"]
        for key, state in states.items()
        if key.startswith(BestCheckpoint.__qualname__) and state["best_model_path"]
    ]
    for path in map(Path, recorded):
        moved = last.parent / path.name  # or recorded from another working directory
        if path.is_file() or moved.is_file():
            return path if path.is_file() else moved
    raise InputError(
        f"--ckpt_path best: expected {last} to name a best checkpoint that exists, but it names "
        f"{', '.join(recorded) or 'none: no validation was run'}. Use --ckpt_path last, or a path."
    )
