"""The table of values: every metric of every explanation, text by text."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from bertx.attribution import Attribution
from bertx.leaderboard.example_values import ExampleValue
from bertx.metrics import FaithfulnessMetric
from bertx.rendering.curves import Role

Metrics = Mapping[str, FaithfulnessMetric]
CEILING = "ceiling"
"""The name under which the search for the best order is logged."""
EMPTY = "fully_perturbed"
"""The name under which the probability of a text without any unit is logged."""


@dataclass(frozen=True)
class BatchValues:
    """The values of all metrics for M explanations of each of B texts, in float64 on the CPU.

    Attributes:
        examples: The number of each text.
        texts: A checksum of the tokens of each text.
        targets: The explained class of each text.
        operator: What deleting a unit does.
        values: For each metric (M, B, J); NaN where a text has no value or was skipped.
        evaluated: For each metric the methods that it evaluated; the values of others are NaN.
        searched: Which texts were searched for the best order (B,).
        ceilings: For each metric with a limit its values under the best order (B, J); NaN for
            texts that were not searched.
        empty: `FullyPerturbed` of each text (B, C + 1); NaN for skipped texts.
    """

    examples: list[int]
    texts: list[int]
    targets: list[int]
    operator: str
    values: dict[str, Tensor]
    evaluated: Mapping[str, Collection[str]]
    searched: Tensor
    ceilings: dict[str, Tensor]
    empty: Tensor

    def rows(
        self, metrics: Metrics, methods: Mapping[str, Attribution], control: str | None
    ) -> Iterator[ExampleValue]:
        """The scalar value of each metric, one row for each text, method and metric.

        Args:
            metrics: The metrics by name.
            methods: The M methods by name.
            control: The name of the random control, if there is one.
        """
        for metric, values in self.values.items():
            columns = values[..., -1].tolist()
            for (name, method), column in zip(methods.items(), columns, strict=True):
                if name not in self.evaluated[metric]:
                    continue
                role: Role = "floor" if name == control else "method"
                made_with = _made_with(method)
                for place, value in enumerate(column):
                    yield self._row(
                        place, name, method.signed, role, metric, metrics[metric], value, made_with
                    )
        for metric, values in self.ceilings.items():
            for place in self.searched.nonzero()[:, 0].tolist():
                value = float(values[place, -1])
                yield self._row(place, CEILING, True, "ceiling", metric, metrics[metric], value)

    def _row(
        self,
        place: int,
        method: str,
        signed: bool,
        role: Role,
        name: str,
        metric: FaithfulnessMetric,
        value: float,
        made_with: str = "",
    ) -> ExampleValue:
        return ExampleValue(
            example=self.examples[place],
            target=self.targets[place],
            method=method,
            signed=signed,
            role=role,
            made_with=made_with,
            operator=self.operator if metric.uses_operator else "",
            metric=name,
            higher_is_better=metric.higher_is_better,
            value=value,
            text=self.texts[place],
        )


def _made_with(method: Attribution) -> str:
    """What a method itself puts in place of words: its operator, or the baseline of its path."""
    return str(getattr(method, "operator", "") or getattr(method, "baseline", ""))
