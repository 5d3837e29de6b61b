"""The texts of a command: those given to it, or those of a data set that it judges on."""

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from bertx.cli.class_lists import split_names
from bertx.cli.subcommand import as_options
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bertx.data import TextDataModule, TextDataset
    from bertx.evaluation import Text

log = logging.getLogger("bertx")

PER_BATCH = 64
"""Most texts that are worked through at once."""

_END = object()


@dataclass(frozen=True)
class Unreadable:
    """In place of a text: a row or line that could not be read.

    Attributes:
        reason: What is wrong with it.
        text: What there is of it.
    """

    reason: str
    text: str = ""


_PLACEHOLDER = re.compile(r"(label_)?\d+", re.IGNORECASE)


def read_texts(texts: Sequence[str], file: str | None, column: str | None) -> Iterator[list[Any]]:
    """Texts in lists of at most `PER_BATCH`, as they come.

    Args:
        texts: The texts themselves.
        file: A table instead, with a column of texts.
        column: The name of that column; None to guess it.

    Returns:
        The texts; without any of both, the lines of standard input. What is no text in a file
        stays what it is, and what cannot be read is `Unreadable`.

    Raises:
        InputError: If both are given, or there is no such file; while reading, if it has no such
            column, or cannot be read on.
    """
    if texts and file:
        raise InputError("--text and --path: expected one of them, but got both")
    if column and not file:
        raise InputError("--text_column names a column of a file. Give --path too.")
    if not texts and not file:
        return _lines()
    if file:
        _check_file(Path(file))
        return _rows(Path(file), column)
    return (list(texts[i : i + PER_BATCH]) for i in range(0, len(texts), PER_BATCH))


def _check_file(file: Path) -> None:
    if not file.is_file():
        what = "is not an ordinary file" if file.exists() else "does not exist"
        raise InputError(
            f"--path {file}: expected a table of texts, but it "
            f"{'is a folder' if file.is_dir() else what}."
        )
    from bertx.data.files import ENDINGS, SPREADSHEETS, spreadsheet  # these bring Lightning

    if file.name.endswith(SPREADSHEETS):
        raise spreadsheet(file)
    if not file.name.endswith(tuple(f".{ending}" for ending in ENDINGS)):
        raise InputError(
            f"--path {file}: expected a file that ends with .{', .'.join(ENDINGS)}. For plain "
            f"lines: < {file}"
        )


def _rows(file: Path, column: str | None) -> Iterator[list[Any]]:
    from bertx.data.columns import find_text_column, text_error
    from bertx.data.files import stream_tables

    name = ""
    for table in stream_tables(file, PER_BATCH, lambda error: Unreadable(as_options(str(error)))):
        name = name or find_text_column(table, column)
        values = list(table.columns.get(name, [None] * len(table)))
        for row, value in enumerate(values):
            if isinstance(value, str) and (wrong := text_error(table, row, name, value)):
                values[row] = Unreadable(as_options(str(wrong)))
        yield values


def _lines() -> Iterator[list[Any]]:
    """Lines as they arrive: no text waits for the next one, and few are held in memory."""
    if sys.stdin.isatty():
        print("Reading texts, one per line; Ctrl-D ends.", file=sys.stderr)
    if hasattr(sys.stdin, "reconfigure"):
        # A line that is not UTF-8 costs no other one its place.
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    arrived: Queue[Any] = Queue(maxsize=PER_BATCH)
    Thread(target=_listen, args=(arrived,), daemon=True).start()
    while True:
        lines = [arrived.get()]
        while len(lines) < PER_BATCH and not arrived.empty():
            lines.append(arrived.get())
        if ended := lines[-1] is _END:
            lines.pop()
        if lines:
            yield lines
        if ended:
            return


def _listen(arrived: "Queue[Any]") -> None:
    try:
        for line in sys.stdin:
            arrived.put(_line(line.removesuffix("\n").removesuffix("\r")))
    finally:
        arrived.put(_END)


def _line(text: str) -> Any:
    byte = next((ord(c) - 0xDC00 for c in text if "\udc80" <= c <= "\udcff"), None)
    if byte is None:
        return text
    return Unreadable(
        f"expected UTF-8, but the line has the byte {byte:#04x}. Save it as UTF-8.", text
    )


def judged_texts(
    options: Namespace, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> "list[Text]":
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
    from bertx.evaluation import Text
    from bertx.models.classifier import class_names

    names, order = class_names(model), list[int]()
    data = _data(options, model, tokenizer)
    if options.labels or data.source.labels or not options.dataset:
        order = class_order(data.labels, names)  # known before anything is read
    chosen = _chosen(options, data)
    if not order and chosen.labelled():
        order = class_order(data.labels, names)
    labels = [order[label] if label >= 0 else label for label in chosen.labels]
    marked: Sequence[Any] = chosen.rationales or [None] * len(chosen)
    return [Text(*row) for row in zip(chosen.texts, labels, marked, strict=True)]


def _data(
    options: Namespace, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> "TextDataModule":
    from bertx.data import TextDataModule
    from bertx.explanation.reading import longest_text
    from bertx.models.classifier import class_names

    if options.dataset is None and options.path is None:
        raise InputError("expected texts to judge on: give --dataset or --path")
    labels = None if options.dataset else class_names(model)
    data = TextDataModule(
        str(tokenizer.name_or_path),
        options.dataset,
        options.path,
        labels if options.labels is None else split_names(options.labels, "--labels"),
        options.text_column,
        options.label_column,
        longest_text(model, tokenizer) or sys.maxsize,
        max_examples=options.max_examples,
    )
    data.tokenizer = tokenizer
    return data


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


def _chosen(options: Namespace, data: "TextDataModule") -> "TextDataset":
    """The usable texts of the split; without labels too, unless these are what is explained."""
    from bertx.attribution.choices import GOLD
    from bertx.data.dataset import sample_rows

    usable = data.usable(options.split)
    texts = _labelled(options.split, usable) if options.target == GOLD else usable
    return texts.select(sample_rows(len(texts), data.max_examples, data.seed))


def _labelled(split: str, data: "TextDataset") -> "TextDataset":
    from bertx.data.reports import report_unlabelled

    rows = data.labelled()
    if not rows:
        raise InputError(
            f"{split}: --target gold needs labels, but there is no label column, or no label in it "
            "is known. Name the column with --label_column, or use --target predicted."
        )
    report_unlabelled(split, len(data) - len(rows), len(data))
    return data.select(rows)
