"""The ceiling of every deletion curve: an order that was searched for."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bertx.attribution.base import Attribution
from bertx.attribution.rerun import check_operator, check_positive, perturber_of
from bertx.errors import InputError
from bertx.inputs import Inputs, spread_by_unit
from bertx.perturb import Operator, Perturber
from bertx.trace import Trace

_MOST = 16


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


class BeamOracle(Attribution):
    """Units in the deletion order that makes the area under p_c small, found by search.

    The order minimises Σ_k p_c after the k-th deletion, which is the lower deletion AUC up to
    constants. Texts with at most ``exact`` units: over all orders, by dynamic programming over
    the 2^U sets of deleted units. Others: by a beam search; a beam of 1 is the greedy order. It
    asks the model, not an explanation: a ceiling for the deletion curves of all methods, not one
    of them.

    A unit scores (U - its place) / U, from 1 for the first that is deleted to 1/U for the last:
    in (0, 1], signed in what the order means (what speaks for the class comes first). Special
    tokens get 0. Cost: up to ``beam`` · U²/2 forwards for each text in U calls of the engine for
    the whole batch, or 2^U in one; equal sets are asked once.

    Args:
        beam: Sets that are kept after each deletion.
        operator: What deleting a unit does.
        exact: Largest number of units that are searched exactly, at most 16; 0 for never.
        token_budget: Largest number of tokens of one forward; None for what is fast.

    Raises:
        InputError: For a setting that cannot be; when called, if the operator writes [MASK] and
            the texts do not know its id.

    References:
        The Solvability of Interpretability Evaluation Metrics (Zhou & Shah, 2023), arXiv
        2205.08696; Normalized AOPC (Edin et al., 2025), arXiv 2408.08137.
    """

    signed = True

    def __init__(
        self,
        beam: int = 4,
        operator: Operator = "mask",
        exact: int = 8,
        token_budget: int | None = None,
    ) -> None:
        check_positive(beam=beam, token_budget=token_budget)
        check_operator(operator)
        if not 0 <= exact <= _MOST:
            raise InputError(f"exact must be between 0 and {_MOST}, got {exact}")
        self.beam = beam
        self.operator = operator
        self.exact = exact
        self.token_budget = token_budget

    def scores(self, trace: Trace) -> Tensor:
        """(B, T), in (0, 1] on the tokens of one-token units; see the class for longer ones."""
        perturber = perturber_of(trace, self.operator, self.token_budget)
        found = deletion_orders(perturber, trace.inputs, trace.target, self.beam, self.exact)
        width = max(int(trace.inputs.unit_counts.max()), 1)
        scores = torch.zeros(len(found), width, dtype=trace.probabilities.dtype)
        for row, deletion in zip(scores, found, strict=True):
            units = len(deletion.order)
            row[list(deletion.order)] = torch.arange(units, 0, -1).to(row) / max(units, 1)
        return spread_by_unit(scores.to(trace.inputs.units.device), trace.inputs.units)


def deletion_orders(
    perturber: Perturber,
    inputs: Inputs,
    target: Tensor,
    beam: int,
    exact: int,
    highest: bool = False,
) -> list[Deletion]:
    """The best order of deletion that the search finds for each text.

    Args:
        perturber: The engine, with its operator.
        inputs: B texts.
        target: The class whose probability is followed (B,).
        beam: Sets that are kept after each deletion.
        exact: Largest number of units that are searched exactly.
        highest: Look for the largest area instead of the smallest.
    """
    counts = inputs.unit_counts.tolist()
    ask = _Asker(perturber, inputs, target, counts)
    sign = -1 if highest else 1
    small = [text for text, units in enumerate(counts) if units <= exact]
    large = [text for text, units in enumerate(counts) if units > exact]
    found = _exact(ask, small, counts, sign) | _beam(ask, large, counts, beam, sign)
    return [found[text] for text in range(len(counts))]


class _Asker:
    """Probabilities of sets of deleted units, which are whole numbers: bit u for unit u."""

    def __init__(
        self, perturber: Perturber, inputs: Inputs, target: Tensor, counts: list[int]
    ) -> None:
        self.perturber, self.inputs, self.target = perturber, inputs, target
        self.width = max(*counts, 1)

    def __call__(self, sets: dict[int, list[int]]) -> dict[int, dict[int, float]]:
        """p_c of each set of each text, from one call of the engine."""
        if not sets:
            return {}
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
        pairs = zip(sets.items(), values, strict=True)
        return {text: dict(zip(asked, row, strict=False)) for (text, asked), row in pairs}


def _exact(ask: _Asker, texts: list[int], counts: list[int], sign: int) -> dict[int, Deletion]:
    """Over all orders: the best way to a set ends with the best way to one unit less."""
    p = ask({text: list(range(1, 2 ** counts[text])) for text in texts if counts[text]})
    found = {}
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
        found[text] = Deletion(tuple(order[::-1]), tuple(curve[::-1]))
    return found


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
