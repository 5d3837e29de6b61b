"""`bertx.judge`: compare methods on a trained classifier by many metrics and operators at once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import COMPARED_METHODS, GOLD, PREDICTED, Methods, named, several
from bertx.errors import InputError, check_positive
from bertx.evaluation.checks import check_settings
from bertx.evaluation.estimates import Estimates
from bertx.evaluation.evaluator import Evaluator, default_metrics, drawn_by_number, with_control
from bertx.evaluation.forwards import Recorder, Text, engines, marks, timed_scores
from bertx.evaluation.rounds import Rounds, Selection
from bertx.explanation.reader import Reader
from bertx.leaderboard.board import leaderboards, operator_tables
from bertx.leaderboard.example_values import ExampleValue
from bertx.leaderboard.markdown import leaderboard_markdown
from bertx.leaderboard.results import Leaderboard
from bertx.metrics import FaithfulnessMetric
from bertx.models.arguments import checked_arguments
from bertx.models.classifier import class_names
from bertx.models.encode import Reading
from bertx.models.heads import Logits, classifier_for
from bertx.models.inputs import Unit
from bertx.models.scope import isolated_rng
from bertx.perturb import Operator, Precision
from bertx.perturb.packing import Budget, budget_for
from bertx.progress import progress as task
from bertx.progress import wanted
from bertx.trace.needs import Needs

log = logging.getLogger("bertx")


@dataclass(frozen=True)
class Verdicts:
    """The result of `judge`; a notebook shows it as leaderboards.

    Attributes:
        estimates: Means, gains, ceilings and costs, by operator. The estimates of metrics without
            an operator (`FaithfulnessMetric.uses_operator`) are the same under each.
        values: The value of each metric for each explanation of each text, by each operator; once,
            with an empty operator, for metrics without one. Leaderboards are computed from these.
        signed: For each method whether its scores have a sign.
        control: Name of the random control; None without one.
        skipped: For each text that could not be used, by its number, the reason.
        confidence: The confidence at which pairs of methods were decided, text by text; the values
            are then in the order of the texts. None if every text was used for every pair.
    """

    estimates: Mapping[Operator, Estimates]
    values: Sequence[ExampleValue]
    signed: Mapping[str, bool]
    control: str | None
    skipped: Mapping[int, str]
    confidence: float | None = None

    def leaderboards(self, relevant: float = 0.01) -> list[Leaderboard]:
        """Compute a leaderboard for each metric and operator.

        Args:
            relevant: The smallest difference that matters; see `bertx.statistics.compare`.
        """
        return leaderboards({"judge": self.values}, (), relevant, confidence=self.confidence)

    def markdown(self, relevant: float = 0.01) -> str:
        """Return the leaderboards and, with several operators, their tables, as Markdown."""
        boards = self.leaderboards(relevant)
        return leaderboard_markdown(boards, operator_tables(boards))

    def __repr__(self) -> str:
        """Summarize what was compared, without the values."""
        texts = len({value.example for value in self.values})
        metrics = sorted({value.metric for value in self.values})
        return (
            f"<Verdicts on {', '.join(self.signed)} by {', '.join(metrics)}, under "
            f"{', '.join(self.estimates)}, of {texts} texts: see .markdown()>"
        )

    def _repr_markdown_(self) -> str:
        return self.markdown()


def judge(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | str,
    texts: str | Text | Iterable[str | Text],
    methods: Methods | None = None,
    metrics: Mapping[str, FaithfulnessMetric] | None = None,
    operators: Operator | Sequence[Operator] = "mask",
    target: str | int = PREDICTED,
    unit: Unit = "word",
    ceiling_examples: int | None = 16,
    token_budget: int | None = None,
    logits: Logits | None = None,
    progress: bool | None = None,
    confidence: float | None = None,
    relevant: float = 0.01,
    precision: Precision | None = None,
) -> Verdicts:
    """Find out which explanations of a classifier can be trusted.

    Every method is evaluated on the same texts, class, units and bins, and by the same operator. A
    random control is added if there is none. Nothing is exchanged with other processes.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one; left as it was. With
            ``logits``, an encoder.
        tokenizer: Its fast tokenizer, or the name of a model with the same tokenizer.
        texts: One text or several; as `Text` with a gold class or a rationale. Texts longer than
            the model's longest input are cut between two words, on the tokenizer's
            ``truncation_side``, with a warning.
        methods: One method, several, or several by name; None for AttnLRP and the four methods of
            the paper, as far as the model supports them.
        metrics: The metrics by name; None for `default_metrics`.
        operators: What deleting a unit does: one operator or several. Several show whether a method
            that explains by deleting is good under any operator or only under its own.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        unit: What is ranked, deleted and inserted: ``word``, ``whitespace`` or ``token``.
        ceiling_examples: About how many texts to search for the best order; None for all, 0 for
            none. Texts of more than 40 units are never searched. The metrics of `NormalizedAOPC`
            search all texts for their limits in any case.
        token_budget: Padded tokens in one batch. Default: 1024 on a CPU, else 8192.
        logits: For an encoder with a custom head, as in `bertx.explain`.
        progress: Whether to show progress on standard error: a bar on a terminal, elsewhere a line
            every 30 s. None: on a terminal and in a notebook.
        confidence: Evaluate the texts in random order, and each pair of methods until it is
            decided with this confidence or is unlikely to be by the last text; see
            `bertx.statistics.compare_in_order`. The first ``ceiling_examples`` texts are searched
            for the ceiling. None: evaluate all methods on all texts.
        relevant: The smallest difference that matters where ``confidence`` is given.
        precision: ``bf16`` for perturbed forwards in bfloat16, see `bertx.perturb.Perturber`; the
            forwards and backwards of the methods keep the precision of the model.

    Raises:
        InputError: If a setting, the model, the tokenizer or every text is unusable.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    model, tokenizer = checked_arguments(model, tokenizer)
    classifier = classifier_for(model, logits)
    check_positive(token_budget=token_budget)
    evaluation = _Evaluation(
        model=classifier,
        tokenizer=tokenizer,
        methods=with_control(named(methods, classifier, COMPARED_METHODS)),
        metrics=default_metrics() if metrics is None else metrics,
        operators=(operators,) if isinstance(operators, str) else operators,
        target=target,
        unit=unit,
        ceiling_examples=ceiling_examples,
        budget=budget_for(classifier.device, token_budget, recorded=True),
        precision=precision,
        rounds=None if confidence is None else _rounds(confidence, relevant, ceiling_examples),
    )
    listed = [texts] if isinstance(texts, Text) else several(texts)
    given = [text if isinstance(text, Text) else Text(text) for text in listed]
    with wanted(progress):
        return evaluation.run(given)


