"""Evaluating the explanations of many texts, batch by batch, by any set of metrics."""

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
    Comprehensiveness,
    DeletionCurve,
    FaithfulnessMetric,
    FullyPerturbed,
    InsertionCurve,
    Limit,
    Sufficiency,
    measure_all,
)
from bertx.models.inputs import Inputs, spread_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Search
from bertx.trace import Trace

log = logging.getLogger("bertx")

LIMITS = get_args(Limit)

MOST_UNITS = 40
"""Units of the longest text that is searched for the best order: U units take U² forwards."""


class Evaluator:
    """Evaluates M methods by all metrics, each text by the same class, units, bins and operator.

    Args:
        perturber: The engine, with its operator.
        methods: The methods by name. The first `Random` is the control, the floor of every figure.
        metrics: The metrics by name.
        classes: Names of the C classes.
        searched: Whether an example, by its number, is searched for the best order: the ceiling.

    Attributes:
        table: What was measured, one entry for each batch; other processes' may be added.
        seconds: For some batches the time of each method and, under None, of the plain forward.
        control: Name of the control, None if there is none.
        left_out: Number of texts that were left out with a warning.

    Raises:
        InputError: If a method has a name that is taken.
    """

    def __init__(
        self,
        perturber: Perturber,
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
        self._perturber, self._methods, self._metrics = perturber, methods, metrics
        self._searched, self._classes = searched, classes
        self._limits = {n: m.limit for n, m in metrics.items() if m.limit is not None}

    def add(
        self,
        trace: Trace,
        scores: Mapping[str, Tensor],
        examples: Sequence[int],
        asked: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Evaluate the explanations of the B texts of a trace; all questions are asked at once.

        Texts without units, and those with a score or a probability that is not finite, are left
        out, the latter with a warning.

        Args:
            trace: The recorded forward of the texts.
            scores: Token scores (B, T) of each method that is asked about.
            examples: Their numbers.
            asked: The methods that each metric is asked about; None for all.
        """
        valid = usable(trace, scores, examples)
        counts = trace.inputs.unit_counts
        self.left_out += int((~valid & (counts > 0)).sum())
        if not valid.any():
            return
        chosen = torch.tensor([self._searched(example) for example in examples])
        searched = valid & (counts <= MOST_UNITS) & chosen.to(valid.device) & bool(self._limits)
        asked = dict.fromkeys(self._metrics, tuple(self._methods)) if asked is None else asked
        finite = {name: one.masked_fill(~valid[:, None], 0) for name, one in scores.items()}
        values = {
            name: value.masked_fill(~valid[:, None], nan).to("cpu", torch.float64)
            for name, value in self._measure(trace, finite, searched, asked).items()
        }
        count, others = len(self._methods), ~searched.cpu()[:, None]
        self.table.append(
            Measured(
                examples=list(examples),
                texts=_checksums(trace.inputs),
                targets=trace.target.tolist(),
                operator=self._perturber.operator,
                empty=values.pop(EMPTY)[0],
                values={name: value[:count] for name, value in values.items()},
                asked=asked,
                searched=searched.cpu(),
                ceilings={
                    name: values[name][count + LIMITS.index(limit)].masked_fill(others, nan)
                    for name, limit in self._limits.items()
                },
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

    def _measure(
        self,
        trace: Trace,
        scores: Mapping[str, Tensor],
        searched: Tensor,
        asked: Mapping[str, Collection[str]],
    ) -> dict[str, Tensor]:
        """The values of all metrics (M + 2, B, J), the last two of the best orders, and `EMPTY`."""
        others = next(iter(scores.values()))
        every = [scores.get(name, others) for name in self._methods]
        numbers = {
            metric: [n for n, name in enumerate(self._methods) if name in asked[metric]]
            for metric in self._metrics
        }
        if searched.any():
            for metric, limit in self._limits.items():
                numbers[metric].append(len(every) + LIMITS.index(limit))
        return measure_all(
            self._perturber,
            trace,
            [*every, *self._best(trace, others, searched)],
            {**self._metrics, EMPTY: FullyPerturbed(self._classes)},
            list(self._methods.values()),
            {**numbers, EMPTY: [0]},
        )

    def _best(self, trace: Trace, others: Tensor, searched: Tensor) -> list[Tensor]:
        """Token scores (B, T) that rank as the best orders by each limit.

        Texts that are not searched have the scores of ``others``: equal questions are answered
        once.
        """
        best = [others.clone() for _ in LIMITS]
        if searched.any():
            inputs = trace.inputs.rows(searched)
            search = Search(self._perturber, inputs, trace.target[searched])
            for scores, limit in zip(best, LIMITS, strict=True):
                if limit in self._limits.values():
                    tokens = spread_by_unit(search.ceiling(limit), inputs.units)
                    scores[searched, : tokens.shape[1]] = tokens.to(scores)
        return best


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
    valid = trace.inputs.unit_counts > 0
    tensors = {"probabilities": trace.probabilities}
    tensors |= {f"{name}: scores": tensor for name, tensor in scores.items()}
    for what, tensor in tensors.items():
        finite = tensor.isfinite().all(1)
        for row in (~finite & valid).nonzero()[:, 0].tolist():
            log.warning(
                f"{what} of example {examples[row]} are not finite; it is left out of all metrics"
            )
        valid = valid & finite
    return valid


def _checksums(inputs: Inputs) -> list[int]:
    """A number for each text that tells other tokens apart, however they are padded."""
    rows = zip(inputs.input_ids.cpu().long(), inputs.attention_mask.cpu().bool(), strict=True)
    return [zlib.crc32(ids[mask].numpy().tobytes()) for ids, mask in rows]


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
