"""The files and folders that a command is told to write."""

from pathlib import Path
from tempfile import TemporaryFile

from bertx.errors import InputError


def check_writable(option: str, place: Path, folder: bool = False) -> None:
    """Refuse a place that cannot be written; folders that are missing are made.

    Args:
        option: The option that names it, for messages.
        place: A file or a folder.
        folder: Whether it is a folder.

    Raises:
        InputError: If it is the other of both, or cannot be made or written.
    """
    from bertx.rendering.files import is_stream

    kind, other = ("folder", "file") if folder else ("file", "folder")
    within = place if folder else place.resolve().parent  # links are followed when it is written
    try:
        if not folder and is_stream(place):
            return
        if place.exists() and place.is_dir() is not folder:
            raise InputError(
                f"{option} {place}: expected a {kind}, but it is a {other}. Name another place."
            )
        if not within.exists():
            within.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=within):
            pass
    except OSError as error:
        raise unwritable(option, place, error) from error


def unwritable(option: str, place: str | Path, error: OSError) -> InputError:
    """The error of a place that cannot be written.

    Args:
        option: The option that names it.
        place: The file or folder.
        error: Why not.
    """
    reason = error.strerror or error
    return InputError(f"{option} {place} cannot be written: {reason}. Name another place.")
