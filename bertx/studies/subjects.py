"""What a study is about: a trained model with its texts, loaded when it is needed."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any, Literal

import pyarrow as pa
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bertx.attribution.choices import ALL, GOLD, PREDICTED
from bertx.errors import InputError
from bertx.evaluation import Recorder, Text
from bertx.explanation.provenance import fingerprint, rules
from bertx.explanation.reading import Reader
from bertx.models.classifier import class_names, require_classifier
from bertx.models.encode import Reading
from bertx.models.words import normal
from bertx.perturb.packing import budget_for
from bertx.studies.settings import LAST, Settings

log = logging.getLogger("bertx")

Shared = Literal["classes", "tokenizer", "data"]
"""What runs may have to have in common."""

_NOUNS: dict[Shared, str] = {"classes": "classes", "tokenizer": "tokenizer", "data": "texts"}

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
Load = Callable[[], tuple[nn.Module, PreTrainedTokenizerBase]]


@dataclass(frozen=True)
class Source:
    """Where a subject comes from.

    Attributes:
        name: What it is called, unlike any other one.
        model: The path or name of its model.
        dataset: The data set of its texts.
        split: The split.
        load: Loads model and tokenizer.
        max_length: Longest text in tokens that the model was trained with; None if unknown.
        training: All settings of the run that trained it; None if unknown.
    """

    name: str
    model: str
    dataset: str
    split: str
    load: Load
    max_length: int | None = None
    training: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Subject:
    """A trained model and N texts, in an order that stays.

    Attributes:
        source: Where it comes from.
        classes: Names of its C classes.
        texts: The texts with their gold labels (N,).
        readings: The same as its model reads them, each with its number as ``index`` (N,).
        units: What the units of each text are called, those of one spelling alike (N,).
        weights: Tells its weights from others.
        tokenizer: Tells what its tokenizer does from what others do.
        longest: Longest text in tokens; None for what the model takes.
        short: How many texts were left out because they are short.
        cut: How many texts are cut off where the model ends.
    """

    source: Source
    classes: tuple[str, ...]
    texts: tuple[Text, ...]
    readings: tuple[Reading, ...]
    units: tuple[tuple[str, ...], ...]
    weights: str
    tokenizer: str
    longest: int | None
    short: int
    cut: int

    @property
    def name(self) -> str:
        """What it is called."""
        return self.source.name

    @cached_property
    def data(self) -> str:
        """Tells its texts and labels from others."""
        rows = json.dumps([[text.text, text.label] for text in self.texts]).encode()
        return hashlib.sha256(rows).hexdigest()[:12]

    def open(self) -> Loaded:
        """Load the model and its tokenizer, which then cuts texts as `readings` are cut."""
        model, tokenizer = self.source.load()
        _limit(tokenizer, self.longest)
        return require_classifier(model), tokenizer

    def recorder(self, target: str) -> tuple[Recorder, PreTrainedTokenizerBase]:
        """What runs the model on texts, towards a target of `Settings`; and the tokenizer."""
        model, tokenizer = self.open()
        target_class = target if target == GOLD else self.target(target)
        budget = budget_for(model.device, recorded=True)
        return Recorder(model, tokenizer, target_class, budget), tokenizer

    def target(self, target: str) -> str | int:
        """The explained class as `bertx.explain` takes it; each text has its own for ``gold``."""
        targets: dict[str, str | int] = {LAST: len(self.classes) - 1, GOLD: PREDICTED}
        return targets.get(target, target)

    def named(self, table: pa.Table) -> pa.Table:
        """A table of values, with the name of the run before them."""
        return table.add_column(0, "run", pa.array([self.name] * len(table)))

    def described(self) -> dict[str, Any]:
        """What decides the results, as JSON can say it."""
        return {
            "weights": self.weights,
            "texts": self.data,
            "tokenizer": self.tokenizer,
            "classes": list(self.classes),
            "split": self.source.split,
            "longest": self.longest,
        }


def read_subject(
    source: Source, loaded: Loaded, texts: Sequence[Text], settings: Settings
) -> Subject:
    """Choose the texts of a subject and read them.

    Args:
        source: Where it comes from.
        loaded: Its model and tokenizer, which are not kept.
        texts: All texts of the split.
        settings: Which of them are used, and what a unit is.

    Raises:
        InputError: If none is left.
    """
    model, tokenizer = loaded
    longest = settings.max_length or source.max_length
    _limit(tokenizer, longest)
    reader = Reader(tokenizer, model, settings.unit, None, settings.cut)
    chosen = _chosen(texts, settings)
    read = [reader.read(number, one.text, one.label) for number, one in enumerate(chosen)]
    kept = [number for number, one in enumerate(read) if len(one.spans) >= settings.shortest]
    if not kept:
        raise InputError(
            f"{source.name}: expected texts of at least {settings.shortest} units (shortest), but "
            f"none of {len(read)} is so long. Lower it, or use other texts."
        )
    readings = tuple(replace(read[number], index=place) for place, number in enumerate(kept))
    cut = sum(bool(one.left_out) for one in readings)
    if cut:
        log.info(f"{source.name}: {cut} of {len(readings)} texts are cut off at {reader.longest}")
    return Subject(
        source=source,
        classes=tuple(class_names(model)),
        texts=tuple(chosen[number] for number in kept),
        readings=readings,
        units=tuple(_names(one, tokenizer, settings) for one in readings),
        weights=fingerprint(model),
        tokenizer=rules(tokenizer),
        longest=longest,
        short=len(read) - len(kept),
        cut=cut,
    )


def check_alike(subjects: Sequence[Subject], study: str, *fields: Shared) -> None:
    """Refuse subjects that cannot be compared.

    Args:
        subjects: The subjects.
        study: The study, for messages.
        *fields: What has to be the same.

    Raises:
        InputError: If two differ; both are named.
    """
    first = subjects[0]
    for field in fields:
        for other in subjects[1:]:
            if getattr(first, field) != getattr(other, field):
                raise InputError(
                    f"{study} needs runs with the same {_NOUNS[field]}, but {first.name} has "
                    f"{_said(first, field)}, and {other.name} has {_said(other, field)}. Leave one "
                    "of them out."
                )


def _said(subject: Subject, field: Shared) -> str:
    if field == "classes":
        return ", ".join(subject.classes)
    if field == "tokenizer":
        return f"one of the rules {subject.tokenizer}"
    source = subject.source
    return f"{len(subject.texts)} texts of {source.dataset}, {source.split} ({subject.data})"


def check_several(subjects: Sequence[Subject], study: str, least: int = 2) -> None:
    """Refuse too few subjects, and a model that is there twice.

    Raises:
        InputError: If there are fewer than ``least``, or two have the same weights and texts.
    """
    if len(subjects) < least:
        raise InputError(f"{study}: expected {least} runs or more to compare, got {len(subjects)}")
    seen: dict[tuple[str, str], str] = {}
    for one in subjects:
        before = seen.setdefault((one.weights, one.data), one.name)
        if before != one.name:
            raise InputError(
                f"{study}: {before} and {one.name} are the same model on the same texts (weights "
                f"{one.weights}). Give runs that differ."
            )


def check_one_class(settings: Settings, study: str) -> None:
    """Raise `InputError` if all classes of a text are to be explained."""
    if settings.target == ALL:
        raise InputError(
            f"target {ALL}: {study} explains one class of each text. Expected {PREDICTED}, {GOLD} "
            f"or {LAST}."
        )


def reading_for(subject: Subject, number: int, target: str) -> Reading:
    """A text of a subject with the class that is to be explained, if the text decides it."""
    reading = subject.readings[number]
    gold = target == GOLD and reading.label >= 0
    return replace(reading, target=reading.label) if gold else reading


def _chosen(texts: Sequence[Text], settings: Settings) -> list[Text]:
    if settings.texts is None or settings.texts >= len(texts):
        return list(texts)
    if not settings.drawn:
        return list(texts[: settings.texts])
    drawn = Random(settings.seed).sample(range(len(texts)), settings.texts)
    return [texts[row] for row in sorted(drawn)]


def _limit(tokenizer: PreTrainedTokenizerBase, longest: int | None) -> None:
    if longest is not None:
        tokenizer.model_max_length = min(longest, tokenizer.model_max_length)


def _names(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, settings: Settings
) -> tuple[str, ...]:
    """What the units are called: tokens as the vocabulary has them, words in one spelling."""
    if settings.unit == "token":
        ids = [i for i, unit in zip(reading.ids, reading.units, strict=True) if unit >= 0]
        return tuple(tokenizer.convert_ids_to_tokens(ids))
    return tuple(normal(reading.text[start:stop]) for start, stop in reading.spans)
