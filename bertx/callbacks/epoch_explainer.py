"""The base of callbacks that explain a sample of the examples at the end of an epoch."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from math import lcm
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution, Random
from bertx.attribution.choices import COMPARED_METHODS, SHORT_NAMES, check_each, supported
from bertx.callbacks.batches import read_batch
from bertx.callbacks.explaining import ExplainingCallback, find_tokenizer, log_choice
from bertx.callbacks.logits_check import LogitsCheck
from bertx.callbacks.progress_lines import beside_bar
from bertx.callbacks.sample import Sample, rows_dealt
from bertx.callbacks.trainer import callbacks_of, epoch_and_step, gather, run_folder
from bertx.errors import InputError, check_positive
from bertx.evaluation import Recorder
from bertx.models.classifier import ModelChoice
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit
from bertx.models.scope import isolated_rng
from bertx.perturb.packing import budget_for
from bertx.progress import progress
from bertx.rendering import append_scores
from bertx.rendering.files import Cell
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")

_NAME = re.compile(r"[\w.-]+", re.ASCII)

_ENOUGH = 0.75
"""Share of the sample below which a warning is given; loaders may drop the last batch."""

Chunk = tuple[list[Reading], Trace]
"""B examples and their recorded forward, which holds the autograd graph: delete it soon."""


class EpochExplainer(LogitsCheck, ExplainingCallback, ABC):
    """Base of callbacks that explain a sample of the examples at the end of an epoch.

    The sample of the validation or test examples is the same in every epoch. It is drawn from all
    rows of the data set; a warning is given if the loader leaves many of them out. With several
    loaders, the first one is explained. Dropout is off; afterwards the module, its modes and hooks,
    and all random states are as before. These callbacks run before all others, so that
    they see averaged weights before the callback that averages them restores the others.

    Subclasses implement `report`.

    Args:
        every_n_epochs: Explain after every n-th training epoch. Separate validation and test runs
            are always explained.
        max_examples: Size of the sample; null for all examples.
        name: Part of all keys and folders after the stage, ``val/<name>/...``, which tells several
            of these callbacks in one trainer apart.
    """

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
        super().__init__(methods, target, unit, tokenizer, model, logits)
        if name is not None and not (_NAME.fullmatch(name) and name.strip(".")):
            raise InputError(
                f"name {name!r}: expected letters, digits, '.', '_' and '-', but not only dots, as "
                "it is part of keys and folders"
            )
        check_positive(every_n_epochs=every_n_epochs, max_examples=max_examples)
        self.every_n_epochs = every_n_epochs
        self.max_examples = max_examples
        self.name = name
        self._sample: Sample | None = None
        self._count = 0
        self._warned_stages: set[str] = set()
        self._format_checked = False
        self._choice_logged = False
        self._reported = False

    @abstractmethod
    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Process the explained examples; called on every rank.

        Args:
            trainer: The trainer.
            pl_module: The module.
            stage: ``val`` or ``test``, followed by a slash and the callback's name if it has one.
            chunks: This rank's examples, recorded while iterating; may be empty.
        """

    @property
    def state_key(self) -> str:
        """The key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name) if self.name else super().state_key

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Move these callbacks before those that change weights at the end of an epoch."""
        super().setup(trainer, pl_module, stage)
        self._format_checked = False
        # A new list, as the trainer is iterating over the old one.
        trainer.callbacks = sorted(  # type: ignore[attr-defined]  # not in Lightning's types
            callbacks_of(trainer), key=lambda callback: not isinstance(callback, EpochExplainer)
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the settings before the first step.

        Raises:
            InputError: If an example cannot be explained, or a checkpoint or early stopping needs
                a value after epochs that are not explained.
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
        """Collect the sampled rows."""
        super().on_validation_batch_end(
            trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        )
        if dataloader_idx != 0 or not self._methods:
            return
        read = partial(read_batch, tokenizer=self._tokenizer, unit=self.unit)
        if not self._format_checked:  # the sanity check reads a whole batch to report its errors
            read(self.read(batch))
            self._format_checked = True
        if self._sample is not None:
            self._sample.add(self.read(batch), read)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "test")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last results."""
        reported, self._reported = self._reported, False
        if reported and trainer.is_global_zero:
            self.announce()

    on_test_end = on_fit_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the results of a separate validation run."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self.on_fit_end(trainer, pl_module)

    def announce(self) -> None:
        """Print the last results; called on rank zero when a run of the trainer ends."""

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_alone(trainer)
        model = self._model = self._find_classifier(pl_module)
        if self.model is not None and not self._choice_logged:
            self._choice_logged = True
            log_choice(self, "explains", pl_module, model)
        self._tokenizer = find_tokenizer(trainer, pl_module, model, self.tokenizer)
        if self.methods is None:
            defaults: tuple[type[Attribution], ...] = (*COMPARED_METHODS, Random)
            named = {SHORT_NAMES[method.__name__]: method() for method in defaults}
            self._methods = supported(named, model)
        else:
            check_each(self.methods, model)
            self._methods = self.methods
        budget = budget_for(model.device, recorded=True)
        self._recorder = Recorder(model, self._tokenizer, self.target, budget)
        self._needs = Needs.of(*self._methods.values())

    def _check_alone(self, trainer: Trainer) -> None:
        """Refuse a second callback that would log under the same keys."""
        others = [each for each in getattr(trainer, "callbacks", ()) if each is not self]
        if any(type(each) is type(self) and each.name == self.name for each in others):
            raise InputError(
                f"two {type(self).__name__} callbacks would write to the same keys and files: give "
                "one of them a name, such as name: second"
            )

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

    def _end(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._sample is None:
            return
        if self._find_classifier(pl_module) is not self._model:
            self._prepare(trainer, pl_module)  # the module has replaced its classifier
        stage = self._full_stage(stage)
        self._count_examples(trainer, stage, self._sample)
        with isolated_rng(), trainer.precision_plugin.forward_context(), beside_bar(trainer):
            chunks = self._explain(stage, self._sample)
            self.report(trainer, pl_module, stage, chunks)
        self._sample, self._reported = None, True

    def _count_examples(self, trainer: Trainer, stage: str, sample: Sample) -> None:
        """Count the examples of all ranks, and warn once if many are missing; a collective call."""
        self._count = sum(gather([len(sample.examples)]))
        enough = sample.expected is None or self._count >= _ENOUGH * sample.expected
        if enough or stage in self._warned_stages or getattr(trainer, "fast_dev_run", False):
            return
        self._warned_stages.add(stage)
        if trainer.is_global_zero:
            log.warning(
                f"{stage}: only {self._count} of the {sample.expected} examples in "
                f"{type(self).__name__}'s sample were seen. They are drawn from all rows of the "
                f"data set, but {_omitting_setting(trainer, stage)} leaves rows out. Use all rows, "
                "or make the data set itself smaller."
            )

    def _log(self, pl_module: LightningModule, stage: str, values: Mapping[str, float]) -> None:
        """Log values that are equal on all ranks."""
        for key, value in values.items():
            pl_module.log(f"{stage}/{key}", value, sync_dist=True, batch_size=1)

    def _append(
        self, trainer: Trainer, stage: str, name: str, rows: Iterable[Mapping[str, Cell]]
    ) -> Path | None:
        """Append rows to a table of the stage on rank zero; a collective call."""
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return None
        epoch, step = epoch_and_step(trainer)
        numbered = [{"epoch": epoch, "step": step, **row} for row in rows]
        return append_scores(folder / name, numbered)

    def _full_stage(self, stage: str) -> str:
        return stage if self.name is None else f"{stage}/{self.name}"

    def _logged_groups(self) -> tuple[str, ...]:
        """Return the parts of logged keys between the stage and the method."""
        return ()

    def _check_monitors(self, trainer: Trainer) -> None:
        """Refuse a callback that monitors a key after epochs that are not explained."""
        stage = self._full_stage("val")
        prefixes = tuple(f"{stage}/{group}/" for group in self._logged_groups())
        for callback in [*trainer.early_stopping_callbacks, *trainer.checkpoint_callbacks]:
            key = str(getattr(callback, "monitor", ""))
            if key.startswith(prefixes) and _period(callback, trainer) % self.every_n_epochs:
                raise InputError(
                    f"{type(self).__name__}: every_n_epochs {self.every_n_epochs}, but "
                    f"{type(callback).__name__} monitors {key!r}, which is not logged after the "
                    "epochs in between. Set every_n_epochs to 1, or monitor another key."
                )

    def _explain(self, stage: str, sample: Sample) -> Iterator[Chunk]:
        """Record the examples in chunks of similar length."""
        task = f"{type(self).__name__}, {stage} examples"
        with progress(task, len(sample.examples)) as advance:
            for portion in self._portions(sample):
                for chunk in self._recorder.chunks(portion):
                    yield chunk, self._recorder.record(chunk, self._needs)
                    advance(len(chunk))

    def _portions(self, sample: Sample) -> Iterator[Sequence[Reading]]:
        """Yield the examples in portions; each is processed before the next one is requested."""
        yield sample.examples


def _period(callback: Callback, trainer: Trainer) -> int:
    """Return every how many epochs a callback needs its monitored key; 0 if it can be missing."""
    validated = trainer.check_val_every_n_epoch or 1
    if isinstance(callback, ModelCheckpoint) and callback.save_top_k:
        return lcm(validated, callback._every_n_epochs or 1)
    return validated if isinstance(callback, EarlyStopping) and callback.strict else 0


def _omitting_setting(trainer: Trainer, stage: str) -> str:
    """Name the setting of the trainer that leaves rows out, or else the loader."""
    stage = stage.split("/")[0]
    overfit = getattr(trainer, "overfit_batches", 0)  # not in Lightning's types
    if stage == "val" and overfit:
        return f"overfit_batches={overfit}"
    limit = getattr(trainer, f"limit_{stage}_batches")
    if isinstance(limit, float) and limit == 1:
        return "the loader, such as by its sampler,"
    return f"limit_{stage}_batches={limit}"
