"""Scores of units, explained once and kept in parts that are whole, and mean scores of words."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bertx import __version__
from bertx.attribution.choices import ALL, GOLD
from bertx.errors import InputError
from bertx.explanation import Explanation
from bertx.explanation.parts import parts_of
from bertx.explanation.scoring import Scoring
from bertx.statistics.words import Scale, WordSums, common_words, scaled, text_draws, word_sums
from bertx.studies.findings import Measured
from bertx.studies.settings import LAST, Settings
from bertx.studies.store import Parts, Store, portions, write_json
from bertx.studies.subjects import Subject, reading_for

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class UnitScores:
    """Scores of all units of N texts, one text after the other.

    Attributes:
        texts: The numbers of the texts of the subject that were explained (N,).
        starts: Where the units of each text begin, and where the last one ends (N + 1,).
        units: What the units are called (U,).
        scores: For each method (K, U): of all K = C classes, or of the explained one, K = 1.
        probabilities: What the model says (N, C).
        predicted: The predicted class (N,).
        labels: The gold class, negative if unknown (N,).
        failed: How many texts could not be explained.
    """

    texts: Integers
    starts: Integers
    units: tuple[str, ...]
    scores: Mapping[str, Floats]
    probabilities: Floats
    predicted: Integers
    labels: Integers
    failed: int

    @property
    def measured(self) -> Measured:
        """Number of texts, and the accuracy on those with a label; NaN without any."""
        labelled = self.labels >= 0
        right = (self.predicted == self.labels)[labelled]
        accuracy = float(right.mean()) if labelled.any() else np.nan
        return Measured(len(self.texts), accuracy, self.failed)

    @property
    def numbers(self) -> Integers:
        """The number of the text of each unit among those of the subject (U,)."""
        return np.repeat(self.texts, np.diff(self.starts))

    def of_class(self, classes: Integers) -> "UnitScores":
        """The scores of one class of each text (N,), out of those of all."""
        chosen = np.repeat(classes, np.diff(self.starts))
        places = np.arange(len(self.units))
        scores = {name: each[chosen, places][None] for name, each in self.scores.items()}
        return replace(self, scores=scores)


def explained(
    subject: Subject, settings: Settings, target: str, parts: Parts, place: str = ""
) -> UnitScores:
    """Explain the texts of a subject; what is there is read.

    Scores of all classes hold those of any one: where they are there, and the others are not
    begun, they serve.

    Args:
        subject: The subject.
        settings: The methods, and how texts are read.
        target: The explained class, in the words of `Settings.target`.
        parts: Where the scores are kept.
        place: Which of several subjects it is, for the display, such as ``1 of 3``.

    Raises:
        InputError: If no text can be explained.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    single, every = (_Shelf(subject, settings, name, parts) for name in (target, ALL))
    if single.begun or not every.complete:
        return _scores(subject, settings, single.filled(place))
    scores = _scores(subject, settings, every.filled(place))
    return scores.of_class(_classes(scores, target))


def all_explained(
    subjects: Sequence[Subject], settings: Settings, store: Store
) -> list[UnitScores]:
    """Explain the texts of all subjects, each by its own model; see `explained`."""
    return [
        explained(one, settings, settings.target, store.scores, f"{number} of {len(subjects)}")
        for number, one in enumerate(subjects, 1)
    ]


class _Shelf:
    """The parts of one subject's scores for one target.

    Their folder has a name that tells scores that were made in different ways from each other.
    """

    def __init__(self, subject: Subject, settings: Settings, target: str, parts: Parts) -> None:
        self._subject, self._settings, self._target = subject, settings, target
        self._parts = parts
        self._description = {
            "version": __version__,
            **subject.described(),
            "target": target,
            "unit": settings.unit,
            "cut": settings.cut,
            "methods": settings.described()["methods"],
        }
        source = json.dumps(self._description, sort_keys=True).encode()
        self._folder = hashlib.sha256(source).hexdigest()[:16]
        there = [parts.has(name) for name in portions(self._folder, len(subject.texts))]
        self.begun, self.complete = any(there), all(there)

    def filled(self, place: str) -> pa.Table:
        """A row for each text; those that are missing are explained."""
        if not self.complete:
            write_json(self._parts.folder / self._folder / "made.json", self._description)
        where = f"{self._subject.name} ({place})" if place else self._subject.name
        what, count = f"Explaining the texts of {where}", len(self._subject.texts)
        scoring = cache(self._scoring)  # loads the model when it is needed
        return self._parts.filled(
            what, self._folder, count, lambda numbers: self._explain(scoring(), numbers)
        )

    def _scoring(self) -> Scoring:
        model, tokenizer = self._subject.open()
        target = self._subject.target(self._target)
        return Scoring(model, tokenizer, self._settings.methods, target)

    def _explain(self, scoring: Scoring, numbers: Sequence[int]) -> pa.Table:
        readings = [reading_for(self._subject, number, self._target) for number in numbers]
        explanations = scoring([parts_of(reading) for reading in readings])
        return _table(numbers, list(self._settings.methods), explanations)


