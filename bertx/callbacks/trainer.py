"""What callbacks read from a trainer: the run's folder and step, other callbacks, other ranks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch import distributed

from bertx.errors import InputError

T = TypeVar("T")


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of this run, in which ModelCheckpoint creates its ``checkpoints``.

    It is ``save_dir/name/version`` of the first logger, or the trainer's default root without a
    logger. Rank zero decides: call it on all ranks.

    Raises:
        InputError: If the name or the version of the logger leads out of its ``save_dir``.
    """
    folder = str(trainer.default_root_dir)
    if trainer.loggers:
        first = trainer.loggers[0]
        check_logger(first)
        folder = str(Path(first.save_dir or folder, *_name_and_version(first)))
    return Path(trainer.strategy.broadcast(folder))


def epoch_and_step(trainer: Trainer) -> tuple[int, int]:
    """Return the epoch and step under which Lightning logs the scalars of a validation."""
    return trainer.current_epoch, trainer.fit_loop.epoch_loop._batches_that_stepped


def texts_are_logged(trainer: Trainer) -> bool:
    """Return whether loggers may receive texts: not if ``log_text`` of any callback is false."""
    return all(getattr(callback, "log_text", True) for callback in callbacks_of(trainer))


def callbacks_of(trainer: Any) -> list[Callback]:
    """Return the callbacks of a trainer, an attribute that Lightning's types do not declare."""
    callbacks: list[Callback] = trainer.callbacks
    return callbacks


def writes_files(trainer: Any) -> bool:
    """Return whether this process writes files: rank zero does, except in a fast_dev_run."""
    return trainer.is_global_zero and not trainer.fast_dev_run


def gather(rows: list[T]) -> list[T]:
    """Return the rows of all ranks, in rank order; a collective call."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    parts: list[list[T]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def check_logger(logger: Logger) -> None:
    """Check that a logger writes within its ``save_dir``.

    Raises:
        InputError: If its name or its version leads out of it.
    """
    for field, name in zip(("name", "version"), _name_and_version(logger), strict=True):
        if name:  # an empty one adds no folder
            check_within(f"{type(logger).__name__}: {field}", name)


def check_within(field: str, name: str) -> None:
    """Check that a file or folder name stays within the folder in which it is created.

    Args:
        field: The setting that holds the name, for messages.
        name: The name; it may contain folders.

    Raises:
        InputError: If the name is empty, absolute, or contains ``..``.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise InputError(
            f"{field} {name!r}: expected a name within the folder of the run, but it is empty or "
            "leads out of it. Leave out '..' and a leading '/'."
        )


def _name_and_version(logger: Logger) -> Iterator[str]:
    yield str(logger.name)
    yield logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
