"""Checkpoints of runs as pretrained models: weights, configuration and tokenizer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError, diagnose, one_line
from bertx.models.classifier import uncompiled_name

ENDING = ".ckpt"

_CONFIG = "config.json"

FILES = "hf"
"""Key of a checkpoint that holds the files of `files_of`."""

Component = Literal["model", "tokenizer"]

_PREFIX = "model."


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint that a classifier is built from.

    Attributes:
        state: The weights of the module that holds the classifier, as they are in the file.
        files: ``config.json`` and the files of the tokenizer; empty in checkpoints of other
            programs and of early versions.
        name: The pretrained model that was fine-tuned.
        labels: The names of the classes.
    """

    state: Mapping[str, Tensor]
    files: Mapping[str, bytes]
    name: str
    labels: tuple[str, ...]

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the classifier by their names in the classifier.

        They are copies, as the file may be overwritten while the model is in use.
        """
        weights = {uncompiled_name(key): value for key, value in self.state.items()}
        return {
            key.removeprefix(_PREFIX): value.clone()
            for key, value in weights.items()
            if key.startswith(_PREFIX)
        }

    def has(self, component: Component) -> bool:
        """Return whether there are files to build a component from."""
        if component == "model":
            return _CONFIG in self.files
        return bool(set(self.files) - {_CONFIG})

    @contextmanager
    def folder(self) -> Iterator[str]:
        """Write the files to a temporary folder, which exists within the body."""
        with TemporaryDirectory(prefix="bertx-") as folder:
            for name, content in self.files.items():
                Path(folder, Path(name).name).write_bytes(content)  # without any folder in the name
            yield folder


def is_checkpoint(name: str) -> bool:
    """Return whether a model name is the path of a checkpoint."""
    return name.endswith(ENDING)


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint without running any code in it.

    Args:
        path: A file written by training with `bertx.training.TextClassifier`.

    Raises:
        InputError: If there is no such file, or it is not such a checkpoint.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file. Expected a checkpoint ({ENDING}).")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a foreign file can raise anything
        raise _foreign(path, diagnose(error) or one_line(error)) from error
    settings = held.get("hyper_parameters", {}) if isinstance(held, Mapping) else {}
    if not {"name", "labels"} <= set(settings) or "state_dict" not in held:
        raise _foreign(path, "it was not written by training with TextClassifier")
    labels = tuple(settings["labels"])
    return Checkpoint(held["state_dict"], held.get(FILES, {}), str(settings["name"]), labels)


def files_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, bytes]:
    """Return the contents of ``config.json`` and of the tokenizer's files, by file name."""
    with TemporaryDirectory(prefix="bertx-") as folder:
        model.config.save_pretrained(folder)
        if tokenizer is not None:
            save_tokenizer(tokenizer, folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Save a tokenizer with its current ``truncation_side``."""
    tokenizer.init_kwargs.setdefault("truncation_side", "right")  # else a later change is not saved
    tokenizer.save_pretrained(folder)


def _foreign(path: str, reason: str) -> InputError:
    return InputError(f"{path} is not a checkpoint of bertx: {reason}.")
