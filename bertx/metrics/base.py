"""The base class of all metrics of explanations, and how several are measured at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from math import nan
from typing import ClassVar

import torch
from torch import Tensor

from bertx.errors import InputError, checked_result
from bertx.metrics.estimates import Estimate, MeanMetric
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Limit, Search
from bertx.trace import Needs, Trace

Scorer = Callable[[Trace], Tensor]
"""An attribution method: from a trace to token scores (B, T)."""


@dataclass(frozen=True)
class Ranking:
    """One explanation of B texts, which ranks the units of each text.

    Attributes:
        trace: The recorded forward pass of the texts. ``trace.target`` holds the explained class of
            each text (B,).
        scores: Token scores (B, T), finite. The score of a unit is the sum over its tokens.
        search: Search for the best and worst orders of the units, shared by all explanations of
            these texts.
        method: The attribution method. Only metrics that explain the texts again use it.
    """

    trace: Trace
    scores: Tensor
    search: Search
    method: Scorer | None = None

    @property
    def inputs(self) -> Inputs:
        """The tokenized texts, with their labels and rationales."""
        return self.trace.inputs

    @cached_property
    def unit_scores(self) -> Tensor:
        """Scores of the units (B, U), 0 beyond the last unit of a text."""
        return merge_by_unit(self.scores, self.inputs.units)


class FaithfulnessMetric(MeanMetric, ABC):
    """Base class of metrics: J values for each explained text, and their means over texts.

    A metric defines `kept`, the perturbed versions of each text that it needs, and `values`, which
    computes its values from the model's predictions for these versions. `measure_all` collects the
    versions of all metrics and explanations, and predicts them in one call of the engine.

    Otherwise it is used like any torchmetric: `update` with the values of B texts, `compute`,
    `reset`. The state is additive, so that results do not depend on the batches and are exact
    across processes.

    Args:
        columns: Names of the J values. The last value is the metric's number, which is logged and
            compared.

    Attributes:
        higher_is_better: Whether a larger number speaks for the explanation; None if neither does.
        needs: What the trace must record.
        limit: The search whose order of units is the ceiling of the metric; None if it has none.

    Examples:
        >>> class TopUnit(FaithfulnessMetric):
        ...     '''Drop of the probability when the highest ranked unit is deleted.'''
        ...
        ...     higher_is_better = True
        ...
        ...     def __init__(self):
        ...         super().__init__(["drop"])
        ...
        ...     def kept(self, ranking):  # (B, 2, U)
        ...         top = ranking.unit_scores.argmax(1, keepdim=True)
        ...         whole = torch.ones_like(ranking.unit_scores, dtype=torch.bool)
        ...         return torch.stack([whole, whole.scatter(1, top, False)], 1)
        ...
        ...     def values(self, ranking, probabilities):  # (B, 1) from (B, 2, C)
        ...         p = target_probabilities(ranking, probabilities)
        ...         return (p[:, 0] - p[:, 1])[:, None]
        >>> TopUnit().columns
        ('drop',)
    """

    needs: ClassVar[Needs] = Needs.NOTHING
    limit: ClassVar[Limit | None] = None

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(len(columns))
        self.columns = tuple(columns)

    @property
    def uses_operator(self) -> bool:
        """Whether the values depend on how units are perturbed."""
        return type(self).kept is not FaithfulnessMetric.kept or self.limit is not None

    def kept(self, ranking: Ranking) -> Tensor | None:
        """Return which units stay in each of the N perturbed versions of a text.

        Args:
            ranking: The explanation.

        Returns:
            (B, N, U) with the U of ``ranking.unit_scores``; entries beyond the last unit of a text
            are ignored. None, the default, if the metric needs no perturbed text.
        """
        return None

    @abstractmethod
    def values(self, ranking: Ranking, probabilities: Tensor) -> Tensor:
        """Compute the values of B texts.

        Args:
            ranking: The explanation.
            probabilities: Predicted probabilities (B, N, C) of the versions from `kept`; N is 0 if
                that is None.

        Returns:
            (B, J), float; NaN where the metric is not defined for a text.
        """

    def measure(
        self, perturber: Perturber, trace: Trace, scores: Tensor, method: Scorer | None = None
    ) -> Tensor:
        """Measure one explanation of B texts without changing the state.

        Use `measure_all` for several metrics or explanations of the same texts.

        Args:
            perturber: The engine, with its operator.
            trace: The recorded forward pass of the texts.
            scores: Token scores (B, T), finite. The score of a unit is the sum over its tokens.
            method: The attribution method, for metrics that explain the texts again.

        Returns:
            (B, J), float; NaN where the metric is not defined for a text.
        """
        return measure_all(perturber, trace, [scores], {"": self}, [method])[""][0]

    def update(self, values: Tensor) -> None:
        """Add the values (B, J) of B texts, as returned by `measure`.

        Raises:
            InputError: If ``values`` has another shape.
        """
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise InputError(
                f"{type(self).__name__}: expected values of shape (B, {len(self.columns)}) for "
                f"{', '.join(self.columns)}, got {tuple(values.shape)}. Pass what measure() "
                "returns for the same settings."
            )
        self.add(values)

    def compute(self) -> Estimate:
        """Return means and standard errors over all texts so far."""
        return self.estimate()


def target_probabilities(ranking: Ranking, probabilities: Tensor) -> Tensor:
    """Select p_c, c the explained class of each text: (B, N) from probabilities (B, N, C)."""
    target = ranking.trace.target[:, None, None].expand(-1, probabilities.shape[1], 1)
    return probabilities.gather(2, target)[..., 0]


def measure_all(
    perturber: Perturber,
    trace: Trace,
    scores: Sequence[Tensor],
    metrics: Mapping[str, FaithfulnessMetric],
    methods: Sequence[Scorer | None] = (),
    selected: Mapping[str, Collection[int]] | None = None,
) -> dict[str, Tensor]:
    """Measure M explanations of the same texts by several metrics, in one call of the engine.

    Args:
        perturber: The engine, with its operator.
        trace: The recorded forward pass of the texts, with the explained classes.
        scores: Token scores (B, T) of each explanation, finite. The score of a unit is the sum over
            its tokens.
        metrics: Metrics by name. Their states do not change.
        methods: The attribution method of each explanation, for metrics that explain again.
        selected: For each metric, the indices of the explanations to measure. None for all of them.

    Returns:
        For each metric the values (M, B, J), NaN for explanations that were not selected.

    Raises:
        FaultyClass: If the values of a metric are not a tensor (B, J).
    """
    search = Search(perturber, trace.inputs, trace.target)
    rankings = [
        Ranking(trace, tokens, search, method) for tokens, method in zip_longest(scores, methods)
    ]
    pairs = [
        (name, index)
        for name in metrics
        for index in range(len(rankings))
        if selected is None or index in selected[name]
    ]
    versions = [metrics[name].kept(rankings[index]) for name, index in pairs]
    predictions = _predictions(perturber, trace, versions)
    like = trace.probabilities
    values = {
        name: [like.new_full((len(like), len(metric.columns)), nan)] * len(rankings)
        for name, metric in metrics.items()
    }
    with torch.inference_mode(False), torch.no_grad():
        for (name, index), probabilities in zip(pairs, predictions, strict=True):
            metric = metrics[name]
            computed = metric.values(rankings[index], probabilities)
            where = f"{type(metric).__name__}.values"
            computed = checked_result(computed, where, B=len(like), J=len(metric.columns))
            values[name][index] = computed.detach()
        return {name: torch.stack(rows) for name, rows in values.items()}


def _predictions(
    perturber: Perturber, trace: Trace, versions: Sequence[Tensor | None]
) -> Iterator[Tensor]:
    """Yield probabilities (B, N, C) for each entry (B, N, U), all from one call of the engine."""
    present = [kept for kept in versions if kept is not None]
    empty = trace.probabilities[:, None].narrow(1, 0, 0)
    parts: Iterator[Tensor] = iter(())
    if present:
        probabilities = perturber(trace.inputs, torch.cat(present, 1))
        parts = iter(probabilities.split([kept.shape[1] for kept in present], 1))
    for kept in versions:
        yield empty if kept is None else next(parts)
