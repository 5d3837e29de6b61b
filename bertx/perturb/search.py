"""Searching the order of deletions that takes most, or least, from a probability."""

from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bertx.models.inputs import Inputs
from bertx.perturb import Perturber

Limit = Literal["deletion", "insertion"]
"""Which search shows what a perfect order of units could reach: the units whose deletion takes
most from the probability first, or those whose insertion gives it most."""


class Deletion(NamedTuple):
    """An order in which the units of one text are deleted.

    Attributes:
        order: Unit numbers, first deleted first.
        curve: p_c after each deletion, one number a unit.
    """

    order: tuple[int, ...]
    curve: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Sum of the curve: what the search makes small."""
        return sum(self.curve)


class Search:
    """Searches the orders of deletion of B texts.

    What the engine said of a set of units is remembered, so that a search in the other direction,
    or with another beam, asks for new sets only; so are the orders.

    Args:
        perturber: The engine, with its operator.
        inputs: B texts.
        target: The class whose probability is followed (B,).
    """

    def __init__(self, perturber: Perturber, inputs: Inputs, target: Tensor) -> None:
        self._counts = inputs.unit_counts.tolist()
        self._ask = _Asker(perturber, inputs, target, self._counts)
        self._orders: dict[tuple[int, int, bool], list[Deletion]] = {}

    def orders(self, beam: int, exact: int, highest: bool = False) -> list[Deletion]:
        """The best order that the search finds for each text.

        Args:
            beam: Sets that are kept after each deletion.
            exact: Largest number of units that are searched exactly.
            highest: Look for the largest area instead of the smallest.
        """
        key = (beam, exact, highest)
        if key not in self._orders:
            self._orders[key] = self._searched(*key)
        return self._orders[key]

    def ceiling(self, limit: Limit, beam: int = 1, exact: int = 8) -> Tensor:
        """Unit scores that rank as the search does (B, U): no method, but what one could reach."""
        orders = self.orders(beam, exact, highest=limit == "insertion")
        scores = torch.zeros(len(orders), self._ask.width, device=self._ask.target.device)
        for row, deletion in zip(scores, orders, strict=True):
            places = torch.arange(len(deletion.order), 0, -1.0, device=row.device)
            first = deletion.order if limit == "deletion" else deletion.order[::-1]
            row[list(first)] = places
        return scores

    def _searched(self, beam: int, exact: int, highest: bool) -> list[Deletion]:
        counts, sign = self._counts, -1 if highest else 1
        small = [text for text, units in enumerate(counts) if units <= exact]
        large = [text for text, units in enumerate(counts) if units > exact]
        orders = _exact(self._ask, small, counts, sign)
        orders |= _beam(self._ask, large, counts, beam, sign)
        return [orders[text] for text in range(len(counts))]


class _Asker:
    """Probabilities of sets of deleted units, which are whole numbers: bit u for unit u."""

    def __init__(
        self, perturber: Perturber, inputs: Inputs, target: Tensor, counts: list[int]
    ) -> None:
        self.perturber, self.inputs, self.target = perturber, inputs, target
        self.width = max(*counts, 1)
        self.cache: list[dict[int, float]] = [{} for _ in counts]

    def __call__(self, sets: dict[int, list[int]]) -> dict[int, dict[int, float]]:
        """p_c of each set of each text; those that are new from one call of the engine."""
        new = {text: [s for s in of if s not in self.cache[text]] for text, of in sets.items()}
        self._learn({text: of for text, of in new.items() if of})
        return {text: {s: self.cache[text][s] for s in of} for text, of in sets.items()}

    def _learn(self, sets: dict[int, list[int]]) -> None:
        if not sets:
            return
        rows = max(map(len, sets.values()))
        kept = torch.tensor(
            [
                [[not deleted >> u & 1 for u in range(self.width)] for deleted in asked]
                + [[True] * self.width] * (rows - len(asked))
                for asked in sets.values()
            ]
        )
        texts = torch.tensor(list(sets), device=self.target.device)
        p = self.perturber(self.inputs.rows(texts), kept.to(texts.device))
        chosen = self.target[texts, None, None].expand(-1, rows, 1)
        values = p.gather(2, chosen)[..., 0].tolist()
        for (text, asked), row in zip(sets.items(), values, strict=True):
            self.cache[text] |= zip(asked, row, strict=False)


def _exact(ask: _Asker, texts: list[int], counts: list[int], sign: int) -> dict[int, Deletion]:
    """Over all orders: the best way to a set ends with the best way to one unit less."""
    p = ask({text: list(range(1, 2 ** counts[text])) for text in texts if counts[text]})
    deletions = {}
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
        deletions[text] = Deletion(tuple(order[::-1]), tuple(curve[::-1]))
    return deletions


def _beam(
    ask: _Asker, texts: list[int], counts: list[int], beam: int, sign: int
) -> dict[int, Deletion]:
    """All texts advance together, one unit a step."""
    beams = {text: {0: Deletion((), ())} for text in texts}
    for step in range(max((counts[text] for text in texts), default=0)):
        ways = {text: _grow(beams[text], counts[text]) for text in texts if step < counts[text]}
        p = ask({text: list(sets) for text, sets in ways.items()})
        for text, sets in ways.items():
            longer = {
                deleted: Deletion(way.order, (*way.curve, p[text][deleted]))
                for deleted, way in sets.items()
            }
            best = sorted(longer.items(), key=partial(_cost, sign))
            beams[text] = dict(best[:beam])
    return {text: next(iter(beams[text].values())) for text in texts}


def _cost(sign: int, item: tuple[int, Deletion]) -> float:
    return sign * item[1].cost


def _grow(beam: dict[int, Deletion], units: int) -> dict[int, Deletion]:
    """Every set with one more unit, by its cheapest way: the beam is sorted."""
    sets: dict[int, Deletion] = {}
    for deleted, way in beam.items():
        for unit in range(units):
            if not deleted >> unit & 1:
                sets.setdefault(deleted | 1 << unit, Deletion((*way.order, unit), way.curve))
    return sets
