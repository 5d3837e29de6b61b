"""Texts to be judged on, and their recorded forwards."""

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
"""Characters (start, end) of a text that decide its label, the end exclusive."""


@dataclass(frozen=True)
class Text:
    """A text to be judged on.

    Attributes:
        text: The text.
        label: Number of its gold class, negative if it is unknown.
        rationale: What decides the label, None if that is unknown.
    """

    text: str
    label: int = -1
    rationale: Spans | None = None


class Recorder:
    """Records the forwards of texts that have been read.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        target: The explained class: ``predicted``, ``gold``, or the name or number of one class.
        budget: What may go into one forward.

    Raises:
        InputError: If there is no such class.
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
        """Those that go together, longest first."""
        return chunks(sorted(readings, key=lambda reading: reading.index), len, self._budget)

    def record(self, readings: Sequence[Reading], needs: Needs) -> Trace:
        """Run the model on some texts, which know their labels and rationales.

        Args:
            readings: The texts.
            needs: What is recorded.

        Raises:
            InputError: If ``gold`` is explained, and a text has no label of the model's classes.
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
    """The scores of methods, and what each would have taken alone; under None, a plain forward."""
    scores: dict[str, Tensor] = {}
    seconds: dict[str | None, float] = {None: plain_seconds(trace.model, trace.inputs)}
    for name, method in methods.items():
        scores[name], seconds[name] = trace.timed(method)
    return scores, seconds


def gold_class(reading: Reading, model: PreTrainedModel) -> int:
    """The label of a text.

    Raises:
        InputError: If it is none of the model's classes.
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
    """Which of a text's own tokens belong to a unit that a rationale touches (t,)."""
    touched = {
        unit
        for unit, (start, end) in enumerate(reading.spans)
        if any(start < last and end > first for first, last in rationale)
    }
    return tuple(unit in touched for unit in reading.units)


def engines(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    operators: Sequence[Operator],
    precision: Precision | None = None,
) -> dict[Operator, Perturber]:
    """An engine for each operator, in their order.

    Raises:
        InputError: If there is no operator, or one cannot be used with the tokenizer.
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
