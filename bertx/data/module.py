"""The data module: one of the known data sets, any of the hub, or local files."""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from bertx.data.checks import check_classes, check_counts, checked_labels, no_labels
from bertx.data.collate import Collator
from bertx.data.dataset import TextDataset, hold_out, sample_rows
from bertx.data.datasets import open_source
from bertx.data.reports import first_skipped, report_overlong, report_skipped, report_unlabelled
from bertx.data.sampling import ConsecutiveBatches, LengthBucketSampler
from bertx.data.stream import STRETCH, Form, StreamedTexts, TextStream, survey
from bertx.data.table import (
    Table,
    find_label_column,
    find_text_column,
    label_names,
    require_label_column,
)
from bertx.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPLITS_OF = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}

Batches = DataLoader[dict[str, Any]]


class TextDataModule(LightningDataModule):
    """Labelled texts as batches (see `Collator`) of similar length.

    At least one of ``dataset`` and ``path`` is needed. With both, the files of ``path`` are read
    with the columns and label names of ``dataset``.

    Args:
        tokenizer: The model name whose tokenizer is used: a hub id, a folder, or
            package:MODULE/FOLDER.
        dataset: demo, imdb, semeval, sst2, sst5, yelp5, or a hub id (owner/name, or
            owner/name:config).
        path: A folder with {train,dev|val|validation,test,predict}.{tsv,csv,jsonl,parquet};
            the text formats may be gzipped.
        labels: Names of the classes in the order of their numbers. Default: those of the data
            set, or else the sorted labels of the training file.
        text_column: Column of the texts. Default: guessed (sentence or text).
        label_column: Column of the labels. Default: guessed (label).
        max_length: Longest text in tokens, special ones included; longer ones are cut.
        batch_size: Texts of a training batch, per process.
        eval_batch_size: Texts of a validation, test or prediction batch, per process.
        validation_fraction: Share of the training texts held out, by class, where the data set
            has no validation split.
        train_examples: Train on a random choice of so many texts. Default: all.
        eval_examples: Validate and test on a random choice of so many texts. Default: all.
        num_workers: Processes that prepare batches beside the training one.
        seed: Seed of the order of batches, the held-out texts and the random choices.

    Raises:
        InputError: If no data is named, the folder does not exist, or a number is out of range.
    """

    def __init__(
        self,
        tokenizer: str,
        dataset: str | None = None,
        path: str | None = None,
        labels: list[str] | None = None,
        text_column: str | None = None,
        label_column: str | None = None,
        max_length: int = 128,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        validation_fraction: float = 0.1,
        train_examples: int | None = None,
        eval_examples: int | None = None,
        num_workers: int = 0,
        seed: int = 42,
    ) -> None:
        super().__init__()
        check_counts(
            max_length=max_length,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            train_examples=train_examples,
            eval_examples=eval_examples,
        )
        if not 0 < validation_fraction < 1:
            raise InputError(
                f"--data.validation_fraction: expected a share between 0 and 1, but got "
                f"{validation_fraction}."
            )
        self.tokenizer_name = tokenizer
        self.source, self.reader = open_source(dataset, path)
        self.text_column = text_column
        self.label_column = label_column
        self.max_length = max_length
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.validation_fraction = validation_fraction
        self.train_examples = train_examples
        self.eval_examples = eval_examples
        self.num_workers = num_workers
        self.seed = seed
        self._named_labels = checked_labels(labels)
        self._tables: dict[str, Table] = {}
        self._whole: dict[str, TextDataset] = {}
        self._datasets: dict[str, TextDataset] = {}
        self._predicted: StreamedTexts | None = None

    @cached_property
    def labels(self) -> list[str]:
        """Names of the C classes, in the order of their numbers.

        Those of the constructor, or of the known data set, or declared by the hub's data set, or
        else found in the training file, which is read only for this.

        Raises:
            InputError: If they have to be found but there is no training file with labels.
        """
        usual = self.source.label_column
        declared = (
            self._named_labels
            or self.source.labels
            or self.reader.names(self.label_column or usual)
        )
        if declared:
            return list(declared)
        if not self.reader.has("train"):
            raise InputError(
                "the names of the classes are unknown: there is no train split to find them in. "
                "Give them with --data.labels."
            )
        table = self._tables["train"] = self.reader.read("train")
        return label_names(table, require_label_column(table, self.label_column, usual))

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, loaded when first asked for."""
        from bertx.pretrained import load_tokenizer

        return load_tokenizer(self.tokenizer_name)

    @cached_property
    def collator(self) -> Collator:
        """What makes the batches."""
        return Collator(self.tokenizer, self.max_length)

    def dataset_of(self, split: str) -> TextDataset:
        """The texts of ``train``, ``validation`` or ``test``, as they are used.

        The ``index`` of a batch counts its rows.
        """
        if split not in self._datasets:
            raise RuntimeError(f"the {split} split is not set up: call setup() for its stage first")
        return self._datasets[split]

    @property
    def predicted(self) -> StreamedTexts:
        """The texts of the ``predict`` split or, without one, of the test split.

        They are read when they are needed: memory does not grow with their number.
        """
        if self._predicted is None:
            raise RuntimeError("the predict split is not set up: call setup('predict') first")
        return self._predicted

    def prepare_data(self) -> None:
        """Download the data set, in one process, where it comes from the hub."""
        self.reader.has("train")

    def setup(self, stage: str) -> None:
        """Load what a stage needs: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            InputError: If the data cannot be used for that stage.
        """
        for split in _SPLITS_OF[stage]:
            if split == "predict":
                self._predicted = self._predicted or self._streamed()
            else:
                self._add(split)

    def train_dataloader(self) -> Batches:
        """Shuffled batches of the training texts."""
        return self._batches("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> Batches:
        """Batches of the validation texts."""
        return self._batches("validation", self.eval_batch_size)

    def test_dataloader(self) -> Batches:
        """Batches of the test texts."""
        return self._batches("test", self.eval_batch_size)

    def predict_dataloader(self) -> Batches:
        """Batches of the ``predict`` file or, without one, of the test texts."""
        # The sampler makes the batches: Lightning would keep the rows of all those of a loader.
        batches = ConsecutiveBatches(self.predicted, self.eval_batch_size)
        return self._loader(self.predicted, None, batches)

    def _batches(self, split: str, batch_size: int, shuffle: bool = False) -> Batches:
        data = self.dataset_of(split)
        lengths = list(map(len, data.texts))
        return self._loader(
            data, batch_size, LengthBucketSampler(lengths, batch_size, shuffle, self.seed)
        )

    def _loader(
        self, data: TextDataset | StreamedTexts, batch_size: int | None, sampler: Sampler[Any]
    ) -> Batches:
        if self.num_workers:
            # A tokenizer that ran threads before the workers are forked warns in each of them.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        # All by name: for predictions Lightning builds the loader anew from what it was given.
        return DataLoader(
            data,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=self.collator,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _add(self, split: str) -> None:
        """Make ``split`` as it will be used, once."""
        if split in self._datasets:
            return
        make = {
            "train": self._training,
            "validation": self._validation,
            "test": lambda: self._labelled("test"),
        }[split]
        data = make()
        limit = self.train_examples if split == "train" else self.eval_examples
        data = data.select(sample_rows(len(data), limit, self.seed))
        if split == "train":
            check_classes(data, self.labels)
        report_overlong(split, data.texts, self.tokenizer, self.max_length)
        self._datasets[split] = data

    def _training(self) -> TextDataset:
        whole = self._labelled("train")
        if self.reader.has("validation"):
            return whole
        return whole.select(hold_out(whole.labels, self.validation_fraction, self.seed)[0])

    def _validation(self) -> TextDataset:
        if self.reader.has("validation"):
            return self._labelled("validation")
        whole = self._labelled("train")
        held = hold_out(whole.labels, self.validation_fraction, self.seed)[1]
        if not held:
            raise InputError(
                "train: expected two texts of a class, to hold one out for validation, but each "
                "class has one. Add texts, or a validation split."
            )
        return whole.select(held)

    def _labelled(self, split: str) -> TextDataset:
        """The usable rows of ``split`` whose label is known."""
        if split not in self._whole:
            data = self._read(split)
            rows = data.labelled()
            if not rows:
                raise no_labels(split)
            report_unlabelled(split, len(data) - len(rows), len(data))
            self._whole[split] = data.select(rows)
        return self._whole[split]

    def _read(self, split: str) -> TextDataset:
        """The rows of ``split`` with a text that the tokenizer can use."""
        table = self._tables.pop(split, None) or self.reader.read(split)
        data, rows = self._form(split, table).use(table)
        skipped = len(table) - len(rows)
        report_skipped(split, table.source, skipped, len(table), first_skipped(table, rows))
        return data

    def _streamed(self) -> StreamedTexts:
        split = "predict" if self.reader.has("predict") else "test"
        form = self._form(split, next(self.reader.stream(split, STRETCH)))
        stream = TextStream(self.reader, split, form, STRETCH)
        return StreamedTexts(stream, survey(stream, self.max_length))

    def _form(self, split: str, table: Table) -> Form:
        text = find_text_column(table, self.text_column, self.source.text_column)
        find = find_label_column if split in ("test", "predict") else require_label_column
        label = find(table, self.label_column, self.source.label_column)
        return Form(self.tokenizer, text, label, self.labels if label else [])
