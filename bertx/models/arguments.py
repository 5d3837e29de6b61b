"""Validation of the model and tokenizer that users pass, with advice on what to pass instead."""

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.errors import InputError
from bertx.models.pretrained import load_tokenizer

_EXPECTED = "expected a Hugging Face sequence classifier, or a module that holds one, for the model"


def checked_arguments(model: Any, tokenizer: Any) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Return a model and its tokenizer, which is loaded if its model's name was given.

    Args:
        model: The value that was given for the model.
        tokenizer: The value that was given for its tokenizer, or the name of a model.

    Raises:
        InputError: If either is something else, with what to give instead.
    """
    if isinstance(model, PreTrainedTokenizerBase):
        swapped = isinstance(tokenizer, nn.Module)
        way = "They are swapped: give the model first." if swapped else "Give its model first."
        raise InputError(f"{_EXPECTED}, but got the tokenizer {type(model).__name__}. {way}")
    if not isinstance(model, nn.Module):
        raise InputError(f"{_EXPECTED}, but got {_shown(model)}. {_instead(model)}")
    if isinstance(tokenizer, str | PathLike):
        return model, load_tokenizer(str(tokenizer))
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            "expected the model's tokenizer, or the name of the model it belongs to, but got "
            f"{_shown(tokenizer)}. {_instead_of_tokenizer(tokenizer)}"
        )
    return model, tokenizer


def _shown(given: Any) -> str:
    if given is None:
        return "None"
    if isinstance(given, type):
        return f"the class {given.__name__}"
    named = isinstance(given, str | PathLike)
    return f"the name {str(given)!r}" if named else type(given).__name__


def _instead(given: Any) -> str:
    """Return what to give in place of something that is not a module."""
    if isinstance(given, str | PathLike) and Path(given).suffix == ".ckpt":
        load = "bertx.training.TextClassifier.load_from_checkpoint"
        return f"Load it first: {load}({str(given)!r})"
    if isinstance(given, str | PathLike):
        load = "AutoModelForSequenceClassification.from_pretrained"
        return f"Load it first: transformers.{load}({str(given)!r})"
    if isinstance(given, type):
        return "Give an instance of it, with trained weights."
    for name in ("model", "model_body", "module"):  # a pipeline, a trainer, a model of SetFit
        if isinstance(getattr(given, name, None), nn.Module):
            return f"Give its .{name} and its tokenizer."
    return "Load one: transformers.AutoModelForSequenceClassification.from_pretrained(NAME)"


def _instead_of_tokenizer(given: Any) -> str:
    if type(given).__module__.partition(".")[0] == "tokenizers":
        return "Wrap it: transformers.PreTrainedTokenizerFast(tokenizer_object=...)"
    if isinstance(getattr(given, "tokenizer", None), PreTrainedTokenizerBase):
        return "Give its .tokenizer."
    return "Load it: transformers.AutoTokenizer.from_pretrained(NAME)"
