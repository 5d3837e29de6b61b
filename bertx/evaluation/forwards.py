"""Texts to be judged on, and their recorded forwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import GOLD, PREDICTED
from bertx.errors import InputError
from bertx.metrics import Panel
from bertx.models.classifier import class_number
from bertx.models.encode import Reading, inputs_of
from bertx.perturb import Operator, Perturber, Precision
from bertx.perturb.packing import Budget, chunks
from bertx.trace import Trace
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


@dataclass(frozen=True)
class Recorded:
    """B texts with their forward.

    Attributes:
        numbers: Which of all texts they are.
        trace: The forward, towards the explained classes.
        labels: Gold classes (B,), negative where unknown.
        rationale: Which tokens decide the label (B, T); None if no text says so.
    """

    numbers: list[int]
    trace: Trace
    labels: Tensor
    rationale: Tensor | None

    def panel(self, engine: Perturber) -> Panel:
        """The texts before an engine, with what is known about them."""
        return Panel(engine, self.trace, self.labels, self.rationale)


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
        return chunks(readings, _length, self._budget)

    def record(self, chunk: Sequence[Reading], texts: Mapping[int, Text], needs: Needs) -> Recorded:
        """Run the model on some texts.

        Args:
            chunk: What was read of them.
            texts: All texts, by the index of what was read of them.
            needs: What is recorded.
        """
        inputs = inputs_of(chunk, self._tokenizer, self.model.device)
        chosen = [texts[reading.index] for reading in chunk]
        labels = torch.tensor([text.label for text in chosen], device=self.model.device)
        any_marked = any(text.rationale is not None for text in texts.values())
        return Recorded(
            [reading.index for reading in chunk],
            Trace(self.model, inputs, self._target(labels), needs),
            labels,
            _marked(chunk, chosen, inputs.units) if any_marked else None,
        )

    def _target(self, labels: Tensor) -> Tensor | None:
        if self._fixed is not None:
            return torch.full_like(labels, self._fixed)
        return labels if self._gold else None


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


def _marked(chunk: Sequence[Reading], texts: Sequence[Text], units: Tensor) -> Tensor:
    """Which tokens belong to a unit that a rationale touches (B, T)."""
    marked = torch.zeros_like(units, dtype=torch.bool)
    for row, (reading, text) in enumerate(zip(chunk, texts, strict=True)):
        for unit, (start, end) in enumerate(reading.spans):
            if any(start < last and end > first for first, last in text.rationale or ()):
                marked[row] |= units[row] == unit
    return marked


def _length(reading: Reading) -> int:
    return len(reading.ids) + reading.specials
