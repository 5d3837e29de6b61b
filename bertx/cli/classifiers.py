"""A trained classifier with its tokenizer: from a checkpoint, a folder, or the hub."""

from textwrap import shorten
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.cli.remote import brought
from bertx.errors import InputError, first_line
from bertx.models.pretrained import load_tokenizer, load_with_gaps


def load_trained(
    name: str, device: str, called: str | None = None
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a model that was trained to classify, on a device, in evaluation mode.

    Args:
        name: A checkpoint of a run (``.ckpt``), ``last`` or ``best`` for that of the newest run
            under this folder, or a model name (`bertx.models.pretrained.locate`).
        device: ``auto`` for a GPU where there is one, or a device of torch.
        called: What messages call it; None for the option that names it.

    Raises:
        InputError: If there is no such model or device, or the model was not trained to classify.
    """
    place, said = _device(device), f"--model {name}" if called is None else called
    found = _newest(name) if name in ("last", "best") else brought("--model", name)
    try:
        model, missing = load_with_gaps(found, None, None)
        tokenizer = load_tokenizer(found)
    except InputError as error:
        raise InputError(f"{said}: {error}") from error
    if missing:
        raise InputError(
            f"{said} was not trained to classify texts: it has no weights for "
            f"{', '.join(missing[:3])}. Fine-tune it first: bertx fit --model.name {name} ..."
        )
    return _ready(model, place), tokenizer


def _ready(model: nn.Module, device: torch.device) -> nn.Module:
    return model.to(device).eval()


def _newest(which: Any) -> str:
    from bertx.cli.checkpoints import find_checkpoint

    wanted: Literal["last", "best"] = which
    try:
        return find_checkpoint(wanted, ["."])
    except InputError as error:
        raise InputError(str(error).replace("--ckpt_path", "--model")) from error


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
