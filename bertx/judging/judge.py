"""Judging the explanations of many texts, panel by panel, by any set of metrics."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import nan
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from bertx.attribution import Attribution, Random
from bertx.errors import InputError
from bertx.faithfulness import (
    Case,
    Comprehensiveness,
    DeletionCurve,
    FaithfulnessMetric,
    FullyPerturbed,
    InsertionCurve,
    Limit,
    Panel,
    Sufficiency,
    judge,
)
from bertx.inputs import spread_by_unit
from bertx.judging.tally import CEILING, EMPTY, Estimates, Metrics, Tally
from bertx.report.examples import ExampleValue, Role
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")

MOST_UNITS = 40
"""Units of the longest text that is searched for the best order: U units take U² forwards."""


class Judged(NamedTuple):
    """Who made a ranking; see `ExampleValue`."""

    method: str
    signed: bool
    role: Role
    made_with: str


class Judge:
    """Judges M methods by all metrics, each text by the same class, units, bins and operator.

    Args:
        methods: The methods by name. The first `Random` is the control, the floor of every figure.
        metrics: The metrics by name; they are copied.
        classes: Names of the C classes.
        device: Where the sums live, which is where they are exchanged between ranks.
        searched: Whether an example, by its number, is searched for the best order: the ceiling.

    Attributes:
        values: What each metric says of each explanation of each text.
        control: Name of the control, None if there is none.
    """

    def __init__(
        self,
        methods: Mapping[str, Attribution],
        metrics: Metrics,
        classes: list[str],
        device: torch.device,
        searched: Callable[[int], bool],
    ) -> None:
        self.control = next((n for n, m in methods.items() if isinstance(m, Random)), None)
        self.values: list[ExampleValue] = []
        self._methods, self._metrics, self._searched = methods, metrics, searched
        self._asked = {**metrics, EMPTY: FullyPerturbed(classes)}
        self._limits = {n: m for n, m in metrics.items() if m.limit is not None}
        self._tally = Tally(list(methods), self.control, metrics, classes, device)

    def add(self, panel: Panel, scores: Mapping[str, Tensor], examples: Sequence[int]) -> None:
        """Judge the explanations of the B texts of a panel; all questions are asked at once.

        Texts without units, and those with a score or a probability that is not finite, are left
        out, the latter with a warning.

        Args:
            panel: The texts.
            scores: Token scores (B, T) of each method.
            examples: Their numbers.
        """
        sound = self._sound(panel, scores, examples)
        if not sound.any():
            return
        cases = [
            Case(panel, own.masked_fill(~sound[:, None], 0), self._methods[name])
            for name, own in scores.items()
        ]
        values = {
            name: own.masked_fill(~sound[:, None], nan)
            for name, own in judge(cases, self._asked).items()
        }
        self._tally.add(values, values.pop(EMPTY)[0])
        self._keep(panel, values, examples)
        self._search(panel, examples, sound)

    def add_cost(self, seconds: Mapping[str | None, float]) -> None:
        """Add the time of each method and, under None, of the plain forward."""
        self._tally.add_cost(seconds)

    def compute(self) -> Estimates:
        """Means, gains, ceilings and costs over all ranks; a collective call."""
        return self._tally.compute()

    def _sound(self, panel: Panel, scores: Mapping[str, Tensor], examples: Sequence[int]) -> Tensor:
        sound = (panel.inputs.unit_counts > 0) & panel.trace.probabilities.isfinite().all(1)
        for name, own in scores.items():
            finite = own.isfinite().all(1)
            for row in (~finite & sound).nonzero()[:, 0].tolist():
                log.warning(
                    f"{name}: scores of example {examples[row]} are not finite; it is left out of "
                    "all metrics"
                )
            sound = sound & finite
        return sound

    def _keep(self, panel: Panel, values: Mapping[str, Tensor], examples: Sequence[int]) -> None:
        targets = panel.target.tolist()
        for metric, own in values.items():
            for (name, method), part in zip(self._methods.items(), own, strict=True):
                role: Role = "floor" if name == self.control else "method"
                who = Judged(name, method.signed, role, _made_with(method))
                rows = zip(examples, targets, part[:, -1].tolist(), strict=True)
                self.values += self._rows(metric, who, panel, rows)

    def _search(self, panel: Panel, examples: Sequence[int], sound: Tensor) -> None:
        """Add what the best orders reach."""
        wanted = torch.tensor([self._searched(example) for example in examples])
        part = sound & (panel.inputs.unit_counts <= MOST_UNITS) & wanted.to(sound.device)
        if not self._limits or not part.any():
            return
        inputs, target = panel.inputs.rows(part), panel.target[part]
        own = Panel(panel.perturber, Trace(panel.trace.model, inputs, target, Needs.NOTHING))
        numbers = [example for example, chosen in zip(examples, part, strict=True) if chosen]
        who = Judged(CEILING, True, "ceiling", "")
        for metric, values in reach(own, self._limits).items():
            self._tally.add_ceiling(metric, values)
            rows = zip(numbers, target.tolist(), values[:, -1].tolist(), strict=True)
            self.values += self._rows(metric, who, panel, rows)

    def _rows(
        self, metric: str, who: Judged, panel: Panel, found: Iterable[tuple[int, int, float]]
    ) -> Iterator[ExampleValue]:
        for example, target, value in found:
            yield ExampleValue(
                example=example,
                target=target,
                method=who.method,
                signed=who.signed,
                role=who.role,
                made_with=who.made_with,
                operator=panel.perturber.operator,
                metric=metric,
                higher_is_better=self._metrics[metric].higher_is_better,
                value=value,
            )


def _made_with(method: Attribution) -> str:
    """What a method itself puts in place of words: an operator, or the baseline of a path."""
    return str(getattr(method, "operator", "") or getattr(method, "baseline", ""))


def reach(panel: Panel, metrics: Metrics) -> dict[str, Tensor]:
    """What the best orders that a search finds reach in metrics that have a limit, (B, J) each."""
    reached: dict[str, Tensor] = {}
    for limit in get_args(Limit):
        if own := {name: m for name, m in metrics.items() if m.limit == limit}:
            case = Case(panel, spread_by_unit(panel.ceiling(limit), panel.inputs.units))
            reached |= {name: values[0] for name, values in judge([case], own).items()}
    return reached


def default_metrics() -> dict[str, FaithfulnessMetric]:
    """What is asked where nothing else is said: both curves, and ERASER's two."""
    return {
        "deletion_auc": DeletionCurve(),
        "insertion_auc": InsertionCurve(),
        "comprehensiveness": Comprehensiveness(),
        "sufficiency": Sufficiency(),
    }


def check_metrics(metrics: Mapping[str, FaithfulnessMetric]) -> None:
    """Raise `InputError` for what is no metric."""
    for name, metric in metrics.items():
        if not isinstance(metric, FaithfulnessMetric):
            raise InputError(
                f"metric {name!r}: expected an instance of bertx.faithfulness.FaithfulnessMetric, "
                f"got {metric!r}"
            )
