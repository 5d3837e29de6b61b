"""Judging a trained classifier's explanations: many methods, metrics and operators at once."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import COMPARED_METHODS, GOLD, PREDICTED, Methods, named, several
from bertx.errors import InputError, check_positive
from bertx.evaluation.checks import check_asked
from bertx.evaluation.forwards import Recorder, Text, engines
from bertx.evaluation.judge import Judge, default_metrics, drawn_by_number, with_control
from bertx.evaluation.tally import Estimates
from bertx.explanation.reading import Reader
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
from bertx.perturb import Operator
from bertx.perturb.packing import Budget, budget_for
from bertx.progress import progress as task
from bertx.progress import wanted
from bertx.trace import plain_seconds
from bertx.trace.needs import Needs

log = logging.getLogger("bertx")


@dataclass(frozen=True)
class Verdicts:
    """What judging came to; in a notebook it shows its leaderboards.

    Attributes:
        estimates: Means, gains, ceilings and costs, by operator. Those of metrics that use none
            (`FaithfulnessMetric.uses_operator`) are the same under each.
        values: What each metric says of each explanation of each text, by each operator; once, with
            an empty operator, for metrics that use none. Leaderboards follow from these.
        signed: For each method whether its scores have a sign.
        control: Name of the random control, None if there was none.
        left_out: Numbers of the texts that could not be used, and why.
    """

    estimates: Mapping[Operator, Estimates]
    values: Sequence[ExampleValue]
    signed: Mapping[str, bool]
    control: str | None
    left_out: Mapping[int, str]

    def leaderboards(self, relevant: float = 0.01) -> list[Leaderboard]:
        """What follows for each pair of methods, by each metric and operator.

        Args:
            relevant: The smallest difference that matters; see `bertx.statistics.compare`.
        """
        return leaderboards({"judge": self.values}, relevant=relevant)

    def markdown(self, relevant: float = 0.01) -> str:
        """The leaderboards and, with several operators, their tables, as Markdown."""
        boards = self.leaderboards(relevant)
        return leaderboard_markdown(boards, operator_tables(boards))

    def __repr__(self) -> str:
        """What was judged: the values themselves are too many to be read."""
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
    operators: Sequence[Operator] = ("mask",),
    target: str | int = PREDICTED,
    unit: Unit = "word",
    ceiling_examples: int | None = 16,
    token_budget: int | None = None,
    logits: Logits | None = None,
    progress: bool | None = None,
) -> Verdicts:
    """Find out which explanations of a classifier can be trusted.

    Every method is judged on the same texts, class, units and bins, and by the same operator. A
    random control is added if there is none. Nothing is exchanged with other processes.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one; left as it was. With
            ``logits``, an encoder.
        tokenizer: Its fast tokenizer, or the name of a model that has the same.
        texts: One or several; as `Text` with a gold class or a rationale. Texts longer than the
            model takes are cut off between two words, with a warning.
        methods: One, several, or several by name; None for AttnLRP and the four of the paper, as
            far as the model supports them.
        metrics: The metrics by name; None for `default_metrics`.
        operators: What deleting a unit does; with several, methods that explain by deleting with
            one of them can be told from those that are good for all.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        unit: What is ranked, deleted and inserted: ``word``, ``whitespace`` or ``token``.
        ceiling_examples: About how many texts are searched for the best order; None for all, 0 for
            none. Texts of more than 40 units never are. The metrics of `NormalizedAOPC` search
            all texts for their limits, whatever this says.
        token_budget: Padded tokens that are explained at once. Default: 1024 on a CPU, else 8192.
        logits: For an encoder with a head of your own, as in `bertx.explain`.
        progress: Whether to show how far it is, on standard error: a bar on a terminal, elsewhere
            a line every 30 s. None: on a terminal and in a notebook.

    Raises:
        InputError: If a setting, the model or the tokenizer cannot be used, or no text can.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    model, tokenizer = checked_arguments(model, tokenizer)
    found = classifier_for(model, logits)
    check_positive(token_budget=token_budget)
    court = _Court(
        model=found,
        tokenizer=tokenizer,
        methods=with_control(named(methods, found, COMPARED_METHODS)),
        metrics=default_metrics() if metrics is None else metrics,
        operators=operators,
        target=target,
        unit=unit,
        ceiling_examples=ceiling_examples,
        budget=budget_for(found.device, token_budget, recorded=True),
    )
    listed = [texts] if isinstance(texts, Text) else several(texts)
    given = [text if isinstance(text, Text) else Text(text) for text in listed]
    with wanted(progress):
        return court.judge(given)


