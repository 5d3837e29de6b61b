"""What every metric of explanations is, and how all of them put their questions at once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bertx.errors import InputError
from bertx.metrics.estimates import Estimate, MeanMetric
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Deletion, Search
from bertx.trace import Needs, Trace

Limit = Literal["deletion", "insertion"]
"""Which search shows what a perfect order of units could reach: the units whose deletion takes
most from the probability first, or those whose insertion gives it most."""


@dataclass(frozen=True)
class Panel:
    """B texts, their model and what is known about them: the same for all explanations.

    Attributes:
        perturber: The engine, with its operator.
        trace: The recorded forward. Its classes are those that are explained and followed.
        labels: Gold classes (B,), negative where unknown; None if there are none.
        rationale: Which tokens a human or a grammar marked (B, T); None if there are none.
    """

    perturber: Perturber
    trace: Trace
    labels: Tensor | None = None
    rationale: Tensor | None = None
    _orders: dict[tuple[int, int, bool], list[Deletion]] = field(default_factory=dict)

    @property
    def inputs(self) -> Inputs:
        """The texts."""
        return self.trace.inputs

    @property
    def target(self) -> Tensor:
        """The explained classes (B,)."""
        return self.trace.target

    @cached_property
    def marked(self) -> Tensor | None:
        """Which units have a marked token (B, U); None without a rationale."""
        if self.rationale is None:
            return None
        marks = self.rationale.to(self.inputs.units.device).float()
        return merge_by_unit(marks, self.inputs.units, "max") > 0

    @cached_property
    def _search(self) -> Search:
        return Search(self.perturber, self.inputs, self.target)

    def rows(self, rows: Tensor, needs: Needs = Needs.NOTHING) -> "Panel":
        """Some of the texts, with what is known about them: labels, marks, and orders.

        Args:
            rows: Which texts, True or False (B,).
            needs: What the forward of theirs must record.
        """
        chosen = rows.nonzero()[:, 0]
        inputs = self.inputs.rows(chosen)
        labels, marks = (
            None if tensor is None else tensor[chosen.to(tensor.device)]
            for tensor in (self.labels, self.rationale)
        )
        return Panel(
            self.perturber,
            Trace(self.trace.model, inputs, self.target[chosen], needs),
            labels,
            None if marks is None else marks[:, : inputs.input_ids.shape[1]],
            {key: [orders[row] for row in chosen.tolist()] for key, orders in self._orders.items()},
        )

    def unit_mask(self, width: int | None = None) -> Tensor:
        """Which of ``width`` places are units of a text (B, U)."""
        counts = self.inputs.unit_counts
        width = max(int(counts.max()), 1) if width is None else width
        return torch.arange(width, device=counts.device) < counts[:, None]

    def orders(self, beam: int, exact: int, highest: bool = False) -> list[Deletion]:
        """The order of deletion that makes the area under p_c smallest or largest, for each text.

        Searched once for all methods; see `bertx.perturb.search.Search`.
        """
        key = (beam, exact, highest)
        if key not in self._orders:
            self._orders[key] = self._search.orders(beam, exact, highest)
        return self._orders[key]

    def ceiling(self, limit: Limit, beam: int = 1, exact: int = 8) -> Tensor:
        """Unit scores that rank as the search does (B, U): no method, but what one could reach."""
        orders = self.orders(beam, exact, highest=limit == "insertion")
        scores = torch.zeros(self.unit_mask().shape, device=self.target.device)
        for row, deletion in zip(scores, orders, strict=True):
            places = torch.arange(len(deletion.order), 0, -1.0, device=row.device)
            first = deletion.order if limit == "deletion" else deletion.order[::-1]
            row[list(first)] = places
        return scores


@dataclass(frozen=True)
class Case:
    """One explanation of the texts of a panel.

    Attributes:
        panel: The texts.
        scores: Token scores (B, T), finite; a unit's score is their sum.
        method: What explains a trace, (B, T); only metrics that explain again ask for it.
    """

    panel: Panel
    scores: Tensor
    method: Callable[[Trace], Tensor] | None = None

    @cached_property
    def units(self) -> Tensor:
        """Scores of the units (B, U); 0 beyond a text's own."""
        return merge_by_unit(self.scores, self.panel.inputs.units)


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
        needs: What the panel's trace must record.
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

    def kept(self, case: Case) -> Tensor | None:
        """Which units stay in each of the N versions it asks for (B, N, U); None for no question.

        U is that of ``case.units``; what stands beyond a text's own units does not matter.
        """
        return None

    @abstractmethod
    def values(self, case: Case, answers: Tensor) -> Tensor:
        """The values of B texts.

        Args:
            case: The explanation.
            answers: Probabilities of the classes in the versions asked for (B, N, C).

        Returns:
            (B, J), float; NaN where a text has none.
        """

    def measure(
        self, panel: Panel, scores: Tensor, method: Callable[[Trace], Tensor] | None = None
    ) -> Tensor:
        """The values of one explanation of B texts; `measure_all` measures several in one call.

        Args:
            panel: The texts, with the engine.
            scores: Token scores (B, T), finite; a unit's score is their sum.
            method: What explains a trace, (B, T), for metrics that explain again.

        Returns:
            (B, J), float; NaN where a text has none. The state stays as it is.
        """
        return measure_all([Case(panel, scores, method)], {"": self})[""][0]

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


def followed(case: Case, answers: Tensor) -> Tensor:
    """Probability of the explained class in each version (B, N), from answers (B, N, C)."""
    target = case.panel.target
    return answers.gather(2, target[:, None, None].expand(-1, answers.shape[1], 1))[..., 0]


def measure_all(
    cases: Sequence[Case],
    metrics: Mapping[str, FaithfulnessMetric],
    asked: Mapping[str, Collection[int]] | None = None,
) -> dict[str, Tensor]:
    """Put all questions of all metrics about M explanations of the same texts at once.

    Args:
        cases: The explanations, of one panel.
        metrics: Metrics by name; their states stay as they are.
        asked: For each metric the numbers of the explanations that it is asked about; None for
            all.

    Returns:
        For each metric the values (M, B, J), NaN where it was not asked.
    """
    panel = cases[0].panel
    if any(case.panel is not panel for case in cases):
        raise ValueError("expected cases of one panel: the engine answers them in one call")
    pairs = [
        (name, number)
        for name in metrics
        for number in range(len(cases))
        if asked is None or number in asked[name]
    ]
    answers = _answers(panel, [metrics[name].kept(cases[number]) for name, number in pairs])
    like = panel.trace.probabilities
    values = {
        name: [like.new_full((len(like), len(metric.columns)), nan)] * len(cases)
        for name, metric in metrics.items()
    }
    with torch.inference_mode(False), torch.no_grad():
        for (name, number), answer in zip(pairs, answers, strict=True):
            values[name][number] = metrics[name].values(cases[number], answer).detach()
        return {name: torch.stack(rows) for name, rows in values.items()}


def _answers(panel: Panel, versions: Sequence[Tensor | None]) -> Iterator[Tensor]:
    """Probabilities (B, N, C) of the N versions (B, N, U) of each question, in one call."""
    asked = [kept for kept in versions if kept is not None]
    probabilities = panel.trace.probabilities
    answers = (
        panel.perturber(panel.inputs, torch.cat(asked, 1))
        if asked
        else probabilities[:, None].narrow(1, 0, 0)
    )
    parts = iter(answers.split([kept.shape[1] for kept in asked], 1))
    return (answers[:, :0] if kept is None else next(parts) for kept in versions)
