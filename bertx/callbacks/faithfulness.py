"""FaithfulnessMonitor: how much the explanations of a model are worth, while it trains."""

from collections.abc import Iterator
from dataclasses import asdict

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution, Random
from bertx.callbacks.clock import here
from bertx.callbacks.folder import run_folder
from bertx.callbacks.probe import Explained, Probe, log
from bertx.callbacks.tally import Estimates, Tally
from bertx.faithfulness import curves, fractions
from bertx.inputs import Unit
from bertx.perturb import Operator, Perturber
from bertx.report import MethodResult, append_scores, faithfulness_table, write_curves
from bertx.report.loggers import log_curves


class FaithfulnessMonitor(Probe):
    """Deletes and inserts the words that each method ranks, and logs what that does to the model.

    At the end of every validation and test epoch, for each method: ``val/deletion_auc/<method>``
    (lower is better), ``val/insertion_auc/<method>`` (higher is better), ``val/deletion_gain/
    <method>`` (how much lower than the random control's, if there is one), each with its standard
    error ``..._se``, and ``val/cost/<method>`` in forward-equivalents (time of the method alone by
    the time of one plain batched forward). The curves go to every logger and to
    ``<run>/bertx/<stage>``. In two-process training each rank explains its own examples, and the
    sums are exact.

    Args:
        methods: Attribution methods by the name under which they are logged; null for the paper's
            four, as far as the model supports them, and a random control.
        every_n_epochs: Explain after every n-th training epoch. Validation and test runs of their
            own are always explained.
        max_examples: Size of the sample, the same examples in every epoch; null for all.
        target: The explained class: ``predicted`` on the clean input, ``gold``, or the name or
            number of one class.
        unit: What is ranked, deleted and inserted: ``word`` or ``token``.
        operator: What deleting does: ``remove``, ``mask``, ``pad``, ``attention`` or ``zero``.
        points: Points of a curve, 0 % and 100 % included.
        tokenizer: A tokenizer or the name of its model, where neither the module nor the data
            module has one.

    Raises:
        InputError: Before training, if the module holds no classifier, a method does not support
            it, or the tokenizer lacks the token that the operator writes.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        every_n_epochs: int = 1,
        max_examples: int | None = 256,
        target: str | int = "predicted",
        unit: Unit = "word",
        operator: Operator = "mask",
        points: int = 11,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__(methods, every_n_epochs, max_examples, target, unit, tokenizer)
        self.operator = operator
        self.points = points
        self.results: list[MethodResult] = []
        fractions(points)  # refuse a bad number here

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Explained]
    ) -> None:
        """Run the curves of all chunks and log them."""
        tally = Tally(list(self._methods), self._control(), self.points, pl_module.device)
        spent = [self._add(tally, chunk) for chunk in chunks]
        for seconds in spent[1:] or spent:  # the first forwards after training are slow
            tally.add_cost(seconds)
        estimates = tally.compute()
        if not estimates.count:
            log.warning(f"{stage}: no example of the sample came by; nothing is explained")
            return
        for key, value in estimates.scalars().items():
            pl_module.log(f"{stage}/{key}", value, sync_dist=True, batch_size=1)
        self.results = estimates.results({n: m.signed for n, m in self._methods.items()})
        self._write(trainer, stage, estimates)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last table."""
        self._print()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table of a validation run of its own."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._print()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table."""
        self._print()

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super()._prepare(trainer, pl_module)
        self._perturber = Perturber(
            self._model,
            self.operator,
            mask_token_id=self._tokenizer.mask_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _control(self) -> str | None:
        return next((n for n, m in self._methods.items() if isinstance(m, Random)), None)

    def _add(self, tally: Tally, chunk: Explained) -> dict[str | None, float]:
        sound = self._sound(chunk)
        if sound.any():
            scores = torch.stack([chunk.scores[name][sound] for name in self._methods])
            inputs = chunk.inputs.rows(sound)
            grid = fractions(self.points)
            tally.add(*curves(self._perturber, inputs, scores, chunk.target[sound], grid))
        return chunk.seconds

    def _sound(self, chunk: Explained) -> Tensor:
        """Which examples have units to rank, and finite numbers throughout (B,)."""
        sound = (chunk.inputs.unit_counts > 0) & chunk.probabilities.isfinite().all(1)
        for name, scores in chunk.scores.items():
            finite = scores.isfinite().all(1)
            for row in (~finite & sound).nonzero()[:, 0].tolist():
                log.warning(
                    f"{name}: scores of example {chunk.examples[row].index} are not finite; "
                    "it is left out of the curves"
                )
            sound = sound & finite
        return sound

    def _write(self, trainer: Trainer, stage: str, estimates: Estimates) -> None:
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return
        epoch, step = here(trainer)
        drawn = estimates.drawn(self._control())
        write_curves(folder, drawn, epoch, step, self.unit)
        rows = [{"epoch": epoch, "step": step, **asdict(result)} for result in self.results]
        append_scores(folder / "faithfulness.csv", rows)
        for logger in trainer.loggers:
            log_curves(logger, f"{stage}/curves", drawn, epoch, step, self.unit)

    @rank_zero_only
    def _print(self) -> None:
        if self.results:
            from rich.console import Console

            Console().print(faithfulness_table(self.results))
