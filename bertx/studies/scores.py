"""Unit scores of the texts of a study, computed once and stored, and mean scores of words."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bertx import __version__
from bertx.attribution.choices import ALL, GOLD
from bertx.errors import InputError
from bertx.explanation import Explanation
from bertx.explanation.scoring import Scoring
from bertx.statistics.spread import Array
from bertx.statistics.words import WordSums, common_words, scaled, text_draws, word_sums
from bertx.studies.findings import RunAccuracy
from bertx.studies.settings import LAST, Settings
from bertx.studies.store import Parts, Store, portions, write_json
from bertx.studies.subjects import Subject, reading_for

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class UnitScores:
    """The scores of all units of N texts, one text after another.

    Attributes:
        texts: The numbers of the explained texts among the subject's texts (N,).
        starts: The first unit of each text, and the end of the last text (N + 1,).
        units: The names of the units (U,).
        scores: The scores of each method (K, U), for all K = C classes or the explained class,
            K = 1.
        probabilities: The predicted probabilities (N, C).
        predicted: The predicted class (N,).
        labels: The gold class, negative if unknown (N,).
        failed: The number of texts that could not be explained.
    """

    texts: Integers
    starts: Integers
    units: tuple[str, ...]
    scores: Mapping[str, Array]
    probabilities: Array
    predicted: Integers
    labels: Integers
    failed: int

    @property
    def run_accuracy(self) -> RunAccuracy:
        """The accuracy on the texts with a label; NaN without any."""
        labelled = self.labels >= 0
        right = (self.predicted == self.labels)[labelled]
        accuracy = float(right.mean()) if labelled.any() else np.nan
        return RunAccuracy(len(self.texts), accuracy, self.failed)

    @property
    def numbers(self) -> Integers:
        """The number of each unit's text among the subject's texts (U,)."""
        return np.repeat(self.texts, np.diff(self.starts))

    def of_class(self, classes: Integers) -> "UnitScores":
        """Select the scores of one class (N,) for each text from the scores of all classes."""
        chosen = np.repeat(classes, np.diff(self.starts))
        units = np.arange(len(self.units))
        scores = {name: each[chosen, units][None] for name, each in self.scores.items()}
        return replace(self, scores=scores)


def explained(
    subject: Subject, settings: Settings, target: str, parts: Parts, place: str = ""
) -> UnitScores:
    """Explain the texts of a subject; existing scores are read, not computed again.

    The scores of one class are taken from the scores of all classes if these are complete, and
    computing the former has not begun.

    Args:
        subject: The model and its texts.
        settings: The methods, and how texts are read.
        target: The explained class, as in `Settings.target`.
        parts: Where the scores are stored.
        place: The subject's number among several for the progress bar, such as ``1 of 3``.

    Raises:
        InputError: If no text can be explained.
        UnsupportedArchitecture: If a method is not defined for the model.
    """
    single = _StoredScores(subject, settings, target, parts)
    every = _StoredScores(subject, settings, ALL, parts)
    if single.begun or not every.complete:
        return _unit_scores(subject, settings, single.filled(place))
    scores = _unit_scores(subject, settings, every.filled(place))
    return scores.of_class(_classes(scores, target))


def all_explained(
    subjects: Sequence[Subject], settings: Settings, store: Store
) -> list[UnitScores]:
    """Explain the texts of each subject with its model; see `explained`."""
    return [
        explained(subject, settings, settings.target, store.scores, f"{number} of {len(subjects)}")
        for number, subject in enumerate(subjects, 1)
    ]


class _StoredScores:
    """The stored parts of a subject's scores for one target.

    The name of their folder is a checksum of everything that the scores depend on.
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
        stored = [parts.has(name) for name in portions(self._folder, len(subject.texts))]
        self.begun, self.complete = any(stored), all(stored)

    def filled(self, place: str) -> pa.Table:
        """Return a row for each text; missing ones are explained."""
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
        explanations = scoring(readings)
        return _table(numbers, list(self._settings.methods), explanations)


def _table(
    numbers: Sequence[int], methods: Sequence[str], explained: Sequence[Sequence[Explanation]]
) -> pa.Table:
    """Return a row for each text, with the error of a text that could not be explained."""
    floats = pa.list_(pa.float64())
    schema = [
        ("text", pa.int64()), ("predicted", pa.int64()), ("probabilities", floats),
        ("error", pa.string()), *((_column(name), pa.list_(floats)) for name in methods),
    ]  # fmt: skip
    rows = []
    for number, classes in zip(numbers, explained, strict=True):
        row: dict[str, Any] = {
            "text": number,
            "predicted": classes[0].predicted,
            "probabilities": list(classes[0].probabilities),
            "error": next((each.error for each in classes if each.error), None),
        }
        for name in methods:
            row[_column(name)] = [list(each.scores.get(name, ())) for each in classes]
        rows.append(row)
    return pa.Table.from_pylist(rows, pa.schema(schema))


