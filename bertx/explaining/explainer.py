"""Explaining texts in batches; a text that cannot be explained costs no other one its place."""

import logging
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.choices import ALL, PREDICTED, Methods, class_names, class_number, named, several
from bertx.classifier import logits_of, require_classifier
from bertx.errors import InputError
from bertx.explaining.explanation import Explanation, Explanations
from bertx.explaining.parts import Part, assemble, collate, target_of
from bertx.explaining.reading import Reader, Reading
from bertx.inputs import Merge, Unit
from bertx.packing import budget_for, by_halves, chunks, reason_of
from bertx.precision import wide
from bertx.scope import evaluating, isolated_rng
from bertx.trace import Needs, Trace

log = logging.getLogger("bertx")


def explain(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: str | Iterable[Any],
    methods: Methods | None = None,
    target: str | int = PREDICTED,
    unit: Unit = "word",
    merge: Merge = "sum",
    window: int | None = None,
    token_budget: int | None = None,
) -> Explanations:
    """Explain why a classifier decides as it does, word by word.

    The model may be on any device, in half precision and in training mode; it is explained without
    dropout and left as it was. No text is lost because of another one: what cannot be explained
    (no text, an overflow, too little memory) comes back as an explanation with its ``error``.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one.
        tokenizer: Its fast tokenizer.
        texts: One text or several.
        methods: One, several, or several by name; None for `DEFAULT_METHODS`.
        target: The explained class: ``predicted``, its name or number, or ``all``.
        unit: What is scored: ``word`` or ``token``. Languages that do not part words by spaces
            often need ``token``.
        merge: How the scores of a word's tokens become one: ``sum``, or ``max`` for unsigned
            methods; signed ones are always summed.
        window: Read texts of more tokens in windows of so many, special tokens included, that
            overlap by half. Each word takes its scores from the window in which it has most
            context, and probabilities are the mean over the windows. None: longer texts than the
            model takes are cut off between two words, with a warning.
        token_budget: Padded tokens that are explained at once. Default: 1024 on a CPU, else 8192.

    Returns:
        An explanation per text in the given order, also of a single text; for ``all`` C of them,
        one per class. A text without words has one without words.

    Raises:
        InputError: If a setting, the model or the tokenizer cannot be used.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    explainer = Explainer(model, tokenizer, methods, target, unit, merge, window, token_budget)
    return explainer(texts)


class Explainer:
    """`explain` with its settings checked once, for texts that come in portions.

    Args: See `explain`.

    Attributes:
        methods: The methods by name.
        signed: For each of them whether its scores have a sign.
        classes: The names of the C classes.

    Raises:
        InputError: See `explain`.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        methods: Methods | None = None,
        target: str | int = PREDICTED,
        unit: Unit = "word",
        merge: Merge = "sum",
        window: int | None = None,
        token_budget: int | None = None,
    ) -> None:
        found = require_classifier(model)
        if merge not in ("sum", "max"):
            raise InputError(f"merge {merge!r}: expected 'sum' or 'max'")
        if token_budget is not None and token_budget < 1:
            raise InputError(f"token_budget must be at least 1, got {token_budget}")
        self._model = found
        self._reader = Reader(tokenizer, found, unit, window)
        self.methods = named(methods, found)
        self.signed = {name: method.signed for name, method in self.methods.items()}
        self.classes = tuple(class_names(found))
        given = target in (PREDICTED, ALL)
        self._target = target if given else class_number(target, found, (PREDICTED, ALL))
        self._unit, self._merge = unit, merge
        self._budget = budget_for(found.device, token_budget, recorded=True)
        self._needs = Needs.of(*self.methods.values())

    def __call__(self, texts: str | Iterable[Any], first: int = 0) -> Explanations:
        """Explain texts, of which the first one has the number ``first``."""
        found: list[Reading | Explanation] = [
            self._read(first + i, text) for i, text in enumerate(several(texts))
        ]
        parts = {
            reading.index: [Part(reading, *place) for place in self._reader.windows(reading)]
            for reading in found
            if isinstance(reading, Reading)
        }
        with isolated_rng():
            self._fill(list(parts.values()))
        return Explanations(
            done
            for item in found
            for done in ([item] if isinstance(item, Explanation) else self._done(parts[item.index]))
        )

    def _read(self, index: int, text: Any) -> Reading | Explanation:
        try:
            reading = self._reader.read(index, text)
        except InputError as error:
            shown = text if isinstance(text, str) else repr(text)
            return Explanation(index, shown, error=str(error))
        if reading.left_out:
            log.warning(
                f"text {index}: the model takes {self._reader.longest} tokens, so the last "
                f"{reading.left_out} {self._unit}s are left out. To explain all: window=..."
            )
        return reading

    def _fill(self, texts: list[list[Part]]) -> None:
        """Give all parts of all texts their probabilities and scores, or an error."""
        unknown = [
            part
            for parts in texts
            for part in parts
            if not part.ranked or (len(parts) > 1 and self._target == PREDICTED)
        ]
        for chunk in chunks(unknown, attrgetter("length"), self._budget):
            self._try(chunk, scoring=False)
        for parts in texts:
            for part in parts:
                part.target = target_of(parts) if self._target == PREDICTED else self._fixed
        sound = [part for parts in texts if not any(p.error for p in parts) for part in parts]
        ranked = [part for part in sound if part.ranked]
        for chunk in chunks(ranked, attrgetter("length"), self._budget):
            self._try(chunk, scoring=True)

    @property
    def _fixed(self) -> int | None:
        return self._target if isinstance(self._target, int) else None

    def _try(self, chunk: list[Part], scoring: bool) -> None:
        """Run a chunk; parts that fail even alone keep the error."""
        by_halves(chunk, self._score if scoring else self._classify, self._fail)

    def _classify(self, chunk: list[Part]) -> None:
        inputs = collate(chunk, self._reader.tokenizer, self._model.device)
        with torch.inference_mode(), evaluating(self._model):
            logits = wide(logits_of(self._model, inputs.arguments(self._model)))
        for part, row in zip(chunk, logits, strict=True):
            part.take_logits(row, self._model.dtype)

    def _score(self, chunk: list[Part]) -> None:
        inputs = collate(chunk, self._reader.tokenizer, self._model.device)
        trace = Trace(self._model, inputs, None, self._needs)
        chosen = [
            int(best) if part.target is None else part.target
            for part, best in zip(chunk, trace.target, strict=True)
        ]
        trace = trace.towards(torch.tensor(chosen))
        for part, row, target in zip(chunk, wide(trace.logits), chosen, strict=True):
            part.take_logits(row, self._model.dtype)
            part.target = target
        for name, method in self.methods.items():
            found = method.every_class(trace) if self._target == ALL else method(trace)[:, None]
            for part, scores in zip(chunk, found.cpu(), strict=True):
                part.take_scores(name, scores)

    def _fail(self, part: Part, error: Exception) -> None:
        way_out = "Use shorter windows, or methods that need less."
        part.error = reason_of(error, part.length, self._model.device, way_out)

    def _done(self, parts: list[Part]) -> Iterator[Explanation]:
        targets = range(len(self.classes)) if self._target == ALL else [self._fixed]
        for place, target in enumerate(targets):
            yield assemble(parts, place, target, self.classes, self.signed, self._merge)
