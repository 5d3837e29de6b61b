"""A run as its callbacks know it: its folder, where it stands, its processes, its privacy."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch import distributed

from bertx.errors import InputError

T = TypeVar("T")

_NAME = re.compile(r"[\w.-]+", re.ASCII)


def run_folder(trainer: Trainer) -> Path:
    """The folder of this run, the one in which ModelCheckpoint makes its ``checkpoints``.

    ``save_dir/name/version`` of the first logger, or the Trainer's default root without a logger.
    Rank zero decides: call it on all ranks.

    Raises:
        InputError: If the name or the version of the logger leads out of its ``save_dir``.
    """
    folder = str(trainer.default_root_dir)
    if trainer.loggers:
        first = trainer.loggers[0]
        check_logger(first)
        folder = str(Path(first.save_dir or folder, *_below(first)))
    return Path(trainer.strategy.broadcast(folder))


def here(trainer: Trainer) -> tuple[int, int]:
    """Epoch and step under which Lightning logs a validation's scalars: pictures get the same."""
    return trainer.current_epoch, trainer.fit_loop.epoch_loop._batches_that_stepped


def texts_are_logged(trainer: Trainer) -> bool:
    """Whether the loggers get texts and words.

    Not if ``log_text`` of one callback is false: who says so once means all callbacks.
    """
    return all(getattr(callback, "log_text", True) for callback in callbacks_of(trainer))


def callbacks_of(trainer: Any) -> list[Callback]:
    """The callbacks of a trainer, an attribute that Lightning's types do not declare."""
    callbacks: list[Callback] = trainer.callbacks
    return callbacks


def writes(trainer: Any) -> bool:
    """Whether this process writes files: that of rank zero does, unless the run is a dry one."""
    return trainer.is_global_zero and not trainer.fast_dev_run


def gather(rows: list[T]) -> list[T]:
    """The rows of all ranks, in their order; a collective call."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    everyone: list[list[T]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(everyone, rows)
    return [row for part in everyone for row in part]


def check_logger(logger: Logger) -> None:
    """Refuse a logger that would write outside of its ``save_dir``.

    Raises:
        InputError: If its name or its version leads out of it.
    """
    for field, name in zip(("name", "version"), _below(logger), strict=True):
        if name:  # an empty one adds no folder
            check_within(f"{type(logger).__name__}: {field}", name)


def check_within(field: str, name: str) -> None:
    """Refuse a name of a file or folder that leads out of the folder in which it is made.

    Args:
        field: Where the name is given, for messages.
        name: The name; it may have folders in it.

    Raises:
        InputError: If it is empty, an absolute path, or goes up.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(
            f"{field} {name!r}: expected a name within the folder of the run, but it leads out of "
            "it or names nothing. Leave out '..' and a leading '/'."
        )


def check_name(name: str | None) -> None:
    """Raise `InputError` for a name that cannot be a part of keys and folders."""
    if name is not None and not (_NAME.fullmatch(name) and name.strip(".")):
        raise InputError(
            f"name {name!r}: expected letters, digits, '.', '_' and '-', as it is part of keys and "
            "folders, and not only dots"
        )


def _below(logger: Logger) -> Iterator[str]:
    """The folders of a run below the one of all runs."""
    yield str(logger.name)
    yield logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
