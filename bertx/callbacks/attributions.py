"""AttributionWriter: attributions of all texts of a prediction, as Parquet files."""

import os
from collections.abc import Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import ALL, GOLD, PREDICTED, Methods
from bertx.callbacks.attribution_table import AttributionTable
from bertx.callbacks.batches import read_batch
from bertx.callbacks.explaining import ExplainingCallback, find_tokenizer, log_choice
from bertx.callbacks.sample import Sample
from bertx.callbacks.shards import ShardWriter, read_shards, shards
from bertx.callbacks.trainer import check_within, gather, run_folder
from bertx.errors import InputError, check_positive
from bertx.evaluation.forwards import gold_class
from bertx.explanation.provenance import describe
from bertx.explanation.reader import Reader
from bertx.explanation.scoring import Scoring
from bertx.models.classifier import ModelChoice, class_number
from bertx.models.encode import Reading, UnitTokenizer
from bertx.models.heads import Logits
from bertx.models.inputs import Merge, Unit


class AttributionWriter(ExplainingCallback):
    """Explains every text of ``trainer.predict`` and writes Parquet files as it goes.

    There is one row per text, for the tokens in its batch: ``index``, its row in the data, from 0;
    ``text``; ``input_ids``, special tokens included; ``words``, and the characters of the text at
    which they start and end (``starts``, ``ends``), as in `bertx.explain`; ``left_out``, how many
    words were cut off or cut into because the text is too long; ``prediction``; ``probabilities``;
    ``target``, the explained class; ``scores_NAME`` for each method, one number per word, or one
    such list per class (then ``target`` is null); ``error``, null or the reason why scores are
    null: a computation overflowed, or the text is missing or cannot be explained, even by itself
    (too little memory, no gold label). A text that fails does not affect the others; a text
    without words has a row without scores. The schema's metadata records under ``bertx`` how the
    scores were computed. All files below the folder are one table for ``pandas.read_parquet``,
    ``pyarrow.dataset`` and ``datasets.load_dataset``.

    Each process writes its own files, ``rank-00000/part-000000.parquet`` and so on, which appear
    when they are complete; neither memory nor open files grow with the number of texts. Texts that
    are already in the folder are not explained again, so that a killed run can be resumed.

    The model may belong to any LightningModule that holds a Hugging Face sequence classifier. It
    is called directly, in the precision of the run. Batches of another format can be translated by
    overriding `read`. Without methods, nothing is done.

    Args:
        methods: Attribution methods by the name of their column; null or empty: write nothing.
        target: The explained class: ``predicted``, ``gold``, the name or number of one, or ``all``.
        merge: How the scores of a word's tokens are combined: ``sum``, or ``max`` for unsigned
            methods; signed ones are always summed.
        window: Explain the whole ``text`` of a batch, not only the tokens in the batch, in windows
            of this many tokens (see `bertx.explain`). Predictions are then the mean over windows.
        folder: The name of a folder within the run's, or a path (a name with a ``/``).
        resume: Continue the newest neighbouring run that has such a folder. A path is always
            continued.
        rows_per_shard: Rows of a file. A killed process loses the rows of its last file.

    Raises:
        InputError: Before the first batch, if the module holds no classifier, a method does not
            support it, there are several loaders, or the folder holds attributions of another
            model, tokenizer, method, unit, target, precision, window or maximum length; at the
            first batch, if it has no ``text`` for a window.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        target: str | int = "predicted",
        unit: Unit = "word",
        merge: Merge = "sum",
        window: int | None = None,
        folder: str = "attributions",
        resume: bool = False,
        rows_per_shard: int = 4096,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
    ) -> None:
        super().__init__(methods, target, unit, tokenizer, model, logits)
        check_positive(rows_per_shard=rows_per_shard)
        if os.path.basename(folder) == folder:
            check_within("AttributionWriter: folder", folder)
        self.merge = merge
        self.window = window
        self.folder = folder
        self.resume = resume
        self.rows_per_shard = rows_per_shard
        self.path: Path | None = None
        self._shards: ShardWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the settings, and read which texts the folder already holds."""
        self._shards = None
        if not self.methods:
            return
        methods = self._prepare(trainer, pl_module, self.methods)
        settings = describe(self._model, self._tokenizer, methods, self._settings(trainer))
        self._table = AttributionTable(self._model, methods, self.target == ALL, settings)
        self.path = self._folder_path(trainer)
        self._stored = read_shards(self.path)
        self._table.check(self.path, self._stored.settings)
        self._sample: Sample | None = None
        self._counts = {"written": 0, "skipped": 0, "failed": 0}
        rank = self.path / f"rank-{trainer.global_rank:05d}"
        self._shards = ShardWriter(rank, self._table.schema, self.rows_per_shard)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the texts of a batch that are not in the folder yet."""
        if self._shards is None:
            return
        batch = self.read(batch)
        if self._sample is None:
            self._sample = _all_rows(trainer, isinstance(batch, Mapping) and "index" in batch)
        sample = self._sample
        sample.add(batch, self._read_batch)
        new = [e for e in sample.examples if not self._stored.holds(e.index, e.text)]
        self._counts["skipped"] += len(sample.examples) - len(new)
        sample.examples = []
        with trainer.precision_plugin.forward_context():
            self._write(self._rows(new), self._shards)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the last file, and print on rank zero where the files are."""
        if self._shards is None:
            return
        self._shards.close()
        self._shards = None
        all_counts = gather([self._counts])
        if trainer.is_global_zero:
            total = {key: sum(counts[key] for counts in all_counts) for key in self._counts}
            failed = f", {total['failed']:,} of them with an error" if total["failed"] else ""
            print(
                f"Attributions: {self.path} ({total['written']:,} texts written{failed}, "
                f"{total['skipped']:,} skipped because already stored)"
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save the rows so far."""
        if self._shards is not None:
            with suppress(OSError):  # the disk may have caused the exception
                self._shards.close()
        self._shards = None

    def _prepare(
        self, trainer: Trainer, module: LightningModule, methods: Methods
    ) -> dict[str, Attribution]:
        model = self._model = self._find_classifier(module)
        if self.model is not None:
            log_choice(self, "explains", module, model)
        loaders = trainer.predict_dataloaders
        if isinstance(loaders, (list, tuple)) and len(loaders) > 1:
            raise InputError(
                f"AttributionWriter: expected one loader, got {len(loaders)}, whose texts would "
                "have the same indices. Predict with one loader at a time."
            )
        self._tokenizer = find_tokenizer(trainer, module, model, self.tokenizer)
        if self.target not in (PREDICTED, GOLD, ALL):
            class_number(self.target, model, (PREDICTED, GOLD, ALL))
        target = PREDICTED if self.target == GOLD else self.target
        self._score = Scoring(model, self._tokenizer, methods, target, self.merge)
        self._reader: Reader | None = None
        if self.window is not None:
            self._reader = Reader(self._tokenizer, model, self.unit, self.window)
        return self._score.methods

    def _settings(self, trainer: Trainer) -> dict[str, Any]:
        """Return the settings that affect the rows, besides model, tokenizer and methods."""
        collator = getattr(_loader(trainer), "collate_fn", None)
        return {
            "target": str(self.target),
            "unit": self.unit,
            "merge": self.merge,
            "window": self.window,
            "precision": str(trainer.precision),
            "max_length": getattr(collator, "max_length", None),
        }

    def _folder_path(self, trainer: Trainer) -> Path:
        run = run_folder(trainer)
        if os.path.basename(self.folder) != self.folder:
            return Path(self.folder)
        folder = run / self.folder
        if self.resume and not shards(folder):
            runs = [shards(other / self.folder) for other in run.parent.iterdir()]
            last_shards = [paths[-1] for paths in runs if paths]
            if last_shards:
                newest = max(last_shards, key=lambda path: path.stat().st_mtime)
                folder = newest.parents[1]
        return Path(trainer.strategy.broadcast(str(folder)))

    def _write(self, rows: list[dict[str, Any]], to: ShardWriter) -> None:
        to.write(rows)
        self._counts["written"] += len(rows)
        self._counts["failed"] += sum(row["error"] is not None for row in rows)

    def _read_batch(self, batch: Any) -> list[Reading]:
        """Read the texts of a batch; with windows, their units are read later."""
        readings = read_batch(batch, self._tokenizer, self.unit)
        if self._reader is None:
            return readings
        return [
            replace(reading, text=text, units=(-1,) * len(reading.ids))
            for reading, text in zip(readings, _whole_texts(batch), strict=True)
        ]

    def _rows(self, examples: Sequence[Reading]) -> list[dict[str, Any]]:
        """Return a row for each text, also for texts that fail."""
        readings = [self._prepared(example) for example in examples]
        explained = zip(readings, self._score(readings, self._reader), strict=True)
        return [self._table.row(reading, explanations) for reading, explanations in explained]

    def _prepared(self, example: Reading) -> Reading:
        """Return a text with its units and target, or with the error that prevents explaining."""
        if self._reader is None:
            example = replace(example, left_out=self._left_out(example))
        if example.error is not None:
            return example
        try:
            if self._reader is not None:
                example = self._reader.read(example.index, example.text, example.label)
            target = gold_class(example, self._model) if self.target == GOLD else None
        except InputError as error:
            return replace(example, error=str(error))
        return replace(example, target=target)

    def _left_out(self, reading: Reading) -> int | None:
        """Count the units of a text that its batch lacks or has cut; None if unknown."""
        text, spans = reading.text, reading.spans
        if spans and not (text[: spans[0][0]] + text[spans[-1][1] :]).strip():
            return 0
        if not self._tokenizer.is_fast:
            return None
        [whole] = UnitTokenizer(self._tokenizer, self.unit)([text])
        first, last = (spans[0][0], spans[-1][1]) if spans else (len(text), 0)
        return sum(start < first or end > last for start, end in whole.spans)


def _whole_texts(batch: Mapping[str, Any]) -> Sequence[str]:
    """Return the texts of a batch as they were before tokenization."""
    if "text" not in batch:
        raise InputError(
            "AttributionWriter: a window needs whole texts, but the batches have no 'text'. Add "
            "it, or omit the window."
        )
    if torch.as_tensor(batch.get("token_type_ids", 0)).any():
        raise InputError(
            "AttributionWriter: a window needs whole texts, but the batches have pairs of texts. "
            "Omit the window."
        )
    texts: Sequence[str] = batch["text"]
    return texts


def _all_rows(trainer: Trainer, has_index: bool) -> Sample:
    """Return a sample of all rows, without the padding of a rank if batches have no index."""
    loader = _loader(trainer)
    data = getattr(loader, "dataset", None)
    size = None
    # A loader that does not batch the items of its data set has another number of rows.
    if not has_index and getattr(loader, "batch_sampler", None) is not None:
        size = len(data) if isinstance(data, Sized) else None
    return Sample(None, size, trainer.world_size, trainer.global_rank)


def _loader(trainer: Trainer) -> Any:
    loaders = trainer.predict_dataloaders
    return loaders[0] if isinstance(loaders, (list, tuple)) else loaders
