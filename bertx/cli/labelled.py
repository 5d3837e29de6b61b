"""Labelled texts of a data set, with the class numbers of the model that judges or studies them."""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import Namespace
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import GOLD
from bertx.cli.classes import split_names
from bertx.data import Shortcut, TextDataModule, TextDataset
from bertx.data.dataset import sample_rows
from bertx.data.reports import report_unlabelled
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.explanation.reading import longest_text
from bertx.models.classifier import class_names

log = logging.getLogger("bertx")

_PLACEHOLDER = re.compile(r"(label_)?\d+", re.IGNORECASE)


def data_options(options: Namespace) -> dict[str, Any]:
    """The data that the command line names, as settings of `TextDataModule`."""
    names = ("dataset", "path", "text_column", "label_column", "labels")
    given = {name: options[name] for name in names if options[name] is not None}
    if "labels" in given:
        given["labels"] = split_names(given["labels"], "--labels")
    return given


def data_of(
    settings: Mapping[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> TextDataModule:
    """The data of some settings for a model, whose classes they have if they name no other."""
    given = dict(settings)
    if not given.get("dataset") and not given.get("labels"):
        given["labels"] = class_names(model)
    if shortcut := given.pop("shortcut", None):
        given["shortcut"] = Shortcut(**shortcut)
    data = TextDataModule(str(tokenizer.name_or_path), **given)
    data.tokenizer = tokenizer
    return data


def judged_texts(
    options: Namespace, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> list[Text]:
    """The texts of a split, with the model's numbers of their labels, and with rationales.

    Args:
        options: ``dataset``, ``path``, ``split``, ``max_examples``, ``text_column``,
            ``label_column``, ``labels`` and ``target``. Unless it is ``gold``, texts without
            labels are taken too.
        model: The classifier.
        tokenizer: Its tokenizer.

    Raises:
        InputError: If no data is named, it cannot be used, or has not as many classes.
    """
    if options.dataset is None and options.path is None:
        raise InputError("no texts: expected --dataset or --path, but got neither")
    longest = longest_text(model, tokenizer) or sys.maxsize
    settings = {"max_length": longest, "max_examples": options.max_examples}
    data = data_of({**data_options(options), **settings}, model, tokenizer)
    names, order = class_names(model), list[int]()
    if options.labels or data.source.labels or not options.dataset:
        order = class_order(data.labels, names)  # before anything is read
    usable = data.usable(options.split)
    texts = _labelled(options.split, usable) if options.target == GOLD else usable
    chosen = texts.select(sample_rows(len(texts), data.max_examples, data.seed))
    if not order and chosen.labelled():
        order = class_order(data.labels, names)
    labels = [order[label] if label >= 0 else label for label in chosen.labels]
    marked: Sequence[Any] = chosen.rationales or [None] * len(chosen)
    return [Text(*row) for row in zip(chosen.texts, labels, marked, strict=True)]


def class_order(labels: Sequence[str], names: Sequence[str]) -> list[int]:
    """The model's number of each class of the data."""
    if len(labels) != len(names):
        raise InputError(
            f"the data has the classes {', '.join(labels)}, but the model has "
            f"{', '.join(names)}. Use data of the model's classes, or name them with --labels."
        )
    of_data, of_model = [[name.casefold() for name in each] for each in (labels, names)]
    if set(of_data) == set(of_model) and len(set(of_data)) == len(of_data):
        return [of_model.index(name) for name in of_data]
    if list(labels) != list(names) and not any(map(_PLACEHOLDER.fullmatch, of_data + of_model)):
        log.warning(
            f"the data has the classes {', '.join(labels)}, and the model {', '.join(names)}: they "
            "are matched in this order. If that is wrong, name the data's classes "
            "with --labels."
        )
    return list(range(len(names)))


def _labelled(split: str, data: TextDataset) -> TextDataset:
    rows = data.labelled()
    if not rows:
        raise InputError(
            f"{split}: --target gold needs labels, but there is no label column, or no label in it "
            "is known. Name the column with --label_column, or use --target predicted."
        )
    report_unlabelled(split, len(data) - len(rows), len(data))
    return data.select(rows)
