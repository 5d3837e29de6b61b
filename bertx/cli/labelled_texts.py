"""Labelled texts for ``bertx judge`` and ``bertx study``, with labels in the model's numbering."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import GOLD
from bertx.cli.class_options import split_names
from bertx.data import Shortcut, TextDataModule, TextDataset
from bertx.data.dataset import sample_rows
from bertx.data.reports import report_unlabelled
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.explanation.reader import longest_text
from bertx.models.classifier import class_names

log = logging.getLogger("bertx")

_PLACEHOLDER = re.compile(r"(label_)?\d+", re.IGNORECASE)


def data_settings(options: Namespace) -> dict[str, Any]:
    """Return the data options of the command line that are set, as settings of `TextDataModule`."""
    names = ("dataset", "path", "text_column", "label_column", "labels")
    settings = {name: options[name] for name in names if options[name] is not None}
    if "labels" in settings:
        settings["labels"] = split_names(settings["labels"], "--labels")
    return settings


def data_module(
    settings: Mapping[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> TextDataModule:
    """Return the data module of a model; local files have the model's classes by default."""
    arguments = dict(settings)
    if not arguments.get("dataset") and not arguments.get("labels"):
        arguments["labels"] = class_names(model)
    if shortcut := arguments.pop("shortcut", None):
        arguments["shortcut"] = Shortcut(**shortcut)
    data = TextDataModule(str(tokenizer.name_or_path), **arguments)
    data.tokenizer = tokenizer
    return data


def judged_texts(
    options: Namespace, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[Text]:
    """Read the texts of a split, with labels in the model's numbering, and with rationales.

    Args:
        options: ``dataset``, ``path``, ``split``, ``max_examples``, ``text_column``,
            ``label_column``, ``labels`` and ``target``. Texts without labels are used too, unless
            ``target`` is ``gold``.
        model: The classifier.
        tokenizer: Its tokenizer.

    Raises:
        InputError: If neither ``dataset`` nor ``path`` is given, or the data cannot be used or has
            another number of classes than the model.
    """
    if options.dataset is None and options.path is None:
        raise InputError("no texts: expected --dataset or --path, but got neither")
    settings = {
        **data_settings(options),
        "max_length": longest_text(model, tokenizer) or sys.maxsize,
        "max_examples": options.max_examples,
    }
    data = data_module(settings, model, tokenizer)
    names, order = class_names(model), list[int]()
    if options.labels or data.source.labels or not options.dataset:
        order = class_order(data.labels, names)  # fails before any text is read
    texts = data.usable(options.split)
    if options.target == GOLD:
        texts = _labelled(options.split, texts)
    sample = texts.select(sample_rows(len(texts), data.max_examples, data.seed))
    if not order and sample.labelled():
        order = class_order(data.labels, names)
    labels = [order[label] if label >= 0 else label for label in sample.labels]
    rationales: Sequence[Any] = sample.rationales or [None] * len(sample)
    rows = zip(sample.texts, labels, rationales, strict=True)
    return [Text(text, label, rationale) for text, label, rationale in rows]


def class_order(data_classes: Sequence[str], model_classes: Sequence[str]) -> list[int]:
    """Return the model's number of each class of the data."""
    if len(data_classes) != len(model_classes):
        raise InputError(
            f"the data has the classes {', '.join(data_classes)}, but the model has "
            f"{', '.join(model_classes)}. Use data with the model's classes, or name them with "
            "--labels."
        )
    in_data = [name.casefold() for name in data_classes]
    in_model = [name.casefold() for name in model_classes]
    if set(in_data) == set(in_model) and len(set(in_data)) == len(in_data):
        return [in_model.index(name) for name in in_data]
    placeholders = any(map(_PLACEHOLDER.fullmatch, in_data + in_model))
    if list(data_classes) != list(model_classes) and not placeholders:
        log.warning(
            f"the data has the classes {', '.join(data_classes)}, and the model "
            f"{', '.join(model_classes)}: they are matched in this order. If that is wrong, name "
            "the data's classes with --labels."
        )
    return list(range(len(model_classes)))


def _labelled(split: str, data: TextDataset) -> TextDataset:
    rows = data.labelled()
    if not rows:
        raise InputError(
            f"{split}: --target gold needs labels, but there is no label column, or it has no "
            "valid label. Name the column with --label_column, or use --target predicted."
        )
    report_unlabelled(split, len(data) - len(rows), len(data))
    return data.select(rows)
