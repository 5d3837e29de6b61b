"""A trained classifier with its tokenizer: from a checkpoint, a folder, or the hub."""

from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.pretrained import first_line, load_tokenizer, locate

CHECKPOINT = ".ckpt"


def load_trained(name: str, device: str) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a model that was trained to classify, on a device, in evaluation mode.

    Args:
        name: A checkpoint of a run (``.ckpt``), ``last`` or ``best`` for that of the newest run
            under this folder, or a model name (`bertx.pretrained.locate`).
        device: ``auto`` for a GPU where there is one, or a device of torch.

    Raises:
        InputError: If there is no such model or device, or the model was not trained to classify.
    """
    place = _device(device)
    if name in ("last", "best") or name.endswith(CHECKPOINT):
        model, tokenizer = _from_checkpoint(name)
    else:
        model, tokenizer = _pretrained(name), load_tokenizer(name)
    return model.to(place).eval(), tokenizer


def _from_checkpoint(name: str) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    path = _newest(name) if name in ("last", "best") else name
    if not Path(path).is_file():
        raise InputError(
            f"--model {path}: no such file. Expected a checkpoint, or last or best for that of "
            "the newest run."
        )
    from bertx.model import TextClassifier

    try:
        module = TextClassifier.load_from_checkpoint(path, map_location="cpu")
    except InputError:
        raise
    except Exception as error:  # a foreign file fails anywhere from unpickling to __init__
        raise InputError(
            f"--model {path} is no checkpoint of bertx: {first_line(error)}"
        ) from error
    return module.model, load_tokenizer(module.hparams["name"])


def _newest(which: Any) -> str:
    from bertx.cli.checkpoints import find_checkpoint

    wanted: Literal["last", "best"] = which
    try:
        return find_checkpoint(wanted, ["."])
    except InputError as error:
        raise InputError(str(error).replace("--ckpt_path", "--model")) from error


def _pretrained(name: str) -> nn.Module:
    place = locate(name)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            place, output_loading_info=True
        )
    except Exception as error:  # a damaged file fails anywhere from safetensors to unpickling
        raise InputError(
            f"--model {name} cannot be loaded: {first_line(error).rstrip('.')}. Expected a "
            "checkpoint (.ckpt), last, best, a hub id, or a folder with config.json and weights."
        ) from error
    if missing := sorted(loaded["missing_keys"]):
        raise InputError(
            f"--model {name} was not trained to classify texts: it has no weights for "
            f"{', '.join(missing[:3])}. Fine-tune it first: bertx fit --model.name {name} ..."
        )
    return model


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
