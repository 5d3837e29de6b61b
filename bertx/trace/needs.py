"""What methods need of a forward."""

from enum import Flag, auto
from functools import reduce
from operator import or_
from typing import Protocol


class Needy(Protocol):
    """What asks something of a forward: a method, or a metric."""

    @property
    def needs(self) -> "Needs":
        """What must be recorded."""


class Needs(Flag):
    """What a method asks a trace to record during its forward.

    Attributes:
        NOTHING: The logits are enough.
        GRADIENT: A graph.
        ATTENTION: The attention weights.
        ATTENTION_GRADIENT: What their gradient makes of them, from the backward of GRADIENT.
        RELEVANCE: Backwards under other `bertx.trace.rules.Rules`.
        LINEAR: The same, with rules for linear maps too.
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
    def of(cls, *asking: Needy) -> "Needs":
        """What all of them need together."""
        return reduce(or_, (one.needs for one in asking), cls.NOTHING)


GRAPH = (
    Needs.GRADIENT | Needs.ATTENTION_GRADIENT | Needs.RELEVANCE | Needs.LINEAR | Needs.ACTIVATIONS
)
EXPLICIT = Needs.ATTENTION | Needs.ATTENTION_GRADIENT
SWITCHED = Needs.RELEVANCE | Needs.LINEAR
