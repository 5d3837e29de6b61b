"""Loading of models and tokenizers from the hub, a folder, an installed package or a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError, diagnose, is_hub_id, one_line
from bertx.models.checkpoint import ENDING, Checkpoint, Component, is_checkpoint, read_checkpoint
from bertx.models.encode import special_tokens
from bertx.progress import progress

PACKAGE = "package:"

Dtype = Literal["float32", "bfloat16", "float16"]


def locate(name: str) -> str:
    """Return the hub id or folder that a model name stands for, for ``from_pretrained``.

    Args:
        name: A hub id (``google-bert/bert-base-uncased``), a folder, or ``package:MODULE/FOLDER``,
            the folder of an installed module. The module is not imported.

    Returns:
        The hub id or folder as it is, or the folder of the module.

    Raises:
        InputError: If the module is not installed or has no such folder.

    Examples:
        >>> locate("google-bert/bert-base-uncased")
        'google-bert/bert-base-uncased'
    """
    if not name.startswith(PACKAGE):
        return name
    module, _, folder = name.removeprefix(PACKAGE).partition("/")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {name!r}: expected {PACKAGE}MODULE/FOLDER with an installed package, but "
            f"{module!r} is not installed. Run: pip install {module.replace('_', '-')}"
        )
    path = Path(next(iter(spec.submodule_search_locations)), folder)
    if not (path / "config.json").is_file():
        raise InputError(f"model {name!r}: no config.json in {path}. Check FOLDER after the slash.")
    return str(path)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model name (see `load_with_missing`).

    Raises:
        InputError: If there is no tokenizer under that name, it is not a fast tokenizer, or it has
            no vocabulary.
    """
    from transformers import AutoTokenizer

    with _opened("tokenizer", name) as (place, _):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer of {name!r} is {type(tokenizer).__name__}, which has no word boundaries. "
            "Use a model with a fast tokenizer (a tokenizer.json)."
        )
    special = {*special_tokens(tokenizer), tokenizer.unk_token}
    if special.issuperset(tokenizer.get_vocab()):  # as transformers makes it without files
        raise InputError(
            f"tokenizer of {name!r} has only special tokens: its files are missing. Add the files "
            f"that the model was trained with: tokenizer.save_pretrained({name!r})"
        )
    tokenizer.name_or_path = name  # not a temporary folder
    return tokenizer


def load_classifier(name: str, labels: Sequence[str], dtype: Dtype = "float32") -> PreTrainedModel:
    """Load a sequence classifier with one output per label (see `load_with_missing`).

    Returns:
        The model in training mode (``from_pretrained`` alone returns it in evaluation mode).
    """
    return load_with_missing(name, labels, dtype)[0]


def load_with_missing(
    name: str, labels: Sequence[str] | None, dtype: Dtype | None = "float32"
) -> tuple[PreTrainedModel, list[str]]:
    """Load a sequence classifier, and return which of its weights were initialized at random.

    An encoder without a head gets a random head, as does a classifier with another number of
    classes. Code in a repository is never run: models that need it are refused.

    Args:
        name: A model name (see `locate`), or the path of a checkpoint (``.ckpt``), which is
            self-contained.
        labels: Names of the C classes, in the order of their numbers; None for the saved names.
        dtype: Precision that the weights are converted to; None for the saved precision.

    Returns:
        The model in training mode, and the sorted names of its randomly initialized weights.

    Raises:
        InputError: If there is no model under that name.
    """
    from transformers import AutoModelForSequenceClassification

    kind: Any
    source: Any
    with progress(f"Loading {name}"), _opened("model", name) as (place, checkpoint):
        if checkpoint is None:
            kind, source, settings = AutoModelForSequenceClassification, place, _classes(labels)
        else:
            kind, source, settings = _empty(place, checkpoint, labels)
        model, loaded = kind.from_pretrained(
            source,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **settings,
            **({} if dtype is None else {"dtype": dtype}),
        )
    if checkpoint is not None:
        model.name_or_path = model.config.name_or_path = name  # not a temporary folder
    drawn = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    return model.train(), sorted(drawn)


@contextmanager
def _opened(component: Component, name: str) -> Iterator[tuple[str, Checkpoint | None]]:
    """Yield the place to load from, and the checkpoint that has the weights, if there is one.

    Raises:
        InputError: If there is no such place, or the body fails.
    """
    checkpoint = read_checkpoint(name) if is_checkpoint(name) else None
    base = name if checkpoint is None else checkpoint.name
    try:
        if checkpoint is not None and checkpoint.has(component):
            with checkpoint.folder() as folder:
                yield folder, checkpoint
        else:
            yield locate(base), checkpoint
    except InputError:
        raise
    except Exception as error:  # damaged files raise anything, from safetensors to pickle
        failed = f"{component} {base!r} cannot be loaded: {_reason(base, error)}"
        if checkpoint is not None:
            failed = f"{name} has no files for the {component}, and {failed}"
        raise InputError(failed) from error


def _empty(
    place: str, checkpoint: Checkpoint, labels: Sequence[str] | None
) -> tuple[type[PreTrainedModel], None, dict[str, Any]]:
    """Return the class of a checkpoint's model, None for a folder, and its config and weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    classes = _classes(labels or checkpoint.labels)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False, **classes)
    with torch.device("meta"):  # no weights are initialized
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    return type(model), None, {"config": config, "state_dict": checkpoint.weights()}


def _classes(labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return {}
    names = dict(enumerate(labels))
    return {
        "num_labels": len(names),
        "id2label": names,
        "label2id": {v: k for k, v in names.items()},
    }


def longest_input(model: nn.Module) -> int | None:
    """Return how many tokens a model has positions for; None without a table of positions."""
    table = _position_table(model)
    return None if table is None else table.num_embeddings - first_position(model)


def first_position(model: nn.Module) -> int:
    """Return the position id of the first token; RoBERTa reserves ids up to that of padding."""
    table = _position_table(model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def _position_table(model: nn.Module) -> nn.Embedding | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def _reason(name: str, error: Exception) -> str:
    if reason := diagnose(error, name):
        return f"{reason}."
    gone = not is_hub_id(name) and not Path(name).exists()
    return (
        f"{'there is no such folder' if gone else one_line(error)}. Expected a hub id, a folder "
        f"with config.json and weights, {PACKAGE}MODULE/FOLDER, or a checkpoint ({ENDING})."
    )