def _column(method: str) -> str:
    return f"scores {method}"


def _unit_scores(subject: Subject, settings: Settings, table: pa.Table) -> UnitScores:
    valid = table.filter(pc.is_null(table["error"]))
    if not len(valid):
        raise InputError(f"{subject.name}: no text could be explained: {table['error'][0].as_py()}")
    texts = valid["text"].to_numpy()
    units = [subject.units[number] for number in texts]
    return UnitScores(
        texts=texts,
        starts=np.cumsum([0, *map(len, units)]),
        units=tuple(chain.from_iterable(units)),
        scores={name: _joined(valid[_column(name)].to_pylist()) for name in settings.methods},
        probabilities=np.asarray(valid["probabilities"].to_pylist(), dtype=np.float64),
        predicted=valid["predicted"].to_numpy(),
        labels=np.asarray([subject.texts[number].label for number in texts]),
        failed=len(table) - len(valid),
    )


def _joined(rows: Sequence[Sequence[Sequence[float]]]) -> Array:
    """Join the scores of all texts (K, U)."""
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows], axis=1)


def _classes(scores: UnitScores, target: str) -> Integers:
    """Return the explained class of each text (N,)."""
    if target == LAST:
        return np.full_like(scores.predicted, scores.probabilities.shape[1] - 1)
    if target == GOLD:
        return np.where(scores.labels >= 0, scores.labels, scores.predicted)
    return scores.predicted


class Draws(NamedTuple):
    """Draws of the bootstrap.

    Attributes:
        runs: The names of S models.
        texts: How often each text is drawn (R, N), for each of the S models.
        models: How often each model is drawn (R, S); None for intervals over texts alone.
    """

    runs: Sequence[str]
    texts: Sequence[Array]
    models: Array | None = None


def normalized(scores: UnitScores, settings: Settings, method: str) -> Array:
    """Return a method's scores on the same scale in all texts (K, U), absolute if unsigned."""
    values = scores.scores[method]
    amounts = values if settings.signed(method) else np.abs(values)
    return scaled(amounts, scores.starts, settings.scale)


def word_tables(
    subject: Subject, scores: UnitScores, settings: Settings, method: str
) -> list[WordSums]:
    """Return the scores of the frequent words of a subject's texts, for each of K classes."""
    count = len(subject.texts)
    return [
        word_sums(scores.units, scores.numbers, values, count).frequent(settings.minimum_count)
        for values in normalized(scores, settings, method)
    ]


def shared_tables(
    subjects: Sequence[Subject], scores: Sequence[UnitScores], settings: Settings
) -> dict[str, list[WordSums]]:
    """Return the scores of the words that are frequent in the texts of all subjects, by method."""
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
    """Return the words that occur at least ``minimum_count`` times, without explaining texts."""
    counts = Counter(chain.from_iterable(subject.units))
    return {word for word, count in counts.items() if count >= settings.minimum_count} - {""}


def check_words(words: set[str], least: int, settings: Settings, what: str) -> None:
    """Check that there are enough words.

    Args:
        words: The frequent words.
        least: The least number of words.
        settings: The settings of the study.
        what: Where the words occur, for the error.

    Raises:
        InputError: If there are fewer than ``least`` words.
    """
    if len(words) < least:
        raise InputError(
            f"expected at least {least} words that occur {settings.minimum_count} times or more "
            f"{what}, but there are {len(words)}. Use more texts, or a lower minimum_count."
        )


def draws_of(subjects: Sequence[Subject], settings: Settings) -> Draws:
    """Return draws of the texts of each subject, the same for subjects with the same texts."""
    draws: dict[str, Array] = {}
    for subject in subjects:
        if subject.data not in draws:
            seed = (settings.seed, int(subject.data, 16))
            draws[subject.data] = text_draws(len(subject.texts), settings.resamples, seed)
    names = [subject.name for subject in subjects]
    return Draws(names, [draws[subject.data] for subject in subjects])


def draws_with_models(subjects: Sequence[Subject], settings: Settings) -> Draws:
    """Return draws of the texts of each subject, and of the subjects' models."""
    models = text_draws(len(subjects), settings.resamples, (settings.seed, 1))
    return draws_of(subjects, settings)._replace(models=models)
