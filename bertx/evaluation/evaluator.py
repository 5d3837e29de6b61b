"""Evaluation of many texts' explanations, batch by batch, by any set of metrics."""

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
from bertx.evaluation.table import EMPTY, BatchValues, Metrics
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
"""Longest text, in units, that is searched for the best order: U units take U² forwards."""


class Evaluator:
    """Evaluates M methods by all metrics, each text by the same class, units, bins and operator.

    Args:
        perturber: The engine, with its operator.
        methods: The methods by name. The first `Random` is the control, the floor of every figure.
        metrics: The metrics by name.
        classes: Names of the C classes.
        searched: Whether to search for the best order of an example, given its number.

    Attributes:
        table: The values, one entry for each batch; entries of other processes may be added.
        seconds: For some batches the time of each method and, under None, of the plain forward.
        control: Name of the control; None without one.
        skipped: Number of texts that were skipped with a warning.

    Raises:
        InputError: If a method has a reserved name.
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
        self.table: list[BatchValues] = []
        self.seconds: list[dict[str | None, float]] = []
        self.skipped = 0
        self._perturber, self._methods, self._metrics = perturber, methods, metrics
        self._searched, self._classes = searched, classes
        self._limits = {n: m.limit for n, m in metrics.items() if m.limit is not None}

    def add(
        self,
        trace: Trace,
        scores: Mapping[str, Tensor],
        examples: Sequence[int],
        evaluated: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Evaluate the explanations of the B texts of a trace, in one call of the engine.

        Texts without units are skipped, and so are texts with a score or a probability that is
        not finite, with a warning.

        Args:
            trace: The recorded forward of the texts.
            scores: Token scores (B, T) of each evaluated method.
            examples: The numbers of the texts.
            evaluated: The methods that each metric evaluates; None for all.
        """
        valid = usable(trace, scores, examples)
        counts = trace.inputs.unit_counts
        self.skipped += int((~valid & (counts > 0)).sum())
        if not valid.any():
            return
        chosen = torch.tensor([self._searched(example) for example in examples])
        searched = valid & (counts <= MOST_UNITS) & chosen.to(valid.device) & bool(self._limits)
        evaluated = evaluated or dict.fromkeys(self._metrics, tuple(self._methods))
        finite = {name: row.masked_fill(~valid[:, None], 0) for name, row in scores.items()}
        values = {
            name: value.masked_fill(~valid[:, None], nan).to("cpu", torch.float64)
            for name, value in self._measure(trace, finite, searched, evaluated).items()
        }
        count, unsearched = len(self._methods), ~searched.cpu()[:, None]
        self.table.append(
            BatchValues(
                examples=list(examples),
                texts=_checksums(trace.inputs),
                targets=trace.target.tolist(),
                operator=self._perturber.operator,
                empty=values.pop(EMPTY)[0],
                values={name: value[:count] for name, value in values.items()},
                evaluated=evaluated,
                searched=searched.cpu(),
                ceilings={
                    name: values[name][count + LIMITS.index(limit)].masked_fill(unsearched, nan)
                    for name, limit in self._limits.items()
                },
            )
        )

    @property
    def values(self) -> list[ExampleValue]:
        """The scalar value of each metric, one row for each text, method and metric."""
        return [
            row
            for batch in self.table
            for row in batch.rows(self._metrics, self._methods, self.control)
        ]

    def compute(self) -> Estimates:
        """Compute means, gains, ceilings and costs from the table."""
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
        evaluated: Mapping[str, Collection[str]],
    ) -> dict[str, Tensor]:
        """Measure all metrics and `EMPTY`: (M + 2, B, J), the last two under the best orders."""
        filler = next(iter(scores.values()))
        every = [scores.get(name, filler) for name in self._methods]
        numbers = {
            metric: [n for n, name in enumerate(self._methods) if name in evaluated[metric]]
            for metric in self._metrics
        }
        if searched.any():
            for metric, limit in self._limits.items():
                numbers[metric].append(len(every) + LIMITS.index(limit))
        return measure_all(
            self._perturber,
            trace,
            [*every, *self._best(trace, filler, searched)],
            {**self._metrics, EMPTY: FullyPerturbed(self._classes)},
            list(self._methods.values()),
            {**numbers, EMPTY: [0]},
        )

    def _best(self, trace: Trace, filler: Tensor, searched: Tensor) -> list[Tensor]:
        """Search the best order by each limit, as token scores (B, T) that rank the units so.

        Texts that are not searched get the scores of ``filler``. These cost nothing, because the
        engine forwards equal sequences once.
        """
        best = [filler.clone() for _ in LIMITS]
        if searched.any():
            inputs = trace.inputs.rows(searched)
            search = Search(self._perturber, inputs, trace.target[searched])
            for scores, limit in zip(best, LIMITS, strict=True):
                if limit in self._limits.values():
                    tokens = spread_by_unit(search.ceiling(limit), inputs.units)
                    scores[searched, : tokens.shape[1]] = tokens.to(scores)
        return best


def usable(trace: Trace, scores: Mapping[str, Tensor], examples: Sequence[int]) -> Tensor:
    """Return which texts have units and only finite probabilities and scores (B,).

    Logs a warning for each text that has units, but a probability or a score that is not finite.

    Args:
        trace: The forward of B texts.
        scores: Token scores (B, T) of each method.
        examples: The numbers of the texts.
    """
    valid = trace.inputs.unit_counts > 0
    tensors = {"probabilities": trace.probabilities}
    tensors |= {f"{name}: scores": tensor for name, tensor in scores.items()}
    for what, tensor in tensors.items():
        finite = tensor.isfinite().all(1)
        for row in (~finite & valid).nonzero()[:, 0].tolist():
            log.warning(
                f"{what} of example {examples[row]} are not finite; all metrics skip this example"
            )
        valid = valid & finite
    return valid


def _checksums(inputs: Inputs) -> list[int]:
    """A checksum of the tokens of each text, independent of padding."""
    rows = zip(inputs.input_ids.cpu().long(), inputs.attention_mask.cpu().bool(), strict=True)
    return [zlib.crc32(ids[mask].numpy().tobytes()) for ids, mask in rows]


def drawn_by_number(count: int | None, of: int) -> Callable[[int], bool]:
    """Return a function that tells whether the example with a given number is in a random sample.

    The sample is the same every time, on every rank and in any order.

    Args:
        count: Expected size of the sample; None for all examples.
        of: Number of all examples.
    """
    share = 1.0 if count is None else count / max(of, 1)
    return lambda number: random.Random(number).random() < share


def default_metrics() -> dict[str, FaithfulnessMetric]:
    """Return the default metrics: both curves, and the two metrics of ERASER."""
    return {
        "deletion_auc": DeletionCurve(),
        "insertion_auc": InsertionCurve(),
        "comprehensiveness": Comprehensiveness(),
        "sufficiency": Sufficiency(),
    }


def with_control(methods: Mapping[str, Attribution]) -> dict[str, Attribution]:
    """Add a `Random` under the name ``random`` to the methods, unless they contain one.

    Args:
        methods: The methods by name.

    Raises:
        InputError: If another method has the name ``random``.
    """
    if any(isinstance(method, Random) for method in methods.values()):
        return dict(methods)
    if "random" in methods:
        raise InputError(
            f"method 'random': this name is reserved for the random control, but "
            f"{methods['random']!r} has it. Give the method another name, or add a Random()."
        )
    return {**methods, "random": Random()}
