"""AttributionWriter: the words of whole corpora, with what each method makes of them."""

import os
from collections.abc import Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import ALL, GOLD, PREDICTED, Methods
from bertx.callbacks.batches import read_batch
from bertx.callbacks.methods import blamed, say_choice, tokenizer_of
from bertx.callbacks.records import Records
from bertx.callbacks.run import check_within, gather, run_folder
from bertx.callbacks.sample import Sample
from bertx.callbacks.shards import ShardWriter, read_shards, shards
from bertx.errors import InputError
from bertx.evaluation.forwards import gold_class
from bertx.explanation import Explanation
from bertx.explanation.parts import Part, parts_of
from bertx.explanation.provenance import describe
from bertx.explanation.reading import Reader, check_unit
from bertx.explanation.scoring import Scoring
from bertx.models.classifier import ModelChoice, class_number
from bertx.models.encode import Reading, UnitTokenizer
from bertx.models.heads import Logits, classifier_for
from bertx.models.inputs import Merge, Unit


class AttributionWriter(Callback):
    """Explains every text of ``trainer.predict`` and writes Parquet files as it goes.

    One row a text, of a batch as it comes: ``index``, the number of its row in the data, from 0;
    ``text``; ``input_ids``, special tokens included; ``words``, and in which characters of the text
    they are (``starts``, ``ends``), as `bertx.explain` has them; ``left_out``, how many more the
    text has than the batch, which cuts long ones; ``prediction``; ``probabilities``; ``target``,
    the explained class; ``scores_NAME``, one number a word, for each method, or one such list for
    each class (then ``target`` is null); ``error``, null or why scores are null: a computation
    overflowed, or the text is missing or cannot be explained, even alone (too little memory, no
    gold label). Such a text keeps nobody from having scores, and one without words has a row
    without scores. The schema's metadata says how they were made, under ``bertx``. All files below
    the folder are one table for ``pandas.read_parquet``, ``pyarrow.dataset`` and
    ``datasets.load_dataset``.

    Each process writes files of its own, ``rank-00000/part-000000.parquet`` and so on, which
    appear when they are whole; neither memory nor open files grow with the number of texts. Texts
    that a folder holds are not explained again, so that a killed run can be resumed.

    The model may belong to any LightningModule that holds a Hugging Face sequence classifier. It
    is called directly, in the run's precision. Foreign batches can be translated by overriding
    `read`. Without methods nothing is done.

    Args:
        methods: Attribution methods by the name of their column; null or none: write nothing.
        target: The explained class: ``predicted``, ``gold``, the name or number of one, or ``all``.
        unit: What has a score: ``word``, ``whitespace`` or ``token``.
        merge: How the scores of a word's tokens become one: ``sum``, or ``max`` for unsigned
            methods; signed ones are always summed.
        window: Explain the ``text`` of a batch to its end, not only the tokens that the batch has
            of it, in windows of this many tokens (see `bertx.explain`). Predictions are then the
            mean over its windows.
        folder: The name of a folder within the run's, or a path (something with a ``/``).
        resume: Continue the newest run beside this one that has such a folder. A path is always
            continued.
        rows_per_shard: Rows of a file; a process that is killed loses fewer.
        tokenizer: A tokenizer or the name of its model, where neither the module nor the data
            module has one.
        model: Which classifier, where the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.
        logits: For an encoder with a head of your own: the name of a method of the module, or a
            function, from a mapping of ``input_ids``, ``attention_mask``, ... to the logits (B, C);
            see `bertx.models.heads.EncoderForSequenceClassification`.

    Raises:
        InputError: Before the first batch, if the module holds no classifier, a method is not
            defined for it, there are several loaders, or the folder holds attributions of another
            model, tokenizer, method, unit, target, precision, window or length of texts; at the
            first, if it has no ``text`` for a window.
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
        if rows_per_shard < 1:
            raise InputError(f"rows_per_shard must be at least 1, got {rows_per_shard}")
        check_unit(unit)
        if os.path.basename(folder) == folder:
            check_within("AttributionWriter: folder", folder)
        self.methods = methods
        self.target = target
        self.unit = unit
        self.merge = merge
        self.window = window
        self.folder = folder
        self.resume = resume
        self.rows_per_shard = rows_per_shard
        self.tokenizer = tokenizer
        self.model = model
        self.logits = logits
        self.path: Path | None = None
        self._shards: ShardWriter | None = None

    def read(self, batch: Any) -> Any:
        """Translate a foreign batch into a mapping with ``input_ids`` and what else it knows."""
        return batch

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot work, and see what is there."""
        self._shards = None
        if not self.methods:
            return
        methods = self._prepare(trainer, pl_module, self.methods)
        settings = describe(self._model, self._tokenizer, methods, self._settings(trainer))
        self._records = Records(self._model, methods, self.target == ALL, settings)
        self.path = self._find(trainer)
        self._stored = read_shards(self.path)
        self._records.check(self.path, self._stored.settings)
        self._sample: Sample | None = None
        self._counts = {"written": 0, "skipped": 0, "failed": 0}
        rank = self.path / f"rank-{trainer.global_rank:05d}"
        self._shards = ShardWriter(rank, self._records.schema, self.rows_per_shard)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Explain the texts of a batch that are not there yet."""
        if self._shards is None:
            return
        batch = self.read(batch)
        numbered = isinstance(batch, Mapping) and "index" in batch
        sample = self._sample = self._sample or _whole(trainer, numbered)
        sample.add(batch, self._texts)
        new = [e for e in sample.examples if not self._stored.holds(e.index, e.text)]
        self._counts["skipped"] += len(sample.examples) - len(new)
        sample.examples = []
        with trainer.precision_plugin.forward_context():
            self._write(self._rows(new), self._shards)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the last file, and say on rank zero where all are."""
        if self._shards is None:
            return
        self._shards.close()
        self._shards = None
        everyone = gather([self._counts])
        if trainer.is_global_zero:
            total = {key: sum(counts[key] for counts in everyone) for key in self._counts}
            failed = f", {total['failed']:,} of them with an error" if total["failed"] else ""
            print(
                f"Attributions: {self.path} ({total['written']:,} texts written{failed}, "
                f"{total['skipped']:,} skipped that were there)"
            )

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Keep what is done."""
        if self._shards is not None:
            with suppress(OSError):  # the disk may be what failed
                self._shards.close()
        self._shards = None

    def _prepare(
        self, trainer: Trainer, module: LightningModule, methods: Methods
    ) -> dict[str, Attribution]:
        with blamed(self):
            model = self._model = classifier_for(module, self.logits, self.model)
        if self.model is not None:
            say_choice(self, "explains", module, model)
        loaders = trainer.predict_dataloaders
        if isinstance(loaders, (list, tuple)) and len(loaders) > 1:
            raise InputError(
                f"AttributionWriter: expected one loader, got {len(loaders)}, whose texts would "
                "have the same numbers. Predict with one after the other."
            )
        self._tokenizer = tokenizer_of(trainer, module, model, self.tokenizer)
        if self.target not in (PREDICTED, GOLD, ALL):
            class_number(self.target, model, (PREDICTED, GOLD, ALL))
        target = PREDICTED if self.target == GOLD else self.target
        self._score = Scoring(model, self._tokenizer, methods, target, self.merge)
        whole = self.window is not None
        self._reader = Reader(self._tokenizer, model, self.unit, self.window) if whole else None
        return self._score.methods

    def _settings(self, trainer: Trainer) -> dict[str, Any]:
        """What decides the rows beside the model, its tokenizer and the methods."""
        collator = getattr(_loader(trainer), "collate_fn", None)
        return {
            "target": str(self.target),
            "unit": self.unit,
            "merge": self.merge,
            "window": self.window,
            "precision": str(trainer.precision),
            "max_length": getattr(collator, "max_length", None),
        }

    def _find(self, trainer: Trainer) -> Path:
        run = run_folder(trainer)
        if os.path.basename(self.folder) != self.folder:
            return Path(self.folder)
        folder = run / self.folder
        if self.resume and not shards(folder):
            others = [shards(other / self.folder) for other in run.parent.iterdir()]
            newest = max(filter(None, others), key=lambda o: o[-1].stat().st_mtime, default=None)
            folder = newest[0].parents[1] if newest else folder
        return Path(trainer.strategy.broadcast(str(folder)))

    def _write(self, rows: list[dict[str, Any]], to: ShardWriter) -> None:
        to.write(rows)
        self._counts["written"] += len(rows)
        self._counts["failed"] += sum(row["error"] is not None for row in rows)

    def _texts(self, batch: Any) -> list[Reading]:
        """What a batch has of its texts; with windows, nothing of their words."""
        readings = read_batch(batch, self._tokenizer, self.unit)
        if self._reader is None:
            return readings
        return [
            replace(one, text=text, units=(-1,) * len(one.ids))
            for one, text in zip(readings, _whole_texts(batch), strict=True)
        ]

    def _rows(self, examples: Sequence[Reading]) -> list[dict[str, Any]]:
        """The rows of some texts, also of those that fail."""
        readings = [self._read(example) for example in examples]
        scored = iter(self._score([self._parts(one) for one in readings if one.error is None]))
        return [
            self._records.row(
                one,
                next(scored)
                if one.error is None
                else [Explanation(one.index, one.text, error=one.error)],
            )
            for one in readings
        ]

    def _parts(self, reading: Reading) -> list[Part]:
        return parts_of(reading, None if self._reader is None else self._reader.windows(reading))

    def _read(self, example: Reading) -> Reading:
        """A text as it is to be explained, or with why it cannot be."""
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
        """How many units of a text its batch has not as a whole; None if it cannot be known."""
        text, spans = reading.text, reading.spans
        if spans and not (text[: spans[0][0]] + text[spans[-1][1] :]).strip():
            return 0
        if not self._tokenizer.is_fast:
            return None
        [whole] = UnitTokenizer(self._tokenizer, self.unit)([text])
        first, last = (spans[0][0], spans[-1][1]) if spans else (len(text), 0)
        return sum(start < first or end > last for start, end in whole.spans)


def _whole_texts(batch: Mapping[str, Any]) -> Sequence[str]:
    """The texts of a batch as they were before they became tokens."""
    if "text" not in batch:
        raise InputError(
            "AttributionWriter: a window needs whole texts, but the batches have no 'text'. Add "
            "it, or leave the window out."
        )
    if torch.as_tensor(batch.get("token_type_ids", 0)).any():
        raise InputError(
            "AttributionWriter: a window needs whole texts, but the batches have pairs of texts. "
            "Leave the window out."
        )
    texts: Sequence[str] = batch["text"]
    return texts


def _whole(trainer: Trainer, numbered: bool) -> Sample:
    """All rows; where the batches do not number them, without those that only fill a rank up."""
    loader = _loader(trainer)
    data = getattr(loader, "dataset", None)
    # A loader that does not make batches of its data set's items has another number of rows.
    numbered = numbered or getattr(loader, "batch_sampler", None) is None
    size = len(data) if isinstance(data, Sized) and not numbered else None
    return Sample(None, size, trainer.world_size, trainer.global_rank)


def _loader(trainer: Trainer) -> Any:
    loaders = trainer.predict_dataloaders
    return loaders[0] if isinstance(loaders, (list, tuple)) else loaders
