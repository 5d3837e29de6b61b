"""The subjects of a study: trained models with their texts; models are loaded when needed."""

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
from bertx.explanation.provenance import fingerprint, tokenizer_fingerprint
from bertx.explanation.reader import Reader
from bertx.models.classifier import class_names, require_classifier
from bertx.models.encode import Reading
from bertx.models.words import normal
from bertx.perturb.packing import budget_for
from bertx.studies.settings import LAST, Settings

log = logging.getLogger("bertx")

Shared = Literal["classes", "tokenizer", "data"]
"""A property that a study may require all runs to share."""

_NOUNS: dict[Shared, str] = {"classes": "classes", "tokenizer": "tokenizer", "data": "texts"}

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
Load = Callable[[], tuple[nn.Module, PreTrainedTokenizerBase]]


@dataclass(frozen=True)
class Source:
    """Where a subject comes from.

    Attributes:
        name: The subject's name, unique within the study.
        model: The path or name of its model.
        dataset: The data set of its texts.
        split: The split.
        load: Loads the model and the tokenizer.
        max_length: The longest text in tokens that the model was trained with; None if unknown.
        training: All settings of the run that trained the model; None if unknown.
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
    """A trained model and N texts in a fixed order.

    Attributes:
        source: Where the model and the texts come from.
        classes: The names of the C classes.
        texts: The texts with their gold labels (N,).
        readings: The tokenized texts, each with its number as ``index`` (N,).
        units: The names of the units of each text, equal for equal words (N,).
        weights: A checksum of the weights.
        tokenizer: A checksum of the tokenizer's rules.
        longest: The longest text in tokens; None for the most that the model accepts.
        short: The number of texts left out for being too short.
        cut: The number of texts cut off at ``longest``.
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
        """The subject's name."""
        return self.source.name

    @cached_property
    def data(self) -> str:
        """A checksum of the texts and labels."""
        rows = json.dumps([[text.text, text.label] for text in self.texts]).encode()
        return hashlib.sha256(rows).hexdigest()[:12]

    def open(self) -> Loaded:
        """Load the model and its tokenizer, limited to texts of ``longest`` tokens."""
        model, tokenizer = self.source.load()
        _limit(tokenizer, self.longest)
        return require_classifier(model), tokenizer

    def recorder(self, target: str) -> tuple[Recorder, PreTrainedTokenizerBase]:
        """Load a recorder of the model for a target of `Settings`, and the tokenizer."""
        model, tokenizer = self.open()
        target_class = target if target == GOLD else self.target(target)
        budget = budget_for(model.device, recorded=True)
        return Recorder(model, tokenizer, target_class, budget), tokenizer

    def target(self, target: str) -> str | int:
        """Return the explained class as `bertx.explain` takes it (`reading_for` sets ``gold``)."""
        targets: dict[str, str | int] = {LAST: len(self.classes) - 1, GOLD: PREDICTED}
        return targets.get(target, target)

    def named(self, table: pa.Table) -> pa.Table:
        """Return a table with the name of the run as its first column."""
        return table.add_column(0, "run", pa.array([self.name] * len(table)))

    def described(self) -> dict[str, Any]:
        """Return everything that results depend on, as JSON values."""
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
    """Choose and tokenize the texts of a subject.

    Args:
        source: Where the subject comes from.
        loaded: Its model and tokenizer, which the subject does not hold on to.
        texts: All texts of the split.
        settings: Which texts are used, and what a unit is.

    Raises:
        InputError: If all texts are too short.
    """
    model, tokenizer = loaded
    longest = settings.max_length or source.max_length
    _limit(tokenizer, longest)
    reader = Reader(tokenizer, model, settings.unit, None, settings.cut)
    chosen = _chosen(texts, settings)
    read = [reader.read(number, each.text, each.label) for number, each in enumerate(chosen)]
    kept = [number for number, each in enumerate(read) if len(each.spans) >= settings.shortest]
    if not kept:
        raise InputError(
            f"{source.name}: expected texts of at least {settings.shortest} units (shortest), but "
            f"all {len(read)} texts are shorter. Lower it, or use other texts."
        )
    readings = tuple(replace(read[number], index=index) for index, number in enumerate(kept))
    if cut := sum(bool(each.left_out) for each in readings):
        total, limit = len(readings), reader.longest
        log.warning(f"{source.name}: {cut} of {total} texts are cut to {limit} tokens")
    return Subject(
        source=source,
        classes=tuple(class_names(model)),
        texts=tuple(chosen[number] for number in kept),
        readings=readings,
        units=tuple(_names(each, tokenizer, settings) for each in readings),
        weights=fingerprint(model),
        tokenizer=tokenizer_fingerprint(tokenizer),
        longest=longest,
        short=len(read) - len(kept),
        cut=cut,
    )


def check_alike(subjects: Sequence[Subject], study: str, *fields: Shared) -> None:
    """Check that subjects share what a study compares.

    Args:
        subjects: The subjects.
        study: The name of the study, for the error.
        *fields: What has to be the same for all subjects.

    Raises:
        InputError: If two subjects differ; both are named.
    """
    first = subjects[0]
    for field in fields:
        for other in subjects[1:]:
            if getattr(first, field) != getattr(other, field):
                raise InputError(
                    f"{study} needs runs with the same {_NOUNS[field]}, but {first.name} has "
                    f"{_shared(first, field)}, and {other.name} has {_shared(other, field)}. Leave "
                    "one of them out."
                )


def _shared(subject: Subject, field: Shared) -> str:
    if field == "classes":
        return ", ".join(subject.classes)
    if field == "tokenizer":
        return f"a tokenizer with the checksum {subject.tokenizer}"
    source = subject.source
    return f"{len(subject.texts)} texts of {source.dataset}, {source.split} ({subject.data})"


def check_several(subjects: Sequence[Subject], study: str, least: int = 2) -> None:
    """Check that there are enough subjects, all different.

    Raises:
        InputError: If there are fewer than ``least``, or two have the same weights and texts.
    """
    if len(subjects) < least:
        raise InputError(f"{study}: expected {least} runs or more to compare, got {len(subjects)}")
    seen: dict[tuple[str, str], str] = {}
    for subject in subjects:
        other = seen.setdefault((subject.weights, subject.data), subject.name)
        if other != subject.name:
            raise InputError(
                f"{study}: {other} and {subject.name} are the same model on the same texts "
                f"(weights {subject.weights}). Give runs that differ."
            )


def check_one_class(settings: Settings, study: str) -> None:
    """Raise `InputError` if the target is all classes."""
    if settings.target == ALL:
        raise InputError(
            f"target {ALL}: {study} explains one class of each text. Expected {PREDICTED}, {GOLD} "
            f"or {LAST}."
        )


def reading_for(subject: Subject, number: int, target: str) -> Reading:
    """Return a tokenized text, with its gold class as the target for ``gold``."""
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
    """Return the names of the units: tokens as in the vocabulary, words normalized."""
    if settings.unit == "token":
        ids = [i for i, unit in zip(reading.ids, reading.units, strict=True) if unit >= 0]
        return tuple(tokenizer.convert_ids_to_tokens(ids))
    return tuple(normal(reading.text[start:stop]) for start, stop in reading.spans)
