"""The data module: a data set by its short name, any data set of the hub, or local files."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from bertx.data.collate import Collator
from bertx.data.columns import find_label_column, find_text_column, require_label_column
from bertx.data.dataset import TextDataset, sample_rows
from bertx.data.examples import ExampleReader
from bertx.data.labels import ClassName, checked_labels, label_names, spelt_alike
from bertx.data.loading import (
    Batches,
    ConsecutiveBatches,
    EpochSampler,
    LengthBucketSampler,
    ResumableLoader,
    TokenBudgetSampler,
    load_batches,
    token_counts,
)
from bertx.data.masking import Masking
from bertx.data.reports import count_overlong, report_overlong, warn
from bertx.data.shortcut import Planter, Shortcut
from bertx.data.sources import open_source
from bertx.data.splits import Splits, StreamedTexts
from bertx.data.table import Table, listed
from bertx.errors import InputError
from bertx.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COUNTS = ("max_length", "batch_size", "eval_batch_size", "train_examples", "max_examples")
_SPLITS_OF = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}


class TextDataModule(LightningDataModule):
    """Labelled texts as batches (see `Collator`) of similar length.

    Give ``dataset``, ``path``, or both: the files of ``path`` are then read with the columns and
    label names of ``dataset``.

    Args:
        tokenizer: Name of the model whose tokenizer is used: a hub id, a folder, or
            package:MODULE/FOLDER.
        dataset: demo, imdb, semeval, sst2, sst5, yelp5, or a hub id (owner/name, or
            owner/name:config).
        path: A folder with {train,dev|val|valid|validation,test,predict}.{tsv,csv,jsonl,json,
            parquet}; the text formats may be gzipped, and a split may be in shards, named as on the
            hub (train-00000-of-00002.parquet, also in a folder ``data``). Rationales are read from
            the column ``rationale`` of jsonl, json and parquet (see
            `bertx.data.rationales.annotate`). ERASER's format is read too (see
            `bertx.data.eraser.EraserFolder`).
        labels: Names of the classes in the order of their numbers. Default: the names that the data
            set declares, or else the sorted labels of the training file, where 1, 1.0 and "1" are
            the same. A missing label is unknown.
        text_column: Column of the texts, or of their lists of tokens. Default: sentence, text or
            tokens.
        label_column: Column of the labels. Default: label.
        max_length: Maximum number of tokens of a text, including special ones; longer texts are cut
            between two words.
        batch_size: Texts of a training batch, per process.
        eval_batch_size: Texts of a validation, test or prediction batch, per process.
        token_budget: Maximum number of tokens of a batch, per process: its number of texts times
            the length of the longest (an estimate unless the tokenizer is WordPiece). The batch
            sizes still apply. At least ``max_length``. Default: no limit.
        validation_fraction: Share of the training texts held out, by class, if the data set has no
            validation split.
        train_examples: Train on a random sample of this many texts. Default: all.
        max_examples: Validate and test on a random sample of this many texts. Default: all.
        masking: Share of the rows of each training batch in which random words are replaced by
            [MASK] (see `bertx.data.Masking`): 0.5 for masked fine-tuning, 0 for none.
        shortcut: A word that is planted into the texts of one class (see `bertx.data.Shortcut`).
        shuffle_labels: Whether to permute the labels of the training texts at random. The model can
            then only memorize them. Whatever its explanations share with the explanations of a
            model trained on the true labels does not come from the task (data randomization test,
            Adebayo et al. 2018, arXiv 1810.03292). Validation and test texts keep their labels.
        num_workers: Number of worker processes that prepare batches.
        seed: Seed of the order of batches, the held-out texts, the samples, the masks, the planted
            words and the shuffled labels.

    Raises:
        InputError: If neither ``dataset`` nor ``path`` is given, the folder does not exist, or a
            number is out of range.
    """

    def __init__(
        self,
        tokenizer: str,
        dataset: str | None = None,
        path: str | None = None,
        labels: Sequence[ClassName] | None = None,
        text_column: str | None = None,
        label_column: str | None = None,
        max_length: int = 128,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        validation_fraction: float = 0.1,
        train_examples: int | None = None,
        max_examples: int | None = None,
        masking: float = 0.0,
        shortcut: Shortcut | None = None,
        shuffle_labels: bool = False,
        num_workers: int = 0,
        seed: int = 42,
        token_budget: int | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer_name = tokenizer
        self.source, self.reader = open_source(dataset, path)
        self.text_column, self.label_column = text_column, label_column
        self.max_length = max_length
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.token_budget = token_budget
        self.validation_fraction = validation_fraction
        self.train_examples, self.max_examples = train_examples, max_examples
        self.masking = masking
        self.shortcut = shortcut
        self.shuffle_labels = shuffle_labels
        self.num_workers = num_workers
        self.seed = seed
        self._named_labels = checked_labels(labels)
        self._splits = Splits(self.reader, self._example_reader, validation_fraction, seed)
        self._datasets: dict[str, TextDataset] = {}
        self._predicted: StreamedTexts | None = None
        self._check()

    @cached_property
    def labels(self) -> list[str]:
        """Names of the C classes, in the order of their numbers.

        They come from ``labels``, or from the named data set, or from what the hub's data set
        declares, or else from the labels of the training file, which is only read in this case.

        Raises:
            InputError: If none of these names the classes.
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
                "the names of the classes are unknown: there is no train split to read them from. "
                "Give them with `labels`."
            )
        table = self._splits.table("train")
        names = label_names(table, require_label_column(table, self.label_column, usual))
        for group in spelt_alike(names):
            warn(
                f"{table.source}: {listed(group)} are different classes, though they look the "
                "same. If they are the same, spell them alike"
            )
        return names

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer, loaded on first access."""
        from bertx.models.pretrained import load_tokenizer

        return load_tokenizer(self.tokenizer_name)

    @cached_property
    def collator(self) -> Collator:
        """Makes the batches."""
        return Collator(self.tokenizer, self.max_length)

    def dataset_of(self, split: str) -> TextDataset:
        """Return the texts of ``train``, ``validation`` or ``test``, as they are used.

        The ``index`` of a batch refers to its rows.
        """
        if split not in self._datasets:
            raise RuntimeError(f"the {split} split is not set up: call setup() for its stage first")
        return self._datasets[split]

    def class_counts(self) -> list[int]:
        """Return the number of training texts of each of the C classes."""
        counts = Counter(self.dataset_of("train").labels)
        return [counts[number] for number in range(len(self.labels))]

    def usable(self, split: str) -> TextDataset:
        """Return all usable texts of a split, with or without a label.

        The column of labels may be missing unless it was named, and -1 is an unknown label unless
        it is a class. Without a validation split, the texts held out from training are returned, as
        by `dataset_of` after `setup`.
        """
        if split == "validation" and not self.reader.has(split) and self.reader.has("train"):
            self.setup("validate")
            return self.dataset_of(split)
        return self._splits.usable(split, unlabelled=not self.label_column, unknown=True)

    @property
    def predicted(self) -> StreamedTexts:
        """The texts of the ``predict`` split or, without one, of the test split.

        They are read as they are used, so that memory does not grow with their number.
        """
        if self._predicted is None:
            raise RuntimeError("the predict split is not set up: call setup('predict') first")
        return self._predicted

    def prepare_data(self) -> None:
        """Download the data set, in one process, if it comes from the hub."""
        with progress("Preparing the data set"):
            self.reader.has("train")

    def setup(self, stage: str) -> None:
        """Load what a stage needs: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            InputError: If the data cannot be used for that stage.
        """
        for split in _SPLITS_OF[stage]:
            if split == "predict":
                self._predicted = self._predicted or self._splits.streamed(self.max_length)
            else:
                with progress(f"Preparing the {split} texts"):
                    self._add(split)

    def train_dataloader(self) -> Batches:
        """Return shuffled batches of the training texts, with words masked if ``masking`` is set.

        The loader has a ``state_dict``, so that training can be resumed in the middle of an epoch.
        """
        return self._loader("train", self.batch_size, ResumableLoader, self.masking)

    def val_dataloader(self) -> Batches:
        """Return batches of the validation texts."""
        return self._loader("validation", self.eval_batch_size)

    def test_dataloader(self) -> Batches:
        """Return batches of the test texts."""
        return self._loader("test", self.eval_batch_size)

    def predict_dataloader(self) -> Batches:
        """Return batches of the ``predict`` split or, without one, of the test texts."""
        # With a batch sampler, Lightning would keep the rows of all batches in memory.
        batches = ConsecutiveBatches(
            self.predicted,
            self.eval_batch_size,
            token_budget=self.token_budget,
            lengths=self.predicted.token_counts(self.max_length),
        )
        return load_batches(self.predicted, None, batches, self.collator, self.num_workers)

    def _check(self) -> None:
        """Refuse settings that are out of range."""
        for name in _COUNTS:
            count = getattr(self, name)
            _require(name, count, count is None or count >= 1, "at least 1")
        if self.token_budget is not None and self.token_budget < self.max_length:
            raise InputError(
                f"`token_budget`: expected room for a text of {self.max_length} tokens "
                f"(`max_length`), but got {self.token_budget}. Raise it, or lower `max_length`."
            )
        shares = {"masking": self.masking}
        if self.shortcut:
            self.shortcut.check()
            shares["shortcut.share"] = self.shortcut.share
            shares["shortcut.noise"] = self.shortcut.noise
        for name, share in shares.items():
            _require(name, share, 0 <= share <= 1, "a share from 0 to 1")
        held_out = self.validation_fraction
        _require("validation_fraction", held_out, 0 < held_out < 1, "a share between 0 and 1")

    def _loader(
        self,
        split: str,
        size: int,
        kind: type[Batches] = DataLoader,
        masking: float = 0,
    ) -> Batches:
        data, shuffle = self.dataset_of(split), split == "train"  # fails before tokenizers load
        collate = Masking(self.collator, masking, self.seed) if masking else self.collator
        lengths = token_counts(data.texts, self.tokenizer, self.max_length)
        if self.token_budget:
            batches = TokenBudgetSampler(lengths, self.token_budget, size, shuffle, self.seed)
            return load_batches(data, None, batches, collate, self.num_workers, kind)
        sampler = EpochSampler if masking else LengthBucketSampler
        order = sampler(lengths, size, shuffle, self.seed)
        return load_batches(data, size, order, collate, self.num_workers, kind)

    def _add(self, split: str) -> None:
        """Prepare the texts of ``split``, once."""
        if split in self._datasets:
            return
        data = self._splits.of(split)
        limit = self.train_examples if split == "train" else self.max_examples
        data = data.select(sample_rows(len(data), limit, self.seed))
        if split == "train":
            _check_classes(data, self.labels)
            if self.shuffle_labels:
                data = data.shuffled(self.seed)
                warn(
                    f"train: the labels of {len(data):,} texts are shuffled, so they can only be "
                    "memorized"
                )
        count, exact = count_overlong(data.texts, self.tokenizer, self.max_length)
        report_overlong(split, count, exact, len(data), self.max_length)
        self._datasets[split] = data

    def _example_reader(
        self, split: str, table: Table, unlabelled: bool, unknown: bool
    ) -> ExampleReader:
        text = find_text_column(table, self.text_column, self.source.text_column)
        find = find_label_column if unlabelled else require_label_column
        label = find(table, self.label_column, self.source.label_column)
        labels = self.labels if label else []
        planter = None
        if self.shortcut:
            planter = Planter(
                self.shortcut, self.labels, self.tokenizer, self.max_length, split, self.seed
            )
        # On the hub, -1 marks rows without a label; in a local file it may be a class.
        unknown = unknown or bool(self.source.path)
        return ExampleReader(self.tokenizer, text, label, labels, planter, unknown)


def _require(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"`{name}`: expected {expected}, but got {value}.")


def _check_classes(data: TextDataset, labels: list[str]) -> None:
    """Raise `InputError` if all training texts have the same class."""
    present = set(data.labels)
    if len(present) == 1:
        raise InputError(
            f"train: expected texts of at least two classes, but all {len(data):,} are "
            f"{labels[present.pop()]!r}. Check `label_column`, or raise `train_examples`."
        )
