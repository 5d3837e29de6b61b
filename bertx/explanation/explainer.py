"""Explaining texts in batches; a text that cannot be explained costs no other one its place."""

import logging
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from bertx.attribution.choices import PREDICTED, Methods, several
from bertx.errors import InputError
from bertx.explanation.explanation import Explanation, Explanations
from bertx.explanation.parts import parts_of
from bertx.explanation.reading import Reader
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
    dropout and left as it was. No text is lost because of another one: what cannot be explained
    (no text, an overflow, too little memory) comes back as an explanation with its ``error``.
    Several threads may explain; they take turns. One that does anything else with the model at the
    same time must take its turn too: see `bertx.models.scope.alone`.

    Args:
        model: A Hugging Face sequence classifier, or a module that holds one. With ``logits``, an
            encoder. A module with ``encoder``, ``head`` and a forward that takes by keyword what
            an encoder does, and gives the logits, is taken as it is.
        tokenizer: Its fast tokenizer, or the name of a model that has the same.
        texts: One text or several.
        methods: One, several, or several by name; None for `DEFAULT_METHODS`.
        target: The explained class: ``predicted``, its name or number, or ``all``.
        unit: What is scored: ``word``, as the tokenizer parts them (``doesn't`` is three, with
            BERT), ``whitespace``, words as white space parts them, or ``token``, which languages
            without spaces between words often need.
        merge: How the scores of a word's tokens become one: ``sum``, or ``max`` for unsigned
            methods; signed ones are always summed.
        window: Read texts of more tokens in windows of so many, special tokens included, that
            overlap by half. Each word takes its scores from the window in which it has most
            context, and probabilities are the mean over the windows. None: longer texts than the
            model takes are cut between two words, on the tokenizer's ``truncation_side``, with a
            warning.
        token_budget: Padded tokens that are explained at once. Default: 1024 on a CPU, else 8192.
        logits: For an encoder with a head of your own: from a mapping of ``input_ids``,
            ``attention_mask`` and, where the encoder takes them, ``token_type_ids`` to the logits
            (B, C); see `bertx.models.heads.EncoderForSequenceClassification`.
        progress: Whether to show how far it is, on standard error: a bar on a terminal, elsewhere
            a line every 30 s. None: on a terminal and in a notebook.
        precision: ``bf16`` for methods that ask about perturbed texts to do so in bfloat16, see
            `bertx.perturb.Perturber`; all others stay as they are.

    Returns:
        An explanation per text in the given order, also of a single text; for ``all`` C of them,
        one per class. A text without words has one without words.

    Raises:
        InputError: If a setting, the model or the tokenizer cannot be used.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    settings = (methods, target, unit, merge, window, token_budget, logits, precision)
    explainer = Explainer(model, tokenizer, *settings)
    with wanted(progress):
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
        """Explain texts, of which the first one has the number ``first``."""
        items = [self._read(first + i, text) for i, text in enumerate(several(texts))]
        readings = [item for item in items if isinstance(item, Reading)]
        scored = iter(self._score([parts_of(one, self._reader.windows(one)) for one in readings]))
        return Explanations(
            done
            for item in items
            for done in ([item] if isinstance(item, Explanation) else next(scored))
        )

    def _read(self, index: int, text: Any) -> Reading | Explanation:
        try:
            reading = self._reader.read(index, text)
        except InputError as error:
            shown = text if isinstance(text, str) else repr(text)
            return Explanation(index, shown, error=str(error))
        if reading.left_out:
            log.warning(
                f"text {index}: the model takes {self._reader.longest} tokens, so it does not see "
                f"{self.cut_off(reading.left_out)}. Give a window to explain all."
            )
        return reading

    def cut_off(self, count: int) -> str:
        """Which ``count`` units of a long text are cut off, such as ``the last 3 words``."""
        end = "first" if self._reader.tokenizer.truncation_side == "left" else "last"
        return f"the {end} {noun(self._unit) if count == 1 else f'{count} {noun(self._unit)}s'}"
