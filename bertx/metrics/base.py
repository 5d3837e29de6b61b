"""What every metric of explanations is, and how all of them put their questions at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from math import nan
from typing import ClassVar

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.estimates import Estimate, MeanMetric
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Limit, Search
from bertx.trace import Needs, Trace

Scorer = Callable[[Trace], Tensor]
"""What explains a trace: token scores (B, T)."""


@dataclass(frozen=True)
class Ranking:
    """How one explanation of B texts ranks their units.

    Attributes:
        trace: The recorded forward. Its classes are those that are explained and followed.
        scores: Token scores (B, T), finite; a unit's score is their sum.
        search: Searches the best orders, once for all explanations of the texts.
        method: What explains a trace; only metrics that explain again ask for it.
    """

    trace: Trace
    scores: Tensor
    search: Search
    method: Scorer | None = None

    @property
    def inputs(self) -> Inputs:
        """The texts, with their labels and rationales."""
        return self.trace.inputs

    @cached_property
    def unit_scores(self) -> Tensor:
        """Scores of the units (B, U); 0 beyond a text's own."""
        return merge_by_unit(self.scores, self.inputs.units)


class FaithfulnessMetric(MeanMetric, ABC):
    """J numbers for each explained text, and their means over texts.

    A metric says which versions of a text it wants to see (`kept`) and what it makes of the
    model's answers (`values`). `measure_all` asks for all metrics and methods in one call of the
    engine. Used as any torchmetric: `update` with the values of B texts, `compute`, `reset`.

    Args:
        columns: Names of the J values; the last one is the metric's number.

    Attributes:
        columns: The names.
        higher_is_better: Whether a larger number speaks for the explanation.
        needs: What the trace must record.
        limit: The search that shows what can be reached, None if none does.
        uses_operator: Whether its values depend on what a deletion does.
    """

    needs: ClassVar[Needs] = Needs.NOTHING
    limit: ClassVar[Limit | None] = None

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(len(columns))
        self.columns = tuple(columns)

    @property
    def uses_operator(self) -> bool:
        """Whether it asks the engine anything, or a search asks in its place."""
        return type(self).kept is not FaithfulnessMetric.kept or self.limit is not None

    def kept(self, ranking: Ranking) -> Tensor | None:
        """Which units stay in each of the N versions it asks for (B, N, U); None for no question.

        U is that of ``unit_scores``; what stands beyond a text's own units does not matter.
        """
        return None

    @abstractmethod
    def values(self, ranking: Ranking, answers: Tensor) -> Tensor:
        """The values of B texts.

        Args:
            ranking: The explanation.
            answers: Probabilities of the classes in the versions asked for (B, N, C).

        Returns:
            (B, J), float; NaN where a text has none.
        """

    def measure(
        self, perturber: Perturber, trace: Trace, scores: Tensor, method: Scorer | None = None
    ) -> Tensor:
        """The values of one explanation of B texts; `measure_all` measures several in one call.

        Args:
            perturber: The engine, with its operator.
            trace: The recorded forward of the texts.
            scores: Token scores (B, T), finite; a unit's score is their sum.
            method: What explains a trace, for metrics that explain again.

        Returns:
            (B, J), float; NaN where a text has none. The state stays as it is.
        """
        return measure_all(perturber, trace, [scores], {"": self}, [method])[""][0]

    def update(self, values: Tensor) -> None:
        """Add the values (B, J) of B texts, as `measure` gives them.

        Raises:
            InputError: If there are not J of them.
        """
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise InputError(
                f"{type(self).__name__}: expected values of shape (B, {len(self.columns)}) for "
                f"{', '.join(self.columns)}, got {tuple(values.shape)}. Give update what "
                "measure() returns, with the same settings."
            )
        self.add(values)

    def compute(self) -> Estimate:
        """The means of all texts so far."""
        return self.estimate()


def followed(ranking: Ranking, answers: Tensor) -> Tensor:
    """Probability of the explained class in each version (B, N), from answers (B, N, C)."""
    target = ranking.trace.target
    return answers.gather(2, target[:, None, None].expand(-1, answers.shape[1], 1))[..., 0]


def measure_all(
    perturber: Perturber,
    trace: Trace,
    scores: Sequence[Tensor],
    metrics: Mapping[str, FaithfulnessMetric],
    methods: Sequence[Scorer | None] = (),
    asked: Mapping[str, Collection[int]] | None = None,
) -> dict[str, Tensor]:
    """Put all questions of all metrics about M explanations of the same texts at once.

    Args:
        perturber: The engine, with its operator.
        trace: The recorded forward of the texts. Its classes are explained and followed.
        scores: Token scores (B, T) of each explanation, finite; a unit's score is their sum.
        metrics: Metrics by name; their states stay as they are.
        methods: What explains a trace, for metrics that explain again.
        asked: For each metric the numbers of the explanations that it is asked about; None for
            all.

    Returns:
        For each metric the values (M, B, J), NaN where it was not asked.
    """
    search = Search(perturber, trace.inputs, trace.target)
    pairs = zip_longest(scores, methods)
    rankings = [Ranking(trace, tokens, search, method) for tokens, method in pairs]
    questions = [
        (name, number)
        for name in metrics
        for number in range(len(rankings))
        if asked is None or number in asked[name]
    ]
    versions = [metrics[name].kept(rankings[number]) for name, number in questions]
    answers = _answers(perturber, trace, versions)
    like = trace.probabilities
    values = {
        name: [like.new_full((len(like), len(metric.columns)), nan)] * len(rankings)
        for name, metric in metrics.items()
    }
    with torch.inference_mode(False), torch.no_grad():
        for (name, number), answer in zip(questions, answers, strict=True):
            values[name][number] = metrics[name].values(rankings[number], answer).detach()
        return {name: torch.stack(rows) for name, rows in values.items()}


def _answers(
    perturber: Perturber, trace: Trace, versions: Sequence[Tensor | None]
) -> Iterator[Tensor]:
    """Probabilities (B, N, C) of the N versions (B, N, U) of each question, in one call."""
    asked = [kept for kept in versions if kept is not None]
    answers = (
        perturber(trace.inputs, torch.cat(asked, 1))
        if asked
        else trace.probabilities[:, None].narrow(1, 0, 0)
    )
    parts = iter(answers.split([kept.shape[1] for kept in asked], 1))
    return (answers[:, :0] if kept is None else next(parts) for kept in versions)
