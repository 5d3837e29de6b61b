"""Checkpoints that lie elsewhere (https://, s3://, gs://), brought to this machine and checked."""

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory

from bertx.errors import InputError


def brought(option: str, path: str) -> str:
    """The path of a checkpoint on this machine.

    Lightning would unpickle what it reads from an address, and with it run whatever the pickle
    says; here it is a file of weights, or it is refused.

    Args:
        option: The option that names it, for messages.
        path: A path or an address. A path of this machine is what it is.

    Returns:
        The path; of what was an address, that of a copy which is kept as long as the process runs.

    Raises:
        InputError: If the address cannot be read, or holds more than weights.
    """
    if "://" not in path:
        return path
    from fsspec.core import url_to_fs

    from bertx.errors import one_line, why

    folder = TemporaryDirectory(prefix="bertx-")
    atexit.register(folder.cleanup)
    copy = str(Path(folder.name, f"{Path(path).stem}.ckpt"))
    try:
        files, inner = url_to_fs(path)
        files.get_file(inner, copy)
        _check_alone(copy)
    except Exception as error:  # each kind of address fails in its own way
        reason = why(error) or one_line(error)
        raise InputError(
            f"{option} {path} cannot be read: {reason}. Or download it, and give its path."
        ) from error
    return copy


def _check_alone(path: str) -> None:
    import torch

    torch.load(path, map_location="cpu", weights_only=True, mmap=True)
