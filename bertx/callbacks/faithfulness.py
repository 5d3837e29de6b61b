"""FaithfulnessMonitor: how much the explanations of a model are worth, while it trains."""

from collections.abc import Iterator, Sequence
from math import inf, nan
from time import monotonic

from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.base import Chunk, Probe, log
from bertx.callbacks.run import gather, here, run_folder
from bertx.callbacks.sample import Sample
from bertx.errors import InputError
from bertx.evaluation import (
    Estimates,
    Evaluator,
    check_asked,
    default_metrics,
    drawn_by_number,
    portions,
    timed_scores,
)
from bertx.evaluation.estimates import searched_name
from bertx.evaluation.table import EMPTY
from bertx.leaderboard.example_values import examples_path, write_examples
from bertx.metrics import FaithfulnessMetric
from bertx.models.classifier import ModelChoice, class_names
from bertx.models.encode import Reading
from bertx.models.heads import Logits
from bertx.models.inputs import Unit, noun
from bertx.perturb import Operator, Perturber, Precision
from bertx.rendering import MethodResult, faithfulness_table, gain_name, write_curves
from bertx.report.loggers import log_curves, to_each


class FaithfulnessMonitor(Probe):
    """Perturbs the words that each method ranks, and logs what that does to the model.

    At the end of every validation and test epoch, for each metric and method:
    ``val/<metric>/<method>``, such as ``val/deletion_auc/attnlrp``, with its standard error
    ``..._se``; ``val/<metric>_gain/<method>``, how much better the method is than the random
    control on the same examples, if there is one (the gain of ``deletion_auc`` is
    ``deletion_gain``); ``val/<metric>/ceiling``, what a search for the best order reaches,
    with, if it was run on some of the examples, the methods on the same: ``val/<metric>_searched``;
    ``val/fully_perturbed/<class>``, the probability of a class when nothing of its texts is left;
    and ``val/cost/<method>`` in forward-equivalents (time of the method alone by the time of one
    plain batched forward). The curves go to every logger and to ``<run>/bertx/<stage>``, and
    there the values of every example to ``examples/``, which ``bertx leaderboard`` compares. In
    two-process training each rank explains its own examples, and the sums are exact.

    Args:
        methods: Attribution methods by the name under which they are logged; null for AttnLRP,
            the paper's four, as far as the model supports them, and a random control.
        metrics: Metrics by the name under which they are logged; null for deletion and insertion
            curves, comprehensiveness and sufficiency. The versions of a text that all of them ask
            about, for all methods, go through the model in one call per chunk of examples.
        target: The explained class: ``predicted`` on the clean input, ``gold``, or the name or
            number of one class.
        unit: What is ranked, deleted and inserted: ``word``, ``whitespace`` or ``token``.
        operator: What deleting does: ``remove``, ``mask``, ``pad``, ``attention`` or ``zero``.
        ceiling_examples: About how many of the examples, drawn by their number, are searched for
            the best order (greedily; exactly up to 8 units), which costs U² forwards for U units;
            0 for no ceiling, null for all. Texts of more than 40 units are never searched.
        budget: The largest share of training time to spend on this, such as ``5%`` or ``0.05``:
            at the end of an epoch, as many examples of the sample are explained as that allows, in
            a fixed random order and at least 20. ``val/faithfulness_examples`` says how many.
            Null: all of them.
        compiled: Run the model on perturbed texts with ``torch.compile``, in few shapes: it takes
            some minutes before the first result and is faster afterwards; see `Perturber`.
        precision: Precision of these forwards: ``bf16`` for bfloat16, on a device that supports it
            natively; null for the run's.

    Raises:
        InputError: Before training, if the module holds no classifier, a method does not support
            it, the tokenizer lacks the token that the operator writes, the operator cannot be
            compiled, or a callback monitors one of these numbers after epochs that have none.
    """

    def __init__(
        self,
        methods: dict[str, Attribution] | None = None,
        metrics: dict[str, FaithfulnessMetric] | None = None,
        every_n_epochs: int = 1,
        max_examples: int | None = 256,
        target: str | int = "predicted",
        unit: Unit = "word",
        operator: Operator = "mask",
        ceiling_examples: int | None = 16,
        budget: float | str | None = None,
        compiled: bool = False,
        precision: Precision | None = None,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        model: ModelChoice | None = None,
        logits: Logits | None = None,
    ) -> None:
        super().__init__(
            methods, every_n_epochs, max_examples, target, unit, tokenizer, name, model, logits
        )
        self.metrics = default_metrics() if metrics is None else metrics
        self.operator = operator
        self.ceiling_examples = ceiling_examples
        self.budget = budget
        self.compiled = compiled
        self.precision = precision
        self._share = None if budget is None else _share(budget)
        self._free_since: float | None = None
        self.results: list[MethodResult] = []
        check_asked(methods or (), self.metrics, ceiling_examples)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the budget."""
        self._free_since = monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop it: validation and test runs of their own have no budget."""
        self._free_since = None

    def _end(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super()._end(trainer, pl_module, stage)
        if self._free_since is not None:
            self._free_since = monotonic()

    def _portions(self, sample: Sample) -> Iterator[Sequence[Reading]]:
        """As many as the budget has time for."""
        if self._share is None or self._free_since is None:
            yield from super()._portions(sample)
            return
        start, done = monotonic(), 0
        seconds = self._share * (start - self._free_since)
        for portion in portions(sample.drawn()):
            spent = monotonic() - start
            if done and spent * (done + len(portion)) / done > seconds:
                break
            yield portion
            done += len(portion)

    def report(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, chunks: Iterator[Chunk]
    ) -> None:
        """Evaluate the explanations of all chunks and log the results."""
        classes = class_names(self._model)
        searched = drawn_by_number(self.ceiling_examples, self._count)
        evaluator = Evaluator(self._perturber, self._methods, self.metrics, classes, searched)
        spent = []
        for examples, trace in chunks:
            scores, seconds = timed_scores(trace, self._methods)
            evaluator.add(trace, scores, [example.index for example in examples])
            spent.append(seconds)
            del trace  # and the graph, before the next one is made
        evaluator.table = gather(evaluator.table)
        evaluator.seconds = gather(spent[1:] or spent)  # the first forwards after training are slow
        estimates = evaluator.compute()
        if not estimates.count:
            if not evaluator.left_out:
                log.warning(f"{stage}: no example of the sample was seen; nothing is explained")
            return
        scalars = estimates.scalars()
        if self._share is not None:
            scalars["faithfulness_examples"] = estimates.count
        self._log(pl_module, stage, scalars)
        self.results = estimates.results({n: m.signed for n, m in self._methods.items()})
        self._append(trainer, stage, "faithfulness.csv", [one.row() for one in self.results])
        self._write(trainer, stage, estimates, evaluator)

    def _prepare(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super()._prepare(trainer, pl_module)
        for metric in self.metrics.values():
            self._needs |= metric.needs
        self._perturber = Perturber(
            self._model,
            self.operator,
            mask_token_id=self._tokenizer.mask_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
            compiled=self.compiled,
            precision=self.precision,
        )

    def _groups(self) -> tuple[str, ...]:
        names = (name(metric) for metric in self.metrics for name in (gain_name, searched_name))
        return (*self.metrics, *names, "cost", EMPTY)

    def _write(
        self,
        trainer: Trainer,
        stage: str,
        estimates: Estimates,
        evaluator: Evaluator,
    ) -> None:
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return
        epoch, step = here(trainer)
        for part, drawn, note in estimates.figures(evaluator.control):
            figures = write_curves(folder / part, drawn, epoch, step, self.unit, note)
            key = "_".join(filter(None, (f"{stage}/curves", part)))
            to_each(trainer.loggers, log_curves, key, drawn, figures, epoch, step, self.unit)
        write_examples(examples_path(folder, epoch, step), evaluator.values)

    def announce(self) -> None:
        """Print the last table."""
        if self.results:
            from rich.console import Console

            directions = {name: m.higher_is_better for name, m in self.metrics.items()}
            title = f"Faithfulness of {noun(self.unit)}s under {self.operator!r}"
            title += "" if self.name is None else f", {self.name}"
            Console().print(faithfulness_table(self.results, directions, title))


def _share(budget: float | str) -> float:
    """A share of a time, as a number or in percent."""
    text = str(budget).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = nan
    if not 0 < share < inf:
        raise InputError(
            f"budget: expected a share of training time, such as 5% or 0.05, got {budget!r}"
        )
    return share
