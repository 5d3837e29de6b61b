"""Texts for an evaluation, and their recorded forwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution import Attribution
from bertx.attribution.choices import GOLD, PREDICTED
from bertx.errors import InputError
from bertx.models.classifier import class_names, class_number
from bertx.models.encode import Reading, inputs_of
from bertx.models.inputs import UNKNOWN
from bertx.perturb import Operator, Perturber, Precision
from bertx.perturb.packing import Budget, chunks
from bertx.trace import Trace, plain_seconds
from bertx.trace.needs import Needs

Spans = Sequence[tuple[int, int]]
"""Character ranges (start, end) of a text that decide its label, the end exclusive."""


@dataclass(frozen=True)
class Text:
    """A text with its gold class and rationale.

    Attributes:
        text: The text.
        label: Number of its gold class; negative if unknown.
        rationale: The characters that decide the label; None if unknown.
    """

    text: str
    label: int = -1
    rationale: Spans | None = None


class Recorder:
    """Records the forwards of tokenized texts.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        budget: The largest batch of one forward.

    Raises:
        InputError: If the model has no class ``target``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        target: str | int,
        budget: Budget,
    ) -> None:
        self.model = model
        self._tokenizer, self._budget = tokenizer, budget
        self._gold, chosen = target == GOLD, target in (PREDICTED, GOLD)
        self._fixed = None if chosen else class_number(target, model, (PREDICTED, GOLD))

    def chunks(self, readings: Sequence[Reading]) -> Iterator[list[Reading]]:
        """Group texts to batches within the budget, the longest texts first."""
        return chunks(sorted(readings, key=lambda reading: reading.index), len, self._budget)

    def record(self, readings: Sequence[Reading], needs: Needs) -> Trace:
        """Record a forward of the model.

        Args:
            readings: The texts.
            needs: What to record.

        Raises:
            InputError: If the target is ``gold`` and a label is not one of the model's classes.
        """
        inputs = inputs_of(readings, self._tokenizer, self.model.device)
        return Trace(self.model, inputs, self._target(readings), needs)

    def _target(self, readings: Sequence[Reading]) -> Tensor | int | None:
        if not self._gold:
            return self._fixed
        return torch.tensor([gold_class(one, self.model) for one in readings])


def timed_scores(
    trace: Trace, methods: Mapping[str, Attribution]
) -> tuple[dict[str, Tensor], dict[str | None, float]]:
    """Compute the scores of methods, and the seconds of each; None is a plain forward."""
    scores: dict[str, Tensor] = {}
    seconds: dict[str | None, float] = {None: plain_seconds(trace.model, trace.inputs)}
    for name, method in methods.items():
        scores[name], seconds[name] = trace.timed(method)
    return scores, seconds


def gold_class(reading: Reading, model: PreTrainedModel) -> int:
    """Return the label of a text.

    Raises:
        InputError: If the label is not one of the model's classes.
    """
    classes = len(class_names(model))
    if 0 <= reading.label < classes:
        return reading.label
    what = "no label" if reading.label == UNKNOWN else f"label {reading.label}"
    raise InputError(
        f"target 'gold': example {reading.index} has {what}, the model's classes are "
        f"0..{classes - 1}. Use target 'predicted', or label the data."
    )


def marks(reading: Reading, rationale: Spans) -> tuple[bool, ...]:
    """Return which of the t tokens of a text belong to a unit that overlaps a rationale (t,)."""
    overlapping = {
        unit
        for unit, (start, end) in enumerate(reading.spans)
        if any(start < last and end > first for first, last in rationale)
    }
    return tuple(unit in overlapping for unit in reading.units)


def engines(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    operators: Sequence[Operator],
    precision: Precision | None = None,
) -> dict[Operator, Perturber]:
    """Create an engine for each operator, in their order.

    Raises:
        InputError: If ``operators`` is empty, or the tokenizer lacks the token of an operator.
    """
    if not operators:
        raise InputError("expected at least one operator, such as mask")
    return {
        operator: Perturber(
            model,
            operator,
            mask_token_id=tokenizer.mask_token_id,
            pad_token_id=int(tokenizer.pad_token_id),
            precision=precision,
        )
        for operator in operators
    }