def _table(
    numbers: Sequence[int], methods: Sequence[str], explained: Sequence[Sequence[Explanation]]
) -> pa.Table:
    """A row for each text; one that could not be explained has an error."""
    floats = pa.list_(pa.float64())
    kinds = [
        ("text", pa.int64()), ("predicted", pa.int64()), ("probabilities", floats),
        ("error", pa.string()), *((_column(name), pa.list_(floats)) for name in methods),
    ]  # fmt: skip
    rows = [
        {
            "text": number,
            "predicted": every[0].predicted,
            "probabilities": list(every[0].probabilities),
            "error": next((one.error for one in every if one.error), None),
            **{_column(name): [[*one.scores.get(name, ())] for one in every] for name in methods},
        }
        for number, every in zip(numbers, explained, strict=True)
    ]
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def _column(method: str) -> str:
    return f"scores {method}"


def _scores(subject: Subject, settings: Settings, table: pa.Table) -> UnitScores:
    sound = table.filter(pc.is_null(table["error"]))
    if not len(sound):
        raise InputError(f"{subject.name}: no text could be explained: {table['error'][0].as_py()}")
    texts = sound["text"].to_numpy()
    units = [subject.units[number] for number in texts]
    return UnitScores(
        texts=texts,
        starts=np.cumsum([0, *map(len, units)]),
        units=tuple(chain.from_iterable(units)),
        scores={name: _flat(sound[_column(name)].to_pylist()) for name in settings.methods},
        probabilities=np.asarray(sound["probabilities"].to_pylist(), dtype=np.float64),
        predicted=sound["predicted"].to_numpy(),
        labels=np.asarray([subject.texts[number].label for number in texts]),
        failed=len(table) - len(sound),
    )


def _flat(rows: Sequence[Sequence[Sequence[float]]]) -> Floats:
    """Scores of all texts, one after the other (K, U)."""
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows], axis=1)


def _classes(scores: UnitScores, target: str) -> Integers:
    """The class of each text that a target means (N,)."""
    if target == LAST:
        return np.full_like(scores.predicted, scores.probabilities.shape[1] - 1)
    if target == GOLD:
        return np.where(scores.labels >= 0, scores.labels, scores.predicted)
    return scores.predicted


class Draws(NamedTuple):
    """Draws of the bootstrap.

    Attributes:
        runs: The names of S models.
        texts: How often each of the texts of each model is drawn, S times (R, N).
        models: How often each model is drawn (R, S); None if intervals are over texts alone.
    """

    runs: Sequence[str]
    texts: Sequence[Floats]
    models: Floats | None = None


def normalized(scores: UnitScores, settings: Settings, method: str) -> Floats:
    """Scores of a method that compare between texts (K, U); without a sign unless they keep it."""
    values = scores.scores[method]
    scale: Scale = settings.scale
    return scaled(values if settings.signed(method) else np.abs(values), scores.starts, scale)


def word_tables(
    subject: Subject, scores: UnitScores, settings: Settings, method: str
) -> list[WordSums]:
    """The frequent words of a subject's texts with their scores, for each of K classes."""
    count = len(subject.texts)
    return [
        word_sums(scores.units, scores.numbers, values, count).frequent(settings.minimum_count)
        for values in normalized(scores, settings, method)
    ]


def shared_tables(
    subjects: Sequence[Subject], scores: Sequence[UnitScores], settings: Settings
) -> dict[str, list[WordSums]]:
    """By each method the same words of all subjects, frequent in each, of one explained class."""
    shared = {}
    for method in settings.methods:
        tables = [
            word_tables(subject, each, settings, method)[0]
            for subject, each in zip(subjects, scores, strict=True)
        ]
        words = common_words(tables)
        shared[method] = [table.select(words) for table in tables]
    return shared


def frequent_words(subject: Subject, settings: Settings) -> set[str]:
    """The words whose mean score is looked at; known before anything is explained."""
    names, counts = np.unique(
        np.asarray([name for units in subject.units for name in units], dtype=str),
        return_counts=True,
    )
    return set(names[counts >= settings.minimum_count].tolist()) - {""}


def check_words(words: set[str], least: int, settings: Settings, what: str) -> None:
    """Refuse too few words.

    Args:
        words: The words.
        least: How many there have to be.
        settings: What decides which they are.
        what: Whose they are, for the message.

    Raises:
        InputError: If there are fewer.
    """
    if len(words) < least:
        raise InputError(
            f"expected at least {least} words that occur {settings.minimum_count} times or more "
            f"{what}, but there are {len(words)}. Use more texts, or a lower minimum_count."
        )


def draws_of(subjects: Sequence[Subject], settings: Settings) -> Draws:
    """Draws of the texts of each subject; the same for those of the same texts."""
    draws: dict[str, Floats] = {}
    for subject in subjects:
        if subject.data not in draws:
            seed = (settings.seed, int(subject.data, 16))
            draws[subject.data] = text_draws(len(subject.texts), settings.resamples, seed)
    names = [subject.name for subject in subjects]
    return Draws(names, [draws[subject.data] for subject in subjects])


def model_draws(count: int, settings: Settings) -> Floats:
    """How often each of S models is drawn in each draw (R, S)."""
    return text_draws(count, settings.resamples, (settings.seed, 1))
