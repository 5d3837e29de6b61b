"""FaithfulnessMonitor: how faithful the explanations of a model are while it trains."""

from collections.abc import Iterator, Sequence
from math import nan
from time import monotonic

from lightning.pytorch import LightningModule, Trainer
from transformers import PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.callbacks.epoch_explainer import Chunk, EpochExplainer, log
from bertx.callbacks.sample import Sample
from bertx.callbacks.trainer import epoch_and_step, gather, run_folder
from bertx.errors import InputError
from bertx.evaluation import (
    Estimates,
    Evaluator,
    check_settings,
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


class FaithfulnessMonitor(EpochExplainer):
    """Perturbs words in the order of each method's scores, and logs the effect on the model.

    At the end of every validation and test epoch, it logs for each metric and method
    ``val/<metric>/<method>``, such as ``val/deletion_auc/attnlrp``, and its standard error
    ``..._se``. With a random control, ``val/<metric>_gain/<method>`` is how much better the method
    is on the same examples (the gain of ``deletion_auc`` is ``deletion_gain``).
    ``val/<metric>/ceiling`` is the value that a search for the best order reaches; if only some
    examples were searched, ``val/<metric>_searched`` has the values of the methods on these.
    ``val/fully_perturbed/<class>`` is the probability of a class after all words of its texts are
    perturbed, and ``val/cost/<method>`` the cost in forward-equivalents (time of the method alone
    divided by the time of one plain batched forward).

    The curves go to every logger and to ``<run>/bertx/<stage>``, where ``examples/`` holds the
    values of every example, which ``bertx leaderboard`` compares. In distributed training each
    rank explains its share of the examples, and the sums are exact.

    Args:
        methods: Attribution methods by the name under which they are logged; null for AttnLRP and
            the paper's four methods, if the model supports them, and a random control.
        metrics: Metrics by the name under which they are logged; null for deletion and insertion
            curves, comprehensiveness and sufficiency. The perturbed texts of all metrics and
            methods are evaluated together, in one call per chunk of examples.
        target: The explained class: ``predicted`` on the unperturbed text, ``gold``, or the name
            or number of one class.
        unit: What is ranked, deleted and inserted: ``word``, ``whitespace`` or ``token``.
        operator: How units are deleted: ``remove``, ``mask``, ``pad``, ``attention`` or ``zero``.
        ceiling_examples: About how many of the examples, drawn by their index, are searched for
            the best order (greedily; exactly up to 8 units), which takes U² forwards for U units;
            0 for no ceiling, null for all. Texts of more than 40 units are never searched.
        budget: The largest share of training time to spend on this, such as ``5%`` or ``0.05``;
            at most 1. At the end of an epoch, as many examples of the sample are explained as that
            allows, in a fixed random order and at least 20; their number is logged as
            ``val/faithfulness_examples``. Null: all examples.
        compiled: Run the model on perturbed texts with ``torch.compile``, in few shapes: the first
            result takes some minutes longer, later ones are faster; see `Perturber`.
        precision: Precision of the forwards on perturbed texts: ``bf16`` for bfloat16, on a device
            that supports it natively; null for the precision of the run.

    Raises:
        InputError: Before training, if the module holds no classifier, a method does not support
            it, the tokenizer lacks the token that the operator writes, the operator cannot be
            compiled, or a callback monitors a metric after epochs in which it is not logged.
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
        self._training_since: float | None = None
        self.results: list[MethodResult] = []
        check_settings(methods or (), self.metrics, ceiling_examples)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure the training time, from which the budget follows."""
        self._training_since = monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop: separate validation and test runs have no budget."""
        self._training_since = None

    def _end(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super()._end(trainer, pl_module, stage)
        if self._training_since is not None:
            self._training_since = monotonic()

    def _portions(self, sample: Sample) -> Iterator[Sequence[Reading]]:
        """Yield as many examples as the budget has time for."""
        if self._share is None or self._training_since is None:
            yield from super()._portions(sample)
            return
        start, done = monotonic(), 0
        seconds = self._share * (start - self._training_since)
        for portion in portions(sample.shuffled()):
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
        timings = []
        for examples, trace in chunks:
            scores, seconds = timed_scores(trace, self._methods)
            evaluator.add(trace, scores, [example.index for example in examples])
            timings.append(seconds)
            del trace  # frees the graph before the next one is built
        evaluator.table = gather(evaluator.table)
        # Without the first chunk: the first forwards after training are slow.
        evaluator.seconds = gather(timings[1:] or timings)
        estimates = evaluator.compute()
        if not estimates.count:
            if not evaluator.skipped:
                log.warning(
                    f"{stage}: no batch contained an example of the sample; nothing is explained"
                )
            return
        scalars = estimates.scalars()
        if self._share is not None:
            scalars["faithfulness_examples"] = estimates.count
        self._log(pl_module, stage, scalars)
        self.results = estimates.results({n: m.signed for n, m in self._methods.items()})
        rows = [result.row() for result in self.results]
        self._append(trainer, stage, "faithfulness.csv", rows)
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

    def _logged_groups(self) -> tuple[str, ...]:
        gains = map(gain_name, self.metrics)
        return (*self.metrics, *gains, *map(searched_name, self.metrics), "cost", EMPTY)

    def _write(
        self, trainer: Trainer, stage: str, estimates: Estimates, evaluator: Evaluator
    ) -> None:
        folder = run_folder(trainer) / "bertx" / stage
        if not trainer.is_global_zero:
            return
        epoch, step = epoch_and_step(trainer)
        for part, curves, note in estimates.figures(evaluator.control):
            figures = write_curves(folder / part, curves, epoch, step, self.unit, note)
            key = f"{stage}/curves_{part}" if part else f"{stage}/curves"
            to_each(trainer.loggers, log_curves, key, curves, figures, epoch, step, self.unit)
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
    """Parse a share, given as a number or in percent."""
    text = str(budget).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = nan
    if not 0 < share <= 1:
        raise InputError(
            "budget: expected a share of training time above 0 and at most 1 (100 %), got "
            f"{budget!r}. For 5 percent, write `budget: 5%` or 0.05"
        )
    return share