@dataclass
class _Court:
    """How explanations are judged, and what it takes; see `judge`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    methods: Mapping[str, Attribution]
    metrics: Mapping[str, FaithfulnessMetric]
    operators: Sequence[Operator]
    target: str | int
    unit: Unit
    ceiling_examples: int | None
    budget: Budget
    left_out: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_asked(self.methods, self.metrics, self.ceiling_examples)
        self.reader = Reader(self.tokenizer, self.model, self.unit, None)
        self.engines = engines(self.model, self.tokenizer, self.operators)
        self.recorder = Recorder(self.model, self.tokenizer, self.target, self.budget)
        self.needs = Needs.of(*self.methods.values(), *self.metrics.values())

    def judge(self, texts: Sequence[Text]) -> Verdicts:
        readings, numbered = self._read(texts), dict(enumerate(texts))
        judges = self._judges(len(readings))
        spent = []
        with task("Judging explanations of texts", len(readings)) as advance:
            for chunk in self.recorder.chunks(readings):
                spent.append(self._explain(chunk, numbered, judges))
                advance(len(chunk))
        for own in judges.values():
            for seconds in spent[1:] or spent:  # the first forwards are slow
                own.add_cost(seconds)
        found = [own.compute() for own in judges.values()]
        return Verdicts(
            {operator: own.filled(found[0]) for operator, own in zip(judges, found, strict=True)},
            [value for own in judges.values() for value in own.values],
            {name: method.signed for name, method in self.methods.items()},
            next(iter(judges.values())).control,
            self.left_out,
        )

    def _judges(self, texts: int) -> dict[Operator, Judge]:
        """One for each operator; what uses none is asked by the first alone."""
        using = {name: metric for name, metric in self.metrics.items() if metric.uses_operator}
        return {
            operator: Judge(
                self.methods,
                using if number else self.metrics,
                class_names(self.model),
                self.model.device,
                drawn_by_number(self.ceiling_examples, texts),
                local=True,
            )
            for number, operator in enumerate(self.engines)
        }

    def _read(self, texts: Sequence[Text]) -> list[Reading]:
        """What can be read of the texts."""
        readings = []
        for number, text in enumerate(texts):
            try:
                reading = self.reader.read(number, text.text)
            except InputError as error:
                self.left_out[number] = str(error)
                continue
            if not reading.spans:
                self.left_out[number] = "it has no words"
            elif self.target == GOLD and not 0 <= text.label < len(class_names(self.model)):
                self.left_out[number] = "target 'gold', but it has no label of the model's classes"
            else:
                readings.append(reading)
        cut = sum(bool(reading.left_out) for reading in readings)
        if cut:
            log.warning(f"{cut} texts are longer than the model takes and were cut off")
        if not readings:
            number, reason = next(iter(self.left_out.items()), (0, "there is none"))
            raise InputError(f"expected at least one text to judge on; text {number}: {reason}")
        return readings

    @isolated_rng()
    def _explain(
        self, chunk: list[Reading], texts: Mapping[int, Text], judges: Mapping[Operator, Judge]
    ) -> dict[str | None, float]:
        """Judge the explanations of some texts; what they cost."""
        recorded = self.recorder.record(chunk, texts, self.needs)
        scores = {}
        seconds: dict[str | None, float] = {None: plain_seconds(self.model, recorded.trace.inputs)}
        for name, method in self.methods.items():
            scores[name], seconds[name] = recorded.trace.timed(method)
        for operator, engine in self.engines.items():
            judges[operator].add(recorded.panel(engine), scores, recorded.numbers)
        return seconds
