"""What callbacks share that explain a sample: its settings, its examples, and explaining them."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from inspect import cleandoc, signature
from itertools import chain
from math import lcm
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.batches import read_batch
from bertx.callbacks.lines import beside_bar
from bertx.callbacks.methods import (
    blamed,
    check_alone,
    check_methods,
    say_choice,
    tokenizer_of,
)
from bertx.callbacks.outcome import Listener
from bertx.callbacks.run import callbacks_of, check_name, gather, here, run_folder
from bertx.callbacks.sample import Sample, rows_dealt
from bertx.errors import InputError
from bertx.evaluation import Recorder
from bertx.models.classifier import ModelChoice
from bertx.models.encode import Reading
from bertx.models.heads import Logits, classifier_for
from bertx.models.inputs import Unit
from bertx.models.scope import isolated_rng
from bertx.perturb.packing import budget_for
from bertx.progress import progress
from bertx.rendering import append_scores
from bertx.rendering.files import Cell
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")

_ENOUGH = 0.75
"""The part of a sample that is enough: loaders may drop the last batch."""


_ARGUMENTS = re.compile(r"^Args:\n( {4}.*(?:\n {4}.*)*)", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+):.*(?:\n {8}.*)*", re.MULTILINE)


Chunk = tuple[list[Reading], Trace]
"""B examples and their forward, on the model's device; it holds the graph, so let it go soon."""


