"""Where a run keeps its files."""

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """The folder of this run, the one in which ModelCheckpoint makes its ``checkpoints``.

    ``save_dir/name/version`` of the first logger, or the Trainer's default root without a logger.
    Rank zero decides: call it on all ranks.
    """
    folder = str(trainer.default_root_dir)
    if trainer.loggers:
        first = trainer.loggers[0]
        version = first.version if isinstance(first.version, str) else f"version_{first.version}"
        folder = str(Path(first.save_dir or folder, str(first.name), version))
    return Path(trainer.strategy.broadcast(folder))
