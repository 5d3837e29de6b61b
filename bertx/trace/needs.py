"""What methods and metrics need of a forward."""

from enum import Flag, auto
from functools import reduce
from operator import or_
from typing import Protocol


class Needy(Protocol):
    """A method or metric that declares what it needs."""

    @property
    def needs(self) -> "Needs":
        """What the trace must record."""


class Needs(Flag):
    """What a `bertx.trace.Trace` records during its forward.

    Attributes:
        NOTHING: The logits alone.
        GRADIENT: The graph, for the gradient at the embeddings.
        ATTENTION: The attention weights.
        ATTENTION_GRADIENT: Their product with their gradient, computed in the same backward.
        RELEVANCE: Nodes for backwards under `bertx.trace.rules.Rules`.
        LINEAR: RELEVANCE, with nodes for rules of linear maps too.
        ACTIVATIONS: Inputs and outputs of the parts of the `bertx.models.anatomy.anatomy`.
    """

    NOTHING = 0
    GRADIENT = auto()
    ATTENTION = auto()
    ATTENTION_GRADIENT = auto()
    RELEVANCE = auto()
    LINEAR = auto()
    ACTIVATIONS = auto()

    @classmethod
    def of(cls, *needy: Needy) -> "Needs":
        """Return what several methods or metrics need together."""
        return reduce(or_, (each.needs for each in needy), cls.NOTHING)


class MissingNeed(RuntimeError):
    """A trace lacks what it was not made to record.

    Attributes:
        what: What it lacks, such as ``graph``.
        need: What the trace must be made with.
    """

    def __init__(self, what: str, need: Needs) -> None:
        super().__init__(f"this trace has no {what}: make it with needs={need}")
        self.what, self.need = what, need


GRAPH = (
    Needs.GRADIENT | Needs.ATTENTION_GRADIENT | Needs.RELEVANCE | Needs.LINEAR | Needs.ACTIVATIONS
)
"""Needs for which the forward keeps autograd's graph."""

EXPLICIT = Needs.ATTENTION | Needs.ATTENTION_GRADIENT
"""Needs for which attention weights are computed explicitly rather than in a fused kernel."""

SWITCHED = Needs.RELEVANCE | Needs.LINEAR
"""Needs for which nodes are put into the graph whose backward `Rules` choose later."""
