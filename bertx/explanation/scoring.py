"""Predictions and scores of tokenized texts by several methods."""

from collections.abc import Callable, Sequence
from operator import attrgetter

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.attribution.choices import ALL, PREDICTED, Methods, named
from bertx.attribution.perturbation import in_precision
from bertx.errors import InputError, check_positive
from bertx.explanation.explanation import Explanation
from bertx.explanation.parts import Part, assemble, predicted_of
from bertx.explanation.reader import Reader
from bertx.models.classifier import class_names, class_number, logits_of, require_classifier
from bertx.models.encode import Reading, inputs_of
from bertx.models.inputs import Merge
from bertx.models.scope import evaluating, isolated_rng
from bertx.perturb import Precision
from bertx.perturb.engine import check_precision
from bertx.perturb.packing import budget_for, by_halves, chunks, reason_of
from bertx.progress import progress
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class Scoring:
    """Explains tokenized texts in batches; a text that fails does not affect the others.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one.
        tokenizer: The tokenizer of the texts; it needs a padding token.
        methods: One method, several, or several by name; None for `DEFAULT_METHODS`.
        target: The explained class: ``predicted``, its name or number, or ``all``.
        merge: How the token scores of an unsigned method are merged to word scores.
        token_budget: Padded tokens in one batch. Default: 1024 on a CPU, else 8192.
        precision: Precision of perturbed forwards; None for the precision of the model.

    Attributes:
        model: The classifier.
        methods: The methods by name.
        signed: For each method whether its scores have a sign.
        classes: The names of the C classes.

    Raises:
        InputError: If a setting or the model cannot be used.
        UnsupportedArchitecture: If a method is not defined for the model.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        methods: Methods | None = None,
        target: str | int = PREDICTED,
        merge: Merge = "sum",
        token_budget: int | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.model = require_classifier(model)
        check_precision(precision, self.model.device)
        if merge not in ("sum", "max"):
            raise InputError(f"merge {merge!r}: expected 'sum' or 'max'")
        check_positive(token_budget=token_budget)
        self.methods = in_precision(named(methods, self.model), precision)
        self.signed = {name: method.signed for name, method in self.methods.items()}
        self.classes = tuple(class_names(self.model))
        self._all = target == ALL
        self._fixed = (
            None
            if target in (PREDICTED, ALL)
            else class_number(target, self.model, (PREDICTED, ALL))
        )
        self._tokenizer, self._merge = tokenizer, merge
        self._budget = budget_for(self.model.device, token_budget, recorded=True)
        self._needs = Needs.of(*self.methods.values())

    def __call__(
        self, readings: Sequence[Reading], reader: Reader | None = None
    ) -> list[list[Explanation]]:
        """Explain texts.

        Args:
            readings: The texts. A text with an error is passed over: its explanation has the error.
            reader: Cuts long texts into windows; None if each text fits into the model.

        Returns:
            For each text its explanations: one, or one for each of the C classes.
        """
        texts = [_parts(reading, reader) for reading in readings]
        self._fill([parts for parts in texts if parts])
        return list(map(self._explanations, readings, texts))

    def _fill(self, texts: Sequence[Sequence[Part]]) -> None:
        """Give all parts of all texts their logits and scores, or an error."""
        # Parts without units are never scored. A text of several parts has its predicted class
        # only with the logits of all of them.
        unscored = [
            part
            for parts in texts
            for part in parts
            if not part.ranked
            or (len(parts) > 1 and self._target(part.reading) is None and not self._all)
        ]
        for chunk in chunks(unscored, attrgetter("length"), self._budget):
            self._try(self._classify, chunk)
        ranked = []
        for parts in texts:
            predicted = None if self._all else predicted_of(parts)
            fixed = self._target(parts[0].reading)
            for part in parts:
                part.target = predicted if fixed is None else fixed
            if not any(part.error for part in parts):
                ranked += [part for part in parts if part.ranked]
        with progress("Explaining texts", len(ranked)) as advance:
            for chunk in chunks(ranked, attrgetter("length"), self._budget):
                self._try(self._score, chunk)
                advance(len(chunk))

    def _target(self, reading: Reading) -> int | None:
        """The explained class; None for the predicted one and for all."""
        return self._fixed if reading.target is None else reading.target

    def _try(self, run: Callable[[list[Part]], None], chunk: list[Part]) -> None:
        """Run a chunk; a part that fails even alone gets the error."""
        with isolated_rng():
            by_halves(chunk, run, self._fail)

    def _classify(self, chunk: list[Part]) -> None:
        inputs = inputs_of([part.window for part in chunk], self._tokenizer, self.model.device)
        with torch.inference_mode(), evaluating(self.model):
            logits = wide(logits_of(self.model, inputs.arguments(self.model)))
        for part, row in zip(chunk, logits, strict=True):
            part.take_logits(row, self.model.dtype)

    def _score(self, chunk: list[Part]) -> None:
        inputs = inputs_of([part.window for part in chunk], self._tokenizer, self.model.device)
        trace = Trace(self.model, inputs, None, self._needs)
        chosen = [
            int(best) if part.target is None else part.target
            for part, best in zip(chunk, trace.target.tolist(), strict=True)
        ]
        trace = trace.towards(torch.tensor(chosen))
        for part, row, target in zip(chunk, wide(trace.logits).cpu(), chosen, strict=True):
            part.take_logits(row, self.model.dtype)
            part.target = target
        for name, method in self.methods.items():
            scored = method.every_class(trace) if self._all else method(trace)[:, None]
            for part, scores in zip(chunk, scored.cpu(), strict=True):
                part.take_scores(name, scores)

    def _fail(self, part: Part, error: Exception) -> None:
        way_out = "Use a shorter window, or methods that need less memory."
        part.error = reason_of(error, part.length, self.model.device, way_out)

    def _explanations(self, reading: Reading, parts: Sequence[Part]) -> list[Explanation]:
        if reading.error is not None:
            return [Explanation(reading.index, reading.text, error=reading.error)]
        targets = range(len(self.classes)) if self._all else [self._target(reading)]
        return assemble(parts, targets, self.classes, self.signed, self._merge)


def _parts(reading: Reading, reader: Reader | None) -> list[Part]:
    """The windows of a text: one of all its tokens without a reader, none with an error."""
    if reading.error is not None:
        return []
    places = [(0, len(reading.ids))] if reader is None else reader.windows(reading)
    return [Part(reading, *place) for place in places]
