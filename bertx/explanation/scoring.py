"""What is made of texts that have been read: their classes, and scores of all methods."""

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.attribution.choices import ALL, PREDICTED, Methods, named
from bertx.attribution.perturbation import in_precision
from bertx.errors import InputError
from bertx.explanation.explanation import Explanation
from bertx.explanation.parts import Part, assemble, predicted_of
from bertx.models.classifier import class_names, class_number, logits_of, require_classifier
from bertx.models.encode import inputs_of
from bertx.models.inputs import Merge
from bertx.models.scope import evaluating, isolated_rng
from bertx.perturb import Precision
from bertx.perturb.engine import check_precision
from bertx.perturb.packing import budget_for, by_halves, chunks, reason_of
from bertx.progress import progress
from bertx.trace import Needs, Trace
from bertx.trace.rules import wide


class Scoring:
    """Explains texts that are cut into parts; one that fails costs no other one its scores.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one.
        tokenizer: The tokenizer that made the ids; it needs a padding token.
        methods: One, several, or several by name; None for `DEFAULT_METHODS`.
        target: The explained class: ``predicted``, its name or number, or ``all``.
        merge: How the scores of an unsigned method's tokens become one for each unit.
        token_budget: Padded tokens that are explained at once. Default: what is fast.
        precision: That of perturbed forwards; None for the model's.

    Attributes:
        model: The classifier.
        methods: The methods by name.
        signed: For each of them whether its scores have a sign.
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
        if token_budget is not None and token_budget < 1:
            raise InputError(f"token_budget must be at least 1, got {token_budget}")
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

    def __call__(self, texts: Sequence[Sequence[Part]]) -> list[list[Explanation]]:
        """Explain texts.

        Args:
            texts: The parts of each text, at least one.

        Returns:
            For each text its explanations: one, or one for each of the C classes.
        """
        self._fill(texts)
        return [self._done(parts) for parts in texts]

    def _fill(self, texts: Sequence[Sequence[Part]]) -> None:
        """Give all parts of all texts their probabilities and scores, or an error."""
        everything = [(parts, part) for parts in texts for part in parts]
        unknown = [
            part
            for parts, part in everything
            if not part.ranked or (len(parts) > 1 and self._target(part) is None and not self._all)
        ]
        for chunk in chunks(unknown, attrgetter("length"), self._budget):
            self._try(chunk, scoring=False)
        for parts in texts:
            predicted = None if self._all else predicted_of(parts)
            for part in parts:
                fixed = self._target(part)
                part.target = predicted if fixed is None else fixed
        sound = [part for parts in texts if not any(p.error for p in parts) for part in parts]
        ranked = [part for part in sound if part.ranked]
        with progress("Explaining texts", len(ranked)) as advance:
            for chunk in chunks(ranked, attrgetter("length"), self._budget):
                self._try(chunk, scoring=True)
                advance(len(chunk))

    def _target(self, part: Part) -> int | None:
        """The class that was asked for, None for the predicted one and for all."""
        return self._fixed if part.reading.target is None else part.reading.target

    def _try(self, chunk: list[Part], scoring: bool) -> None:
        """Run a chunk; parts that fail even alone keep the error."""
        with isolated_rng():
            by_halves(chunk, self._score if scoring else self._classify, self._fail)

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
        way_out = "Use a shorter window, or methods that need less."
        part.error = reason_of(error, part.length, self.model.device, way_out)

    def _done(self, parts: Sequence[Part]) -> list[Explanation]:
        targets = range(len(self.classes)) if self._all else [self._target(parts[0])]
        return assemble(parts, targets, self.classes, self.signed, self._merge)
