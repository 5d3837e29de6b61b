"""Where a pretrained model comes from: the hub, a folder, or a folder of an installed package."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError

PACKAGE = "package:"

Dtype = Literal["float32", "bfloat16", "float16"]


def locate(name: str) -> str:
    """Turn a model name into what ``from_pretrained`` understands.

    Args:
        name: A hub id (``google-bert/bert-base-uncased``), a folder, or ``package:MODULE/FOLDER``,
            the folder of an installed module. The module is found without being imported.

    Returns:
        The hub id as it is, or the path of an existing folder.

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
    """Load the tokenizer that belongs to a model name (see `locate`).

    Raises:
        InputError: If there is no tokenizer under that name, or none that knows character offsets,
            or it has no vocabulary.
    """
    from transformers import AutoTokenizer

    place = locate(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:  # tokenizers raises bare ones for files that it cannot read
        raise _not_found("tokenizer", name, error) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"tokenizer of {name!r} is {type(tokenizer).__name__}, which knows no word boundaries. "
            "Use a model with a fast tokenizer (a tokenizer.json)."
        )
    if not _knows_words(tokenizer):
        raise InputError(
            f"tokenizer of {name!r} knows nothing but special tokens: its files are missing. Add "
            f"those that the model was trained with: tokenizer.save_pretrained({name!r})"
        )
    return tokenizer


def load_classifier(name: str, labels: Sequence[str], dtype: Dtype = "float32") -> PreTrainedModel:
    """Load a sequence classifier with one output per label.

    Args:
        name: A model name (see `locate`). A head of another size than ``labels`` is drawn anew.
        labels: The names of the C classes, in the order of their numbers.
        dtype: The precision of the weights. A checkpoint saved in another one is converted.

    Returns:
        The model in training mode (``from_pretrained`` alone returns it in evaluation mode).

    Raises:
        InputError: If there is no model under that name.
    """
    return load_with_gaps(name, labels, dtype)[0]


def load_with_gaps(
    name: str, labels: Sequence[str], dtype: Dtype = "float32"
) -> tuple[PreTrainedModel, list[str]]:
    """Load a sequence classifier, and tell which of its weights were drawn at random.

    See `load_classifier`. An encoder alone has no weights for the head; a head of another number
    of classes is drawn anew.

    Returns:
        The model in training mode, and the names of the weights that it was not given, sorted.
    """
    from transformers import AutoModelForSequenceClassification

    place = locate(name)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            place,
            dtype=dtype,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # a damaged file fails anywhere from safetensors to unpickling
        raise _not_found("model", name, error) from error
    drawn = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    return model.train(), sorted(drawn)


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def longest_input(model: nn.Module) -> int | None:
    """How many tokens a model has positions for, or None where positions are not in a table."""
    table = _position_table(model)
    return None if table is None else table.num_embeddings - first_position(model)


def first_position(model: nn.Module) -> int:
    """The position id of the first token; RoBERTa and its kin keep those up to padding's own."""
    table = _position_table(model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def _position_table(model: nn.Module) -> nn.Embedding | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module
    return None


def _knows_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """False for what transformers makes of a folder without any file of a tokenizer."""
    special = set(tokenizer.all_special_tokens)
    special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return not special.issuperset(tokenizer.get_vocab())


def _not_found(what: str, name: str, error: Exception) -> InputError:
    return InputError(
        f"{what} {name!r} cannot be loaded: {first_line(error).rstrip('.')}. Expected a hub id, "
        f"a folder with config.json and weights, or {PACKAGE}MODULE/FOLDER."
    )
