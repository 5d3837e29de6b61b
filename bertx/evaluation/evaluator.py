"""Evaluating the explanations of many texts, panel by panel, by any set of metrics."""

import logging
import random
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from math import nan
from typing import get_args

import torch
from torch import Tensor

from bertx.attribution import Attribution, Random
from bertx.errors import InputError
from bertx.evaluation.checks import check_method_names
from bertx.evaluation.estimates import Estimates, estimates
from bertx.evaluation.table import EMPTY, Measured, Metrics
from bertx.leaderboard.example_values import ExampleValue
from bertx.metrics import (
    Case,
    Comprehensiveness,
    DeletionCurve,
    FaithfulnessMetric,
    FullyPerturbed,
    InsertionCurve,
    Limit,
    Panel,
    Sufficiency,
    measure_all,
)
from bertx.models.inputs import Inputs, spread_by_unit
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")

MOST_UNITS = 40
"""Units of the longest text that is searched for the best order: U units take U² forwards."""


class Evaluator:
    """Evaluates M methods by all metrics, each text by the same class, units, bins and operator.

    Args:
        methods: The methods by name. The first `Random` is the control, the floor of every figure.
        metrics: The metrics by name.
        classes: Names of the C classes.
        searched: Whether an example, by its number, is searched for the best order: the ceiling.

    Attributes:
        table: What was measured, one entry for each panel; other processes' may be added.
        seconds: For some batches the time of each method and, under None, of the plain forward.
        control: Name of the control, None if there is none.
        left_out: Number of texts that were left out with a warning.

    Raises:
        InputError: If a method has a name that is taken.
    """

    def __init__(
        self,
        methods: Mapping[str, Attribution],
        metrics: Metrics,
        classes: list[str],
        searched: Callable[[int], bool],
    ) -> None:
        check_method_names(methods)
        self.control = next((n for n, m in methods.items() if isinstance(m, Random)), None)
        self.table: list[Measured] = []
        self.seconds: list[dict[str | None, float]] = []
        self.left_out = 0
        self._methods, self._metrics, self._searched = methods, metrics, searched
        self._classes = classes
        self._asked = {**metrics, EMPTY: FullyPerturbed(classes)}
        self._limits = {n: m for n, m in metrics.items() if m.limit is not None}

    def add(
        self,
        panel: Panel,
        scores: Mapping[str, Tensor],
        examples: Sequence[int],
        asked: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Evaluate the explanations of the B texts of a panel; all questions are asked at once.

        Texts without units, and those with a score or a probability that is not finite, are left
        out, the latter with a warning.

        Args:
            panel: The texts.
            scores: Token scores (B, T) of each method that is asked about.
            examples: Their numbers.
            asked: The methods that each metric is asked about; None for all.
        """
        sound = usable(panel.trace, scores, examples)
        self.left_out += int((~sound & (panel.inputs.unit_counts > 0)).sum())
        if not sound.any():
            return
        asked = dict.fromkeys(self._metrics, tuple(self._methods)) if asked is None else asked
        values = {
            name: value.masked_fill(~sound[:, None], nan).to("cpu", torch.float64)
            for name, value in self._ask(panel, scores, sound, asked).items()
        }
        numbers = torch.tensor([self._searched(example) for example in examples])
        part = sound.cpu() & (panel.inputs.unit_counts <= MOST_UNITS).cpu() & numbers
        self.table.append(
            Measured(
                examples=list(examples),
                texts=_checksums(panel.inputs),
                targets=panel.target.tolist(),
                operator=panel.perturber.operator,
                empty=values.pop(EMPTY)[0],
                values=values,
                asked=asked,
                searched=part & bool(self._limits),
                ceilings=self._ceilings(panel, part),
            )
        )

    @property
    def values(self) -> list[ExampleValue]:
        """The metrics' numbers: one for each text, method and metric."""
        return [
            row
            for part in self.table
            for row in part.rows(self._metrics, self._methods, self.control)
        ]

    def compute(self) -> Estimates:
        """Means, gains, ceilings and costs of what is in the table."""
        return estimates(
            self.table,
            self.seconds,
            self._metrics,
            list(self._methods),
            self.control,
            self._classes,
        )

    def _ask(
        self,
        panel: Panel,
        scores: Mapping[str, Tensor],
        sound: Tensor,
        asked: Mapping[str, Collection[str]],
    ) -> dict[str, Tensor]:
        """The values (M, B, J) of all metrics; the first explanation's text is emptied as well."""
        blank = torch.zeros_like(panel.inputs.units, dtype=panel.trace.probabilities.dtype)
        cases = [
            Case(panel, scores.get(name, blank).masked_fill(~sound[:, None], 0), method)
            for name, method in self._methods.items()
        ]
        numbers = {
            metric: [n for n, name in enumerate(self._methods) if name in asked[metric]]
            for metric in self._metrics
        }
        return measure_all(cases, self._asked, {**numbers, EMPTY: [0]})

    def _ceilings(self, panel: Panel, part: Tensor) -> dict[str, Tensor]:
        """What the best orders reach (B, J), NaN for texts that are not a part."""
        blank = {
            name: torch.full((len(part), len(metric.columns)), nan, dtype=torch.float64)
            for name, metric in self._limits.items()
        }
        if not self._limits or not part.any():
            return blank
        needs = Needs.of(*self._limits.values())
        searched = panel if bool(part.all()) else panel.rows(part, needs)
        for name, values in reach(searched, self._limits).items():
            blank[name][part] = values.to("cpu", torch.float64)
        return blank


def usable(trace: Trace, scores: Mapping[str, Tensor], examples: Sequence[int]) -> Tensor:
    """Which texts have units, and probabilities and scores that are finite.

    It warns of those whose probabilities or scores are not.

    Args:
        trace: The forward of B texts.
        scores: Token scores (B, T) of each method.
        examples: The numbers of the texts.

    Returns:
        (B,).
    """
    sound = trace.inputs.unit_counts > 0
    tensors = {"probabilities": trace.probabilities}
    tensors |= {f"{name}: scores": tensor for name, tensor in scores.items()}
    for what, tensor in tensors.items():
        finite = tensor.isfinite().all(1)
        for row in (~finite & sound).nonzero()[:, 0].tolist():
            log.warning(
                f"{what} of example {examples[row]} are not finite; it is left out of all metrics"
            )
        sound = sound & finite
    return sound


def _checksums(inputs: Inputs) -> list[int]:
    """A number for each text that tells other tokens apart, however they are padded."""
    rows = zip(inputs.input_ids.cpu().long(), inputs.attention_mask.cpu().bool(), strict=True)
    return [zlib.crc32(ids[mask].numpy().tobytes()) for ids, mask in rows]


def reach(panel: Panel, metrics: Metrics) -> dict[str, Tensor]:
    """What the best orders that a search finds reach in metrics that have a limit, (B, J) each."""
    reached: dict[str, Tensor] = {}
    for limit in get_args(Limit):
        if limited := {name: m for name, m in metrics.items() if m.limit == limit}:
            best = Case(panel, spread_by_unit(panel.ceiling(limit), panel.inputs.units))
            reached |= {name: values[0] for name, values in measure_all([best], limited).items()}
    return reached


def drawn_by_number(count: int | None, of: int) -> Callable[[int], bool]:
    """Tells by its number whether an example is one of about ``count``; all if that is None.

    The same examples are drawn every time, on every rank and in any order.

    Args:
        count: How many.
        of: The number of all.
    """
    share = 1.0 if count is None else count / max(of, 1)
    return lambda number: random.Random(number).random() < share


def default_metrics() -> dict[str, FaithfulnessMetric]:
    """What is asked where nothing else is said: both curves, and ERASER's two."""
    return {
        "deletion_auc": DeletionCurve(),
        "insertion_auc": InsertionCurve(),
        "comprehensiveness": Comprehensiveness(),
        "sufficiency": Sufficiency(),
    }


def with_control(methods: Mapping[str, Attribution]) -> dict[str, Attribution]:
    """The methods and, if there is no `Random` among them, one under the name ``random``.

    Args:
        methods: The methods by name.

    Raises:
        InputError: If another method has that name.
    """
    if any(isinstance(method, Random) for method in methods.values()):
        return dict(methods)
    if "random" in methods:
        raise InputError(
            f"method 'random': the random control that is added needs that name, but "
            f"{methods['random']!r} has it. Give it another one, or add a Random() yourself."
        )
    return {**methods, "random": Random()}
