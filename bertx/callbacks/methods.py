"""The methods, the classifier and the tokenizer of a run, checked before it starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution, Random
from bertx.attribution.choices import COMPARED_METHODS, check_each, supported
from bertx.errors import InputError
from bertx.models.classifier import path_of
from bertx.models.pretrained import load_tokenizer

_SHORT = {
    "AttnLRP": "attnlrp",
    "GradientSensitivity": "gs",
    "GradientXInput": "gi",
    "LayerwiseAttentionTracing": "lat",
    "LRP": "lrp",
    "Random": "random",
}
"""What the methods that are compared by default are called in logs."""


def check_alone(callback: Callback, name: str | None, trainer: Trainer) -> None:
    """Refuse a second callback whose numbers would be logged under the same keys.

    Raises:
        InputError: If the trainer has another one of the same type and name.
    """
    others = [c for c in getattr(trainer, "callbacks", ()) if c is not callback]
    if any(type(c) is type(callback) and getattr(c, "name", None) == name for c in others):
        raise InputError(
            f"two {type(callback).__name__} callbacks would write to the same keys and files: give "
            "one of them a name, such as name: second"
        )


def check_methods(
    methods: dict[str, Attribution] | None, model: PreTrainedModel
) -> dict[str, Attribution]:
    """The methods that were asked for, or AttnLRP and those of the paper, as the model supports.

    Raises:
        InputError: If a value is not an `Attribution`.
        UnsupportedArchitecture: If a method that was asked for is not defined for the model.
    """
    if methods is None:
        compared: tuple[type[Attribution], ...] = (*COMPARED_METHODS, Random)
        return supported({_SHORT[method.__name__]: method() for method in compared}, model)
    check_each(methods, model)
    return methods


@contextmanager
def blamed(callback: Callback) -> Iterator[None]:
    """Name the callback in what is wrong with its classifier."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{type(callback).__name__}: {error}") from error


def say_choice(
    callback: Callback, what: str, pl_module: LightningModule, model: PreTrainedModel
) -> None:
    """Say which classifier was chosen, on rank zero."""
    path = path_of(pl_module, model) or path_of(pl_module, model.base_model)
    rank_zero_info(f"{type(callback).__name__} {what} {path} ({type(model).__name__})")


def tokenizer_of(
    trainer: Trainer,
    pl_module: LightningModule,
    model: PreTrainedModel,
    given: str | PreTrainedTokenizerBase | None,
) -> PreTrainedTokenizerBase:
    """The tokenizer given to a callback, or the one of the module, the data or the model's name.

    Raises:
        InputError: If there is none, or it cannot pad.
    """
    holders: tuple[Any, ...] = pl_module, getattr(trainer, "datamodule", None)
    for tokenizer in (given, *(getattr(holder, "tokenizer", None) for holder in holders)):
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            return _padding(tokenizer)
        if isinstance(tokenizer, str):
            return _padding(load_tokenizer(tokenizer))
    try:
        loaded = load_tokenizer(str(model.name_or_path))
    except InputError as error:
        raise InputError(
            f"no tokenizer: neither the callback, {type(pl_module).__name__} nor the data module "
            f"has one, and {error} Give the callback tokenizer=..."
        ) from error
    return _padding(loaded)


def _padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"{type(tokenizer).__name__} has no padding token, but examples are padded to batches. "
            "Set tokenizer.pad_token."
        )
    return tokenizer