def _rounds(confidence: float, relevant: float, ceiling_examples: int | None) -> Rounds:
    if ceiling_examples is None:
        raise InputError(
            "ceiling_examples: expected a number, got None for all texts: with a confidence, pairs "
            "are evaluated until they are decided, which may not need all texts."
        )
    return Rounds(confidence, relevant, ceiling_examples)


@dataclass
class _Evaluation:
    """The settings of `judge`, checked, and the evaluation itself."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    methods: Mapping[str, Attribution]
    metrics: Mapping[str, FaithfulnessMetric]
    operators: Sequence[Operator]
    target: str | int
    unit: Unit
    ceiling_examples: int | None
    budget: Budget
    precision: Precision | None = None
    rounds: Rounds | None = None
    skipped: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_settings(self.methods, self.metrics, self.ceiling_examples)
        self.reader = Reader(self.tokenizer, self.model, self.unit, None)
        self.engines = engines(self.model, self.tokenizer, self.operators, self.precision)
        self.recorder = Recorder(self.model, self.tokenizer, self.target, self.budget)

    def run(self, texts: Sequence[Text]) -> Verdicts:
        readings = self._read(texts)
        if self.rounds is not None:
            readings = self.rounds.shuffled(readings)
        self.places = {reading.index: place for place, reading in enumerate(readings)}
        self.evaluators = self._evaluators()
        seconds = self._evaluate(readings)
        for evaluator in self.evaluators.values():
            evaluator.seconds += seconds[1:] or seconds  # the first forwards are slow
        estimates = {operator: each.compute() for operator, each in self.evaluators.items()}
        first = next(iter(estimates.values()))
        return Verdicts(
            {operator: each.completed(first) for operator, each in estimates.items()},
            self._values(),
            {name: method.signed for name, method in self.methods.items()},
            next(iter(self.evaluators.values())).control,
            self.skipped,
            None if self.rounds is None else self.rounds.confidence,
        )

    def _evaluate(self, readings: Sequence[Reading]) -> list[dict[str | None, float]]:
        """Evaluate the explanations of the texts until the last text or the last verdict.

        Returns:
            The seconds of each chunk on which all methods were evaluated.
        """
        portions = iter([readings]) if self.rounds is None else self.rounds.portions(readings)
        selected: Selection = {
            (name, operator if metric.uses_operator else ""): self.methods
            for name, metric in self.metrics.items()
            for operator in self.engines
        }
        spent, count = [], 0
        with task("Judging explanations of texts", len(readings)) as advance:
            for portion in portions:
                for chunk in self.recorder.chunks(portion):
                    if seconds := self._explain(chunk, selected):
                        spent.append(seconds)
                    advance(len(chunk))
                count += len(portion)
                if self.rounds is not None:
                    selected = self.rounds.undecided(self._values(), count, len(readings))
                    if not any(selected.values()):
                        break
        return spent

    def _values(self) -> list[ExampleValue]:
        """All values, in the order of the texts if that is random."""
        values = [value for evaluator in self.evaluators.values() for value in evaluator.values]
        if self.rounds is not None:
            values.sort(key=lambda value: self.places[value.example])
        return values

    def _evaluators(self) -> dict[Operator, Evaluator]:
        """An evaluator for each operator; the first alone has the metrics without an operator."""
        using = {name: metric for name, metric in self.metrics.items() if metric.uses_operator}
        first = self.ceiling_examples or 0
        searched = (
            drawn_by_number(self.ceiling_examples, len(self.places))
            if self.rounds is None
            else lambda number: self.places[number] < first
        )
        return {
            operator: Evaluator(
                engine,
                self.methods,
                using if number else self.metrics,
                class_names(self.model),
                searched,
            )
            for number, (operator, engine) in enumerate(self.engines.items())
        }

    def _read(self, texts: Sequence[Text]) -> list[Reading]:
        """Tokenize the texts; those that cannot be used are `skipped`."""
        readings = []
        marked = any(text.rationale is not None for text in texts)
        for number, text in enumerate(texts):
            try:
                reading = self.reader.read(number, text.text, text.label)
            except InputError as error:
                self.skipped[number] = str(error)
                continue
            if not reading.spans:
                self.skipped[number] = "it has no words"
            elif self.target == GOLD and not 0 <= text.label < len(class_names(self.model)):
                self.skipped[number] = "target 'gold', but it has no label of the model's classes"
            else:
                rationale = marks(reading, text.rationale or ()) if marked else None
                readings.append(replace(reading, rationale=rationale))
        cut = sum(bool(reading.left_out) for reading in readings)
        if cut:
            log.warning(
                f"{cut} of {len(readings)} texts are longer than {self.reader.longest} tokens "
                "and are cut"
            )
        why = next((f"; text {n}: {reason}" for n, reason in self.skipped.items()), "")
        if not readings:
            raise InputError(f"texts: expected at least one usable text{why or ', got none'}")
        if why:
            log.warning(f"{len(self.skipped)} of {len(texts)} texts are skipped{why}")
        return readings

    @isolated_rng()
    def _explain(self, chunk: list[Reading], selected: Selection) -> dict[str | None, float]:
        """Evaluate the selected methods on some texts; return their seconds if these are all."""
        names = set().union(*selected.values())
        methods = {name: method for name, method in self.methods.items() if name in names}
        trace = self.recorder.record(chunk, Needs.of(*methods.values(), *self.metrics.values()))
        seconds: dict[str | None, float] = {}
        if len(methods) == len(self.methods):
            scores, seconds = timed_scores(trace, methods)
        else:
            scores = {name: method(trace) for name, method in methods.items()}
        for operator, evaluator in self.evaluators.items():
            evaluated = {
                name: selected.get((name, operator if metric.uses_operator else ""), scores)
                for name, metric in self.metrics.items()
            }
            evaluator.add(trace, scores, [reading.index for reading in chunk], evaluated)
        return seconds