class Probe(Listener, ABC):
    """Explains a fixed sample of the validation or test examples at the end of an epoch.

    The model may belong to any LightningModule that holds a Hugging Face sequence classifier. It
    is called directly, without dropout, in the run's precision; afterwards the module, its modes
    and hooks, and all random streams are as before. With several loaders the first is explained.
    The sample is drawn from all rows of the data set; a warning says if many are not seen. It
    comes before all other callbacks, so that one that averages weights for a validation has not
    put the others back yet: what is explained is what was validated.

    Subclasses fill `report`; foreign batches can be translated by overriding `read`. What
    is said of a setting below holds where a subclass does not describe it.

    Args:
        methods: Attribution methods by the name under which they are logged.
        every_n_epochs: Explain after every n-th training epoch. Validation and test runs of their
            own are always explained.
        max_examples: Size of the sample, the same examples in every epoch; null for all.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        unit: What is scored: ``word``, ``whitespace`` or ``token``.
        tokenizer: A tokenizer or the name of its model, where neither the module nor the data
            module has one.
        name: Part of all keys and folders after the stage, ``val/<name>/...``, where the trainer
            has several of these callbacks.
        model: Which classifier, where the module holds several: the path of an attribute, such as
            ``student``, or a function from the module to it.
        logits: For an encoder with a head of your own: the name of a method of the module, or a
            function, from a mapping of ``input_ids``, ``attention_mask``, ... to the logits (B, C);
            see `bertx.models.heads.EncoderForSequenceClassification`.
    """

    def __init_subclass__(cls) -> None:
        """Complete the docstring: ``help`` shows no other."""
        super().__init_subclass__()
        described, shared = (_ARGUMENTS.search(cleandoc(c.__doc__ or "")) for c in (cls, Probe))
        if described and shared:
            matches = (_ARGUMENT.finditer(section[1]) for section in (shared, described))
            entries = {entry[1]: entry[0] for entry in chain(*matches)}
            every = [entries[name] for name in signature(cls).parameters if name in entries]
            cls.__doc__ = described.string.replace(described[1], "\n".join(every))

    def __init__(
        self,
        methods: dict[str, Attribution] | None,
        every_n_epochs: int,
        max_examples: int | None,
        target: str | int,
        unit: Unit,
        tokenizer: str | PreTrainedTokenizerBase | None,
        name: str | None,
        model: ModelChoice | None,
        logits: Logits | None,
    ) -> None:
        check_name(name)
        if every_n_epochs < 1:
            raise InputError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        if max_examples is not None and max_examples < 1:
            raise InputError(f"max_examples must be at least 1 or null, got {max_examples}")
        self.methods = methods
        self.every_n_epochs = every_n_epochs
        self.max_examples = max_examples
        self.target = target
        self.unit = unit
        self.tokenizer = tokenizer
        self.name = name
        self.model = model
        self.logits = logits
        self._sample: Sample | None = None
        self._count = 0
        self._warned_of: set[str] = set()
        self._readable = False
        self._reported = False

    @abstractmethod
    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Use what is explained, on every rank.

        Args:
            trainer: The trainer.
            pl_module: The module.
            stage: ``val`` or ``test``, and the callback's name after a slash if it has one.
            chunks: This rank's examples, recorded as they are asked for; may be none.
        """

    @property
    def state_key(self) -> str:
        """What tells its state from that of others in a checkpoint."""
        return self._generate_state_key(name=self.name) if self.name else super().state_key

    def read(self, batch: Any) -> Any:
        """Translate a foreign batch into a mapping with ``input_ids`` and what else it knows."""
        return batch

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come before the callbacks that change weights back at the end of an epoch."""
        super().setup(trainer, pl_module, stage)
        self._readable = False
        # A new list, as the trainer is going through the old one.
        trainer.callbacks = sorted(  # type: ignore[attr-defined]  # Lightning declares none
            callbacks_of(trainer), key=lambda callback: not isinstance(callback, Probe)
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot work before the first step.

        Raises:
            InputError: If an example cannot be explained, or a checkpoint or early stopping needs
                a number after epochs that are not explained.
        """
        self._prepare(trainer, pl_module)
        self._check_monitors(trainer)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample."""
        self._begin(trainer, pl_module, trainer.val_dataloaders)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a sample."""
        self._begin(trainer, pl_module, trainer.test_dataloaders)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Gather the chosen rows."""
        super().on_validation_batch_end(
            trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        )
        self._gather(batch, dataloader_idx)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "test")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Announce what was reported last."""
        reported, self._reported = self._reported, False
        if reported and trainer.is_global_zero:
            self.announce()

    on_test_end = on_fit_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Announce what a validation run of its own has reported."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.on_fit_end(trainer, pl_module)

    def announce(self) -> None:
        """Print on rank zero what was reported last, when a run of the trainer ends."""

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_alone(self, self.name, trainer)
        model = self._model = self._find(pl_module)
        if self.model is not None and "model" not in self._warned_of:
            self._warned_of.add("model")
            say_choice(self, "explains", pl_module, model)
        self._tokenizer = tokenizer_of(trainer, pl_module, model, self.tokenizer)
        self._methods = check_methods(self.methods, model)
        budget = budget_for(model.device, recorded=True)
        self._recorder = Recorder(model, self._tokenizer, self.target, budget)
        self._needs = Needs.of(*self._methods.values())

    def _find(self, pl_module: LightningModule) -> PreTrainedModel:
        before = getattr(self, "_model", None)
        with blamed(self):
            return classifier_for(pl_module, self.logits, self.model, before)

    def _begin(self, trainer: Trainer, pl_module: LightningModule, loaders: Any) -> None:
        self._sample = None
        self._prepare(trainer, pl_module)
        fitting = trainer.state.fn == TrainerFn.FITTING
        due = not fitting or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if self._methods and due and not trainer.sanity_checking:
            first = loaders[0] if isinstance(loaders, (list, tuple)) else loaders
            data = getattr(first, "dataset", None)
            size = len(data) if isinstance(data, Sized) else None
            ranks, rank = trainer.world_size, trainer.global_rank
            dealt = rows_dealt(first, ranks) if ranks > 1 else None
            self._sample = Sample(self.max_examples, size, ranks, rank, dealt, once=True)

    def _gather(self, batch: Any, dataloader_idx: int) -> None:
        if dataloader_idx != 0 or not self._methods:
            return
        read = partial(read_batch, tokenizer=self._tokenizer, unit=self.unit)
        if not self._readable:  # all of it is read, so that the sanity check says what is wrong
            read(self.read(batch))
            self._readable = True
        if self._sample is not None:
            self._sample.add(self.read(batch), read)

    def _end(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._sample is None:
            return
        if self._find(pl_module) is not self._model:
            self._prepare(trainer, pl_module)  # the module validates another than at the start
        stage = self._placed(stage)
        self._count_all(trainer, stage, self._sample)
        with ExitStack() as stack:
            stack.enter_context(isolated_rng())
            stack.enter_context(trainer.precision_plugin.forward_context())
            stack.enter_context(beside_bar(trainer))
            chunks = self._explain_all(stage, self._sample)
            self.report(trainer, pl_module, stage, chunks)
        self._sample, self._reported = None, True

    def _count_all(self, trainer: Trainer, stage: str, sample: Sample) -> None:
        """Count the examples of all ranks, and say once if many are missing; a collective call."""
        self._count = sum(gather([len(sample.examples)]))
        enough = sample.expected is None or self._count >= _ENOUGH * sample.expected
        if enough or stage in self._warned_of or getattr(trainer, "fast_dev_run", False):
            return
        self._warned_of.add(stage)
        if trainer.is_global_zero:
            log.warning(
                f"{stage}: only {self._count} of the {sample.expected} examples in "
                f"{type(self).__name__}'s sample were seen. They are drawn from all rows of the "
                f"data set, but {_reason(trainer, stage)} leaves rows out. Use all rows, or make "
                "the data set itself smaller."
            )

    def _log(self, pl_module: LightningModule, stage: str, values: Mapping[str, float]) -> None:
        """Log numbers that all ranks have alike."""
        for key, value in values.items():
            pl_module.log(f"{stage}/{key}", value, sync_dist=True, batch_size=1)

    def _append(
        self, trainer: Trainer, stage: str, name: str, rows: Iterable[Mapping[str, Cell]]
    ) -> Path | None:
        """Add rows to a table of the stage on rank zero; a collective call."""
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return None
        epoch, step = here(trainer)
        numbered = [{"epoch": epoch, "step": step, **row} for row in rows]
        return append_scores(folder / name, numbered)

    def _placed(self, stage: str) -> str:
        return stage if self.name is None else f"{stage}/{self.name}"

    def _groups(self) -> tuple[str, ...]:
        """What follows the stage in the keys that are logged."""
        return ()

    def _check_monitors(self, trainer: Trainer) -> None:
        """Refuse a callback that needs a key after an epoch that is not explained."""
        groups = tuple(f"{self._placed('val')}/{group}/" for group in self._groups())
        for callback in [*trainer.early_stopping_callbacks, *trainer.checkpoint_callbacks]:
            key = str(getattr(callback, "monitor", ""))
            if key.startswith(groups) and _period(callback, trainer) % self.every_n_epochs:
                raise InputError(
                    f"{type(self).__name__}: every_n_epochs {self.every_n_epochs}, but "
                    f"{type(callback).__name__} monitors {key!r}, which is not logged after the "
                    "epochs in between. Set every_n_epochs to 1, or monitor another key."
                )

    def _explain_all(self, stage: str, sample: Sample) -> Iterator[Chunk]:
        what = f"{type(self).__name__}, {stage} examples"
        with progress(what, len(sample.examples)) as advance:
            for portion in self._portions(sample):
                for chunk in self._recorder.chunks(portion):
                    yield chunk, self._recorder.record(chunk, self._needs)
                    advance(len(chunk))

    def _portions(self, sample: Sample) -> Iterator[Sequence[Reading]]:
        """The examples, as many at once as are to be reported before the next are asked for."""
        yield sample.examples


def _period(callback: Callback, trainer: Trainer) -> int:
    """Every how many epochs a callback needs what it monitors; 0 if it can do without."""
    validated = trainer.check_val_every_n_epoch or 1
    if isinstance(callback, ModelCheckpoint) and callback.save_top_k:
        return lcm(validated, callback._every_n_epochs or 1)
    return validated if isinstance(callback, EarlyStopping) and callback.strict else 0


def _reason(trainer: Trainer, stage: str) -> str:
    """What leaves rows out, as far as the trainer knows."""
    stage = stage.split("/")[0]
    overfit = getattr(trainer, "overfit_batches", 0)  # the class does not declare it
    if stage == "val" and overfit:
        return f"overfit_batches={overfit}"
    limit = getattr(trainer, f"limit_{stage}_batches")
    everything = isinstance(limit, float) and limit == 1
    return "the loader, such as by its sampler," if everything else f"limit_{stage}_batches={limit}"
