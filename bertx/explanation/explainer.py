"""`bertx.explain`: texts in, words with scores out."""

import logging
from collections.abc import Iterable
from itertools import chain
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.attribution.choices import PREDICTED, Methods, several
from bertx.errors import InputError
from bertx.explanation.explanation import Explanations
from bertx.explanation.reader import Reader
from bertx.explanation.scoring import Scoring
from bertx.models.arguments import checked_arguments
from bertx.models.encode import Reading
from bertx.models.heads import Logits, classifier_for
from bertx.models.inputs import Merge, Unit, noun
from bertx.perturb import Precision
from bertx.progress import wanted

log = logging.getLogger("bertx")


def explain(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | str,
    texts: str | Iterable[Any],
    methods: Methods | None = None,
    target: str | int = PREDICTED,
    unit: Unit = "word",
    merge: Merge = "sum",
    window: int | None = None,
    token_budget: int | None = None,
    logits: Logits | None = None,
    progress: bool | None = None,
    precision: Precision | None = None,
) -> Explanations:
    """Explain why a classifier decides as it does, word by word.

    The model may be on any device, in half precision and in training mode; it is explained without
    dropout and left as it was. A text that cannot be explained (it is not a string, a computation
    overflows, memory is short) does not affect the others: it gets an explanation with an
    ``error``. Several threads may explain; they take turns. A thread that does anything else with
    the model at the same time must take its turn too: see `bertx.models.scope.alone`.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one. With ``logits``, an
            encoder. A module with ``encoder`` and ``head`` is used as it is if its forward takes
            the inputs of an encoder by keyword and returns the logits.
        tokenizer: Its fast tokenizer, or the name of a model with the same tokenizer.
        texts: One text or several.
        methods: One method, several, or several by name; None for `DEFAULT_METHODS`.
        target: The explained class: ``predicted``, its name or number, or ``all``.
        unit: What is scored: ``word``, the words of the tokenizer (``doesn't`` is three of them
            with BERT), ``whitespace``, words separated by white space, or ``token``, which suits
            languages without spaces between words.
        merge: How the scores of a word's tokens are merged: ``sum``, or ``max`` for unsigned
            methods; signed scores are always summed.
        window: Explain longer texts in windows of ``window`` tokens, special tokens included, that
            overlap by half. Each word takes its scores from the window in which it has most
            context, and probabilities are the mean over the windows. None: texts longer than the
            model's longest input are cut between two words, on the tokenizer's
            ``truncation_side``, with a warning.
        token_budget: Padded tokens in one batch. Default: 1024 on a CPU, else 8192.
        logits: For an encoder with a custom head: a function from a mapping of ``input_ids``,
            ``attention_mask`` and, if the encoder takes them, ``token_type_ids`` to the logits
            (B, C); see `bertx.models.heads.EncoderForSequenceClassification`.
        progress: Whether to show progress on standard error: a bar on a terminal, elsewhere a line
            every 30 s. None: on a terminal and in a notebook.
        precision: ``bf16`` for perturbed forwards in bfloat16, see `bertx.perturb.Perturber`; all
            other forwards and backwards keep the precision of the model.

    Returns:
        An explanation of each text, in order, also for a single text; with ``all`` one for each of
        the C classes. The explanation of a text without words has no words.

    Raises:
        InputError: If a setting, the model or the tokenizer cannot be used.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    explainer = Explainer(
        model, tokenizer, methods, target, unit, merge, window, token_budget, logits, precision
    )
    with wanted(progress):
        return explainer(texts)


class Explainer:
    """`explain` with its settings checked once, for texts that arrive in portions.

    Args: See `explain`.

    Attributes:
        methods: The methods by name.
        signed: For each method whether its scores have a sign.
        classes: The names of the C classes.

    Raises:
        InputError: See `explain`.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase | str,
        methods: Methods | None = None,
        target: str | int = PREDICTED,
        unit: Unit = "word",
        merge: Merge = "sum",
        window: int | None = None,
        token_budget: int | None = None,
        logits: Logits | None = None,
        precision: Precision | None = None,
    ) -> None:
        model, tokenizer = checked_arguments(model, tokenizer)
        classifier = classifier_for(model, logits)
        self._score = Scoring(
            classifier, tokenizer, methods, target, merge, token_budget, precision
        )
        self._reader = Reader(tokenizer, self._score.model, unit, window)
        self._unit = unit
        self.methods = self._score.methods
        self.signed = self._score.signed
        self.classes = self._score.classes

    def __call__(self, texts: str | Iterable[Any], first: int = 0) -> Explanations:
        """Explain texts that are numbered from ``first`` on."""
        readings = [self._read(first + i, text) for i, text in enumerate(several(texts))]
        return Explanations(chain.from_iterable(self._score(readings, self._reader)))

    def _read(self, index: int, text: Any) -> Reading:
        """Tokenize a text; a text that cannot be explained gets an error."""
        try:
            reading = self._reader.read(index, text)
        except InputError as error:
            shown = text if isinstance(text, str) else repr(text)
            return Reading(shown, (), (), (), (), (), None, index=index, error=str(error))
        if reading.left_out:
            log.warning(
                f"text {index}: the model reads at most {self._reader.longest} tokens, so it does "
                f"not see {self.cut_off(reading.left_out)}. Set a window to explain the whole text."
            )
        return reading

    def cut_off(self, count: int) -> str:
        """Describe the ``count`` units cut off from a long text, such as ``the last 3 words``."""
        end = "first" if self._reader.tokenizer.truncation_side == "left" else "last"
        return f"the {end} {noun(self._unit) if count == 1 else f'{count} {noun(self._unit)}s'}"
