"""Unit scores of a subject's texts, explained once and kept in parts that are whole."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from bertx.studies.settings import LAST, Settings
from bertx.studies.store import Parts, Store, portions, write_json
from bertx.studies.subjects import Subject, reading_for

PORTION = 64
"""Texts of a part: at most so many are explained again after a kill."""

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
    def accuracy(self) -> float:
        """Share of the texts with a known label that are predicted right; NaN without any."""
        known = self.labels >= 0
        return float((self.predicted == self.labels)[known].mean()) if known.any() else np.nan

    @property
    def numbers(self) -> Integers:
        """The number of the text of each unit among those of the subject (U,)."""
        return np.repeat(self.texts, np.diff(self.starts))

    def of_class(self, classes: Integers) -> "UnitScores":
        """The scores of one class of each text (N,), out of those of all."""
        chosen = np.repeat(classes, np.diff(self.starts))
        places = np.arange(len(self.units))
        return replace(
            self, scores={name: own[chosen, places][None] for name, own in self.scores.items()}
        )


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
    own, every = _Shelf(subject, settings, target, parts), _Shelf(subject, settings, ALL, parts)
    if own.begun or not every.complete:
        return _scores(subject, settings, own.filled(place))
    found = _scores(subject, settings, every.filled(place))
    return found.of_class(_classes(found, target))


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
        self._made = {
            "version": __version__,
            **subject.described(),
            "target": target,
            "unit": settings.unit,
            "cut": settings.cut,
            "methods": settings.described()["methods"],
        }
        made = json.dumps(self._made, sort_keys=True).encode()
        self._folder = hashlib.sha256(made).hexdigest()[:16]
        self._scoring: Scoring | None = None

    @property
    def begun(self) -> bool:
        """Whether there is any part."""
        return any(map(self._parts.has, self._names()))

    @property
    def complete(self) -> bool:
        """Whether all parts are there."""
        return all(map(self._parts.has, self._names()))

    def filled(self, place: str) -> pa.Table:
        """A row for each text; those that are missing are explained."""
        if not self.complete:
            write_json(self._parts.folder / self._folder / "made.json", self._made)
        where = f"{self._subject.name} ({place})" if place else self._subject.name
        what = f"Explaining the texts of {where}"
        found = self._parts.filled(what, self._names(), self._explain)
        self._scoring = None  # gives the model free
        return found

    def _names(self) -> dict[str, range]:
        return portions(self._folder, len(self._subject.texts), PORTION)

    def _explain(self, numbers: Sequence[int]) -> pa.Table:
        if self._scoring is None:
            model, tokenizer = self._subject.open()
            target = self._subject.target(self._target)
            self._scoring = Scoring(model, tokenizer, self._settings.methods, target)
        readings = [reading_for(self._subject, number, self._target) for number in numbers]
        found = self._scoring([parts_of(reading) for reading in readings])
        return _table(numbers, list(self._settings.methods), found)


def _table(
    numbers: Sequence[int], methods: Sequence[str], found: Sequence[Sequence[Explanation]]
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
        for number, every in zip(numbers, found, strict=True)
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
        units=tuple(name for own in units for name in own),
        scores={name: _flat(sound[_column(name)].to_pylist()) for name in settings.methods},
        probabilities=np.asarray(sound["probabilities"].to_pylist(), dtype=np.float64),
        predicted=sound["predicted"].to_numpy(),
        labels=np.asarray([subject.texts[number].label for number in texts]),
        failed=len(table) - len(sound),
    )


def _flat(rows: Sequence[Sequence[Sequence[float]]]) -> Floats:
    """Scores of all texts, one after the other (K, U)."""
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows], axis=1)


def _classes(found: UnitScores, target: str) -> Integers:
    """The class of each text that a target means (N,)."""
    if target == LAST:
        return np.full_like(found.predicted, found.probabilities.shape[1] - 1)
    if target == GOLD:
        return np.where(found.labels >= 0, found.labels, found.predicted)
    return found.predicted
