"""A trained classifier with its tokenizer: from a checkpoint, a folder, an address or the hub."""

import atexit
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import shorten

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import set_verbosity_error

from bertx.cli.noise import bars_of_libraries
from bertx.errors import InputError, first_line, one_line, why
from bertx.models.pretrained import load_tokenizer, load_with_gaps


def load_trained(
    name: str, device: str, called: str | None = None
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a model that was trained to classify, on a device, in evaluation mode.

    What libraries have to say about it is not shown.

    Args:
        name: A checkpoint of a run (``.ckpt``), ``last`` or ``best`` for that of the newest run
            under this folder, or a model name (`bertx.models.pretrained.locate`).
        device: ``auto`` for a GPU where there is one, or a device of torch.
        called: What messages call it; None for the option that names it.

    Raises:
        InputError: If there is no such model or device, or the model was not trained to classify.
    """
    bars_of_libraries()
    set_verbosity_error()
    place, which = _device(device), f"--model {name}" if called is None else called
    path = _find(name)
    try:
        model, missing = load_with_gaps(path, None, None)
        tokenizer = load_tokenizer(path)
    except InputError as error:
        raise InputError(f"{which}: {error}") from error
    if missing:
        raise InputError(
            f"{which} was not trained to classify texts: it has no weights for "
            f"{', '.join(missing[:3])}. Fine-tune it first: bertx fit --model.name {name} ..."
        )
    ready: nn.Module = model
    return ready.to(place).eval(), tokenizer


def _find(name: str) -> str:
    from bertx.cli.checkpoints import find_checkpoint

    if name in ("last", "best"):
        return find_checkpoint(name, ["."], "--model")
    return brought("--model", name)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        _check_there(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = shorten(first_line(error), 160)
        raise InputError(f"--device {name} cannot be used: {reason}") from error
    return device


def _check_there(device: torch.device) -> None:
    if device.type == "meta":
        raise RuntimeError("it holds no numbers. Expected auto, cpu, cuda, cuda:1 or mps.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError("this machine has none. Expected auto or cpu.")
    torch.zeros(1, device=device)


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
    torch.load(path, map_location="cpu", weights_only=True, mmap=True)
