"""What both callbacks share: which examples, when, and explaining them without leaving a trace."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.batches import collate, read_batch
from bertx.callbacks.methods import check_methods, classifier_of, tokenizer_of
from bertx.callbacks.sample import Example, Sample
from bertx.callbacks.targets import check_target, targets
from bertx.errors import InputError
from bertx.inputs import Inputs, Unit
from bertx.packing import budget_for
from bertx.rerun import plain_seconds
from bertx.scope import isolated_rng
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")


@dataclass(frozen=True)
class Explained:
    """A chunk of B examples with their scores.

    Attributes:
        examples: The examples.
        batch: Their tokens and offsets (B, T, ...), on the CPU.
        trace: Their forward, on the model's device; it holds the graph, so let it go with the
            chunk.
        scores: For each method (B, T).
        seconds: For each method, what it would have taken alone, and for ``None`` the plain
            forward of the same batch.
    """

    examples: list[Example]
    batch: dict[str, Tensor]
    trace: Trace
    scores: dict[str, Tensor]
    seconds: dict[str | None, float]

    @property
    def inputs(self) -> Inputs:
        """Their tokens, on the model's device."""
        return self.trace.inputs

    @property
    def probabilities(self) -> Tensor:
        """(B, C)."""
        return self.trace.probabilities

    @property
    def target(self) -> Tensor:
        """The explained classes (B,)."""
        return self.trace.target


class Probe(Callback, ABC):
    """Explains a fixed sample of the validation or test examples at the end of an epoch.

    The model may belong to any LightningModule that holds a Hugging Face sequence classifier. It
    is called directly, without dropout, in the run's precision; afterwards the module, its modes
    and hooks, and all random streams are as before. With several loaders the first is explained.

    Subclasses fill `report`; foreign batches can be translated by overriding `read`.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None,
        every_n_epochs: int,
        max_examples: int | None,
        target: str | int,
        unit: Unit,
        tokenizer: str | PreTrainedTokenizerBase | None,
    ) -> None:
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
        self._sample: Sample | None = None

    @abstractmethod
    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Explained]
    ) -> None:
        """Use what is explained, on every rank.

        Args:
            trainer: The trainer.
            pl_module: The module.
            stage: ``val`` or ``test``.
            chunks: This rank's examples, explained as they are asked for; may be none.
        """

    def read(self, batch: Any) -> Any:
        """Translate a foreign batch into a mapping with ``input_ids`` and what else it knows."""
        return batch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot work before the first step."""
        self._prepare(trainer, pl_module)

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
        self._gather(batch, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Gather the chosen rows."""
        self._gather(batch, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and report."""
        self._end(trainer, pl_module, "test")

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model = self._model = classifier_of(self, pl_module)
        self._tokenizer = tokenizer_of(trainer, pl_module, model, self.tokenizer)
        if self._tokenizer.pad_token_id is None:
            raise InputError(
                f"{type(self._tokenizer).__name__} has no padding token, but examples are padded "
                "to batches. Set tokenizer.pad_token."
            )
        self._methods = check_methods(self.methods, model)
        check_target(self.target, model)
        self._needs = Needs.of(*self._methods.values())

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
            self._sample = Sample(self.max_examples, size, ranks, rank)

    def _gather(self, batch: Any, dataloader_idx: int) -> None:
        if self._sample is not None and dataloader_idx == 0:
            self._sample.add(read_batch(self.read(batch), self._tokenizer))

    def _end(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._sample is None:
            return
        with ExitStack() as stack:
            stack.enter_context(isolated_rng())
            stack.enter_context(trainer.precision_plugin.forward_context())
            self.report(trainer, pl_module, stage, self._explain_all(self._sample))
        self._sample = None

    def _explain_all(self, sample: Sample) -> Iterator[Explained]:
        for chunk in sample.chunks(budget_for(self._model.device, recorded=True)):
            yield self._explain(chunk)

    def _explain(self, examples: list[Example]) -> Explained:
        batch = collate([example.tokens for example in examples], self._tokenizer.pad_token_id)
        device = self._model.device
        inputs = Inputs.from_batch(
            {name: value.to(device) for name, value in batch.items()}, self.unit, self._tokenizer
        )
        seconds: dict[str | None, float] = {None: plain_seconds(self._model, inputs)}
        target = targets(self.target, examples, self._model)
        trace = Trace(self._model, inputs, target, self._needs)
        scores = {}
        for name, method in self._methods.items():
            scores[name], seconds[name] = trace.timed(method)
        return Explained(examples, batch, trace, scores, seconds)
