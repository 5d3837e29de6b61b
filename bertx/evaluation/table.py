"""The one table of values: what all metrics say of all explanations, text by text."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertx.attribution import Attribution
from bertx.leaderboard.example_values import ExampleValue
from bertx.metrics import FaithfulnessMetric
from bertx.rendering.curves import Role

Metrics = Mapping[str, FaithfulnessMetric]
CEILING = "ceiling"
"""The name under which the search that shows what can be reached is logged."""
EMPTY = "fully_perturbed"
"""The name under which the probability of a text without its units is logged."""


@dataclass(frozen=True)
class Measured:
    """What all metrics say of M explanations of each of B texts, in float64 on the CPU.

    Attributes:
        examples: The number of each text.
        texts: A checksum of its tokens.
        targets: The explained class.
        operator: What deleting a unit does.
        values: For each metric (M, B, J); NaN where a text has no value or is left out.
        asked: For each metric the methods that it was asked about; values of others are NaN.
        searched: Which texts were searched for the best order (B,).
        ceilings: What it reaches in each metric that has a limit (B, J), NaN where not searched.
        empty: `FullyPerturbed` of each text (B, C + 1); NaN for those that are left out.
    """

    examples: list[int]
    texts: list[int]
    targets: list[int]
    operator: str
    values: dict[str, Tensor]
    asked: Mapping[str, Collection[str]]
    searched: Tensor
    ceilings: dict[str, Tensor]
    empty: Tensor

    def rows(
        self, metrics: Metrics, methods: Mapping[str, Attribution], control: str | None
    ) -> Iterator[ExampleValue]:
        """The values that are the metrics' numbers, one for each text, method and metric.

        Args:
            metrics: The metrics by name.
            methods: The M methods by name.
            control: The name of the random control, if there is one.
        """
        everyone = range(len(self.examples))
        for metric, values in self.values.items():
            for (name, method), part in zip(methods.items(), values[..., -1].tolist(), strict=True):
                if name in self.asked[metric]:
                    role: Role = "floor" if name == control else "method"
                    who = (name, method.signed, role, _made_with(method))
                    yield from self._rows(metric, metrics[metric], who, part, everyone)
        searched = self.searched.nonzero()[:, 0].tolist()
        for metric, values in self.ceilings.items():
            who = (CEILING, True, "ceiling", "")
            yield from self._rows(metric, metrics[metric], who, values[:, -1].tolist(), searched)

    def _rows(
        self,
        name: str,
        metric: FaithfulnessMetric,
        who: tuple[str, bool, Role, str],
        values: Sequence[float],
        places: Sequence[int],
    ) -> Iterator[ExampleValue]:
        method, signed, role, made_with = who
        for place in places:
            yield ExampleValue(
                example=self.examples[place],
                target=self.targets[place],
                method=method,
                signed=signed,
                role=role,
                made_with=made_with,
                operator=self.operator if metric.uses_operator else "",
                metric=name,
                higher_is_better=metric.higher_is_better,
                value=values[place],
                text=self.texts[place],
            )


def joined(parts: Sequence[Tensor], *shape: int) -> Tensor:
    """Tensors (..., b, J) one after the other (..., B, J); none of them have the shape given."""
    return torch.cat(list(parts), -2) if parts else torch.zeros(*shape, dtype=torch.float64)


def _made_with(method: Attribution) -> str:
    """What a method itself puts in place of words: an operator, or the baseline of a path."""
    return str(getattr(method, "operator", "") or getattr(method, "baseline", ""))
