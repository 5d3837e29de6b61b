"""Writing checkpoint files atomically, and reading them with clear errors."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from bertx.errors import InputError, first_line
from bertx.models.checkpoint import ENDING
from bertx.rendering.files import drafted


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its final path and then moves it there.

    The previous checkpoint stays until then, and a killed run leaves no partial file. Lightning
    writes to the system's temporary folder instead; if that is on another file system, moving the
    file copies it. Remote paths are left to Lightning.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint."""
        if _is_remote(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with drafted(Path(path)) as draft, draft.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            InputError: If the file is damaged.
        """
        with _reading(path):
            return super().load_checkpoint(path, map_location, weights_only)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint on disk; its tensors are read when they are used.

    Raises:
        InputError: If the file is damaged.
    """
    with _reading(path):
        checkpoint: dict[str, Any] = torch.load(
            path, map_location="cpu", weights_only=True, mmap=True
        )
    return checkpoint


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Raise `InputError` for a damaged checkpoint, which suggests another checkpoint."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file fails anywhere from unzipping to unpickling
        others = [] if _is_remote(path) else checkpoints_beside(Path(path))
        other = f"another one, such as {others[0]}" if others else "the checkpoint of another run"
        raise InputError(
            f"checkpoint {path}: expected a complete file, but it cannot be read: "
            f"{first_line(error)}. Use {other}."
        ) from error


def checkpoints_beside(path: Path) -> list[Path]:
    """Return the other complete checkpoints in the folder of a checkpoint, the newest first."""
    others = [other for other in path.parent.glob(f"*{ENDING}") if other.name != path.name]
    complete = [other for other in others if not other.name.startswith(".")]
    return sorted(complete, key=lambda other: other.stat().st_mtime, reverse=True)


def _is_remote(path: str | Path) -> bool:
    """Return whether a path is a URL."""
    return "://" in str(path)
