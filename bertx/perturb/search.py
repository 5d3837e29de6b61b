"""Search for the order of deletions that minimizes or maximizes a probability."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bertx.models.inputs import Inputs
from bertx.perturb import Perturber

Limit = Literal["deletion", "insertion"]
"""The order that is the ceiling of a metric.

``deletion`` is the order whose deletions reduce the probability most, ``insertion`` the order whose
insertions increase it most.
"""


class Deletion(NamedTuple):
    """An order in which the units of a text are deleted.

    Attributes:
        order: Indices of the units, first deleted first.
        curve: p_c after each deletion.
    """

    order: tuple[int, ...]
    curve: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Sum of the curve."""
        return sum(self.curve)


class Search:
    """Search over deletion orders of B texts.

    Probabilities of sets of units, and orders, are cached. A search in the other direction, or with
    another beam, evaluates only sets that are new.

    Args:
        perturber: The engine, with its operator.
        inputs: B texts.
        target: The class whose probability is minimized or maximized (B,).
    """

    def __init__(self, perturber: Perturber, inputs: Inputs, target: Tensor) -> None:
        self._counts = inputs.unit_counts.tolist()
        self._sets = _SetProbabilities(perturber, inputs, target, max(*self._counts, 1))
        self._orders: dict[tuple[int, int, bool], list[Deletion]] = {}

    def orders(self, beam: int, exact: int, highest: bool = False) -> list[Deletion]:
        """Return the best order found for each text.

        Args:
            beam: Number of sets kept after each deletion.
            exact: Largest number of units that are searched exactly.
            highest: Maximize the sum of the curve instead of minimizing it.
        """
        key = (beam, exact, highest)
        if key not in self._orders:
            self._orders[key] = self._search(beam, exact, highest)
        return self._orders[key]

    def ceiling(self, limit: Limit, beam: int = 1, exact: int = 8) -> Tensor:
        """Return unit scores (B, U) that rank the units in the best order."""
        orders = self.orders(beam, exact, highest=limit == "insertion")
        scores = torch.zeros(len(orders), self._sets.width, device=self._sets.target.device)
        for row, deletion in zip(scores, orders, strict=True):
            descending = torch.arange(len(deletion.order), 0, -1.0, device=row.device)
            ranked = deletion.order if limit == "deletion" else deletion.order[::-1]
            row[list(ranked)] = descending
        return scores

    def _search(self, beam: int, exact: int, highest: bool) -> list[Deletion]:
        counts, sign = self._counts, -1 if highest else 1
        small = [text for text, units in enumerate(counts) if units <= exact]
        large = [text for text, units in enumerate(counts) if units > exact]
        orders = _exact_search(self._sets, small, counts, sign)
        orders |= _beam_search(self._sets, large, counts, beam, sign)
        return [orders[text] for text in range(len(counts))]


class _SetProbabilities:
    """Cached probabilities of texts without a set of units. Bit u of a set stands for unit u."""

    def __init__(self, perturber: Perturber, inputs: Inputs, target: Tensor, width: int) -> None:
        self.perturber, self.inputs, self.target, self.width = perturber, inputs, target, width
        self.cache: list[dict[int, float]] = [{} for _ in range(len(inputs))]

    def __call__(self, sets: dict[int, list[int]]) -> dict[int, dict[int, float]]:
        """Return p_c of each set of each text, evaluating new sets in one call of the engine."""
        new = {text: [s for s in of if s not in self.cache[text]] for text, of in sets.items()}
        new = {text: missing for text, missing in new.items() if missing}
        if new:
            self._evaluate(new)
        return {text: {s: self.cache[text][s] for s in of} for text, of in sets.items()}

    def _evaluate(self, sets: dict[int, list[int]]) -> None:
        versions = max(map(len, sets.values()))
        kept = torch.tensor(
            [
                [[not deleted >> u & 1 for u in range(self.width)] for deleted in deletions]
                + [[True] * self.width] * (versions - len(deletions))
                for deletions in sets.values()
            ]
        )
        texts = torch.tensor(list(sets), device=self.target.device)
        probabilities = self.perturber(self.inputs.rows(texts), kept.to(texts.device))
        target = self.target[texts, None, None].expand(-1, versions, 1)
        rows = probabilities.gather(2, target)[..., 0].tolist()
        for (text, deletions), row in zip(sets.items(), rows, strict=True):
            self.cache[text] |= zip(deletions, row, strict=False)


def _exact_search(
    sets: _SetProbabilities, texts: list[int], counts: list[int], sign: int
) -> dict[int, Deletion]:
    """Search all orders by dynamic programming.

    The best way to a set is the best way to one of its subsets with one unit less, and this unit.
    """
    p = sets({text: list(range(1, 2 ** counts[text])) for text in texts if counts[text]})
    orders = {}
    for text in texts:
        cost, last = [0.0], [0]
        for deleted in range(1, 2 ** counts[text]):
            units = [u for u in range(counts[text]) if deleted >> u & 1]
            last.append(min((cost[deleted ^ 1 << u], u) for u in units)[1])
            cost.append(cost[deleted ^ 1 << last[-1]] + sign * p[text][deleted])
        order, curve, deleted = [], [], 2 ** counts[text] - 1
        while deleted:
            order.append(last[deleted])
            curve.append(p[text][deleted])
            deleted ^= 1 << last[deleted]
        orders[text] = Deletion(tuple(order[::-1]), tuple(curve[::-1]))
    return orders


def _beam_search(
    sets: _SetProbabilities, texts: list[int], counts: list[int], beam: int, sign: int
) -> dict[int, Deletion]:
    """Delete one unit per step in all texts, keeping the best sets of each text."""
    beams = {text: {0: Deletion((), ())} for text in texts}
    for step in range(max((counts[text] for text in texts), default=0)):
        grown = {text: _grow(beams[text], counts[text]) for text in texts if step < counts[text]}
        p = sets({text: list(candidates) for text, candidates in grown.items()})
        for text, candidates in grown.items():
            longer = {
                deleted: Deletion(way.order, (*way.curve, p[text][deleted]))
                for deleted, way in candidates.items()
            }
            best = sorted(longer, key=lambda deleted: sign * longer[deleted].cost)
            beams[text] = {deleted: longer[deleted] for deleted in best[:beam]}
    return {text: next(iter(beams[text].values())) for text in texts}


def _grow(beam: dict[int, Deletion], units: int) -> dict[int, Deletion]:
    """Add one unit to each set, keeping the best way to each result: the beam is sorted."""
    sets: dict[int, Deletion] = {}
    for deleted, way in beam.items():
        for unit in range(units):
            if not deleted >> unit & 1:
                sets.setdefault(deleted | 1 << unit, Deletion((*way.order, unit), way.curve))
    return sets
