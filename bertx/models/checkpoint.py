"""A checkpoint of a run as a pretrained model: its weights, configuration and tokenizer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError, one_line, why

ENDING = ".ckpt"

CONFIG = "config.json"

FILES = "hf"
"""Where a checkpoint keeps the files of `files_of`."""

What = Literal["model", "tokenizer"]

_PREFIX = "model."
_SHELL = "_orig_mod."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds of a classifier.

    Attributes:
        state: The weights of the module that holds it, as they are in the file.
        files: ``config.json`` and the files of the tokenizer; empty in checkpoints of other
            programs and of early versions.
        name: The pretrained model that the classifier was made from.
        labels: The names of its classes.
    """

    state: Mapping[str, Tensor]
    files: Mapping[str, bytes]
    name: str
    labels: tuple[str, ...]

    def weights(self) -> dict[str, Tensor]:
        """The weights of the classifier, by the names it has alone.

        They are copies: the file may be written anew while the model is in use.
        """
        bare = {key.replace(_SHELL, ""): value for key, value in self.state.items()}
        held = {key: value for key, value in bare.items() if key.startswith(_PREFIX)}
        return {key.removeprefix(_PREFIX): value.clone() for key, value in held.items()}

    def keeps(self, what: What) -> bool:
        """Whether its files are those of what is to be built."""
        return bool(set(self.files) - {CONFIG}) if what == "tokenizer" else CONFIG in self.files

    @contextmanager
    def folder(self) -> Iterator[str]:
        """A folder with its files, which is gone afterwards."""
        with TemporaryDirectory(prefix="bertx-") as folder:
            for name, content in self.files.items():
                Path(folder, Path(name).name).write_bytes(content)  # whatever folder it claims
            yield folder


def is_checkpoint(name: str) -> bool:
    """Whether a model name is the path of a checkpoint."""
    return name.endswith(ENDING)


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint; nothing in it can run.

    Args:
        path: A file that training with `bertx.training.TextClassifier` wrote.

    Raises:
        InputError: If there is no such file, or it is no such checkpoint.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file. Expected a checkpoint ({ENDING}).")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a foreign file fails in any way
        raise _foreign(path, why(error) or one_line(error)) from error
    settings = held.get("hyper_parameters", {}) if isinstance(held, Mapping) else {}
    if not {"name", "labels"} <= set(settings) or "state_dict" not in held:
        raise _foreign(path, "it was not written by training with TextClassifier")
    labels = tuple(settings["labels"])
    return Checkpoint(held["state_dict"], held.get(FILES, {}), str(settings["name"]), labels)


def files_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, bytes]:
    """What a classifier and its tokenizer are built from, without weights.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer, if it is known.

    Returns:
        The contents of ``config.json`` and of the tokenizer's files, by their names.
    """
    with TemporaryDirectory(prefix="bertx-") as folder:
        model.config.save_pretrained(folder)
        if tokenizer is not None:
            save_tokenizer(tokenizer, folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> None:
    """Write a tokenizer with the side on which it cuts, also if that was set after it was made."""
    tokenizer.init_kwargs.setdefault("truncation_side", "right")  # written as it is now
    tokenizer.save_pretrained(folder)


def _foreign(path: str, reason: str) -> InputError:
    return InputError(f"{path} is not a checkpoint of bertx: {reason}.")
