"""Load a trained classifier and its tokenizer from a checkpoint, a folder, a URL or the hub."""

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import set_verbosity_error

from bertx.cli.library_messages import hide_library_bars
from bertx.cli.runs import trained_model
from bertx.errors import InputError, diagnose, first_line, one_line
from bertx.models.pretrained import load_tokenizer, load_with_missing


def load_trained(
    name: str, device: str, label: str | None = None
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a trained classifier on a device, in evaluation mode, without messages of libraries.

    Args:
        name: The folder of a run, for its best checkpoint; a checkpoint (``.ckpt``); ``last`` or
            ``best`` for a checkpoint of the newest run under the current folder; or a model name
            (`bertx.models.pretrained.locate`).
        device: ``auto`` for a GPU if there is one, or a device of torch.
        label: The name of the model in messages. Default: ``--model`` and ``name``.

    Raises:
        InputError: If there is no such model or device, or the model was not trained to classify.
    """
    hide_library_bars()
    set_verbosity_error()
    torch_device, label = _device(device), label or f"--model {name}"
    if name in ("last", "best"):
        from bertx.cli.checkpoints import find_checkpoint  # imports Lightning

        path = find_checkpoint(name, ["."], "--model")
    else:
        path = local_copy("--model", trained_model(name, label))
    try:
        model, missing = load_with_missing(path, None, None)
        tokenizer = load_tokenizer(path)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error
    if missing:
        raise InputError(
            f"{label} was not trained to classify texts: it has no weights for "
            f"{', '.join(missing[:3])}. Fine-tune it first: bertx fit --model.name {name} ..."
        )
    module: nn.Module = model
    return module.to(torch_device).eval(), tokenizer


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        _check_available(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = shorten(first_line(error), 160)
        raise InputError(f"--device {name} cannot be used: {reason}") from error
    return device


def _check_available(device: torch.device) -> None:
    if device.type == "meta":
        raise RuntimeError("it holds no numbers. Expected auto, cpu, cuda, cuda:1 or mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("this machine has none. Expected auto or cpu.")
    torch.zeros(1, device=device)


def local_copy(option: str, path: str) -> str:
    """Download a checkpoint from a URL, and refuse it if it holds more than weights.

    Lightning would unpickle a remote checkpoint with all objects in it, and so run any code.

    Args:
        option: The option that names the checkpoint, for messages.
        path: A path or a URL.

    Returns:
        A local path as it is; for a URL, the path of a copy that is deleted at exit.

    Raises:
        InputError: If the URL cannot be read, or holds more than weights.
    """
    if "://" not in path:
        return path
    from fsspec.core import url_to_fs

    folder = TemporaryDirectory(prefix="bertx-")
    atexit.register(folder.cleanup)
    copy = str(Path(folder.name, f"{Path(path).stem}.ckpt"))
    try:
        files, remote_path = url_to_fs(path)
        files.get_file(remote_path, copy)
        torch.load(copy, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # each file system raises other errors
        reason = diagnose(error) or one_line(error)
        raise InputError(
            f"{option} {path} cannot be read: {reason}. Or download it, and give its path."
        ) from error
    return copy
