"""Accuracy over what is deleted, with intervals over texts and runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bertx.rendering.curves import Role
from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.correlations import Interval
from bertx.studies.deleting import COUNT, Points, Ranker
from bertx.studies.subjects import Subject

Floats = NDArray[np.float64]
Group = Literal["right", "wrong"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""Texts on which the model, or every one of several models, is right before anything is deleted,
and those on which it is wrong."""


@dataclass(frozen=True)
class Answers:
    """What S models of the same N texts answer, with O operators, R rankers and P points.

    Attributes:
        name: What the data are called: as the run, or as the data set of several runs.
        dataset: The data set.
        right: 1 where the answer is the label and 0 where not (S, N, O, R, P); NaN where nothing
            was asked.
    """

    name: str
    dataset: str
    right: Floats


@dataclass(frozen=True)
class Curve:
    """The accuracy of one ranker on one group of texts.

    Attributes:
        data: What the data are called.
        dataset: The data set.
        operator: What deleting a unit does.
        group: Which texts.
        method: Name of the ranker.
        role: What it is.
        signed: Whether its scores have a sign.
        values: Whether each answer is right (S, N, P).
        accuracy: Their mean with its interval at each point (P).
        count: Number of texts with values in all runs.
    """

    data: str
    dataset: str
    operator: str
    group: Group
    method: str
    role: Role
    signed: bool
    values: Floats
    accuracy: tuple[Interval, ...]
    count: int

    def effect(self, words: int) -> Floats:
        """Mean accuracy over k = 1..words of each text (S, N)."""
        return self.values[..., 1 : words + 1].mean(-1)


def gathered(
    subjects: Sequence[Subject],
    tables: Sequence[pa.Table],
    operators: Sequence[str],
    rankers: Sequence[Ranker],
    points: Points,
) -> list[Answers]:
    """The answers of each data set; runs that have the same texts come together."""
    shape = (-1, len(operators), len(rankers), len(points.places))
    groups: dict[str, list[int]] = {}
    for number, subject in enumerate(subjects):
        groups.setdefault(subject.data, []).append(number)
    found = []
    for numbers in groups.values():
        sound = [tables[n]["text"].to_numpy().reshape(shape)[:, 0, 0, 0] for n in numbers]
        common = set.intersection(*(set(own.tolist()) for own in sound))
        right = np.stack(
            [
                _float(tables[n]["right"]).reshape(shape)[[text in common for text in own]]
                for n, own in zip(numbers, sound, strict=True)
            ]
        )
        first = subjects[numbers[0]]
        name = first.name if len(numbers) == 1 else first.source.dataset
        found.append(Answers(name, first.source.dataset, right))
    return found


def curves(
    answers: Answers,
    operators: Sequence[str],
    rankers: Sequence[Ranker],
    resamples: int,
    seed: int,
) -> Iterator[Curve]:
    """All curves of a data set; none for a group that has no text."""
    at_first = answers.right[:, :, 0, 0, 0]  # nothing is deleted yet, by whatever operator
    members = {"right": (at_first == 1).all(0), "wrong": (at_first == 0).all(0)}
    for number, operator in enumerate(operators):
        for group in GROUPS:
            own = answers.right[:, members[group], number]
            if not own.shape[1]:
                continue
            # By a matrix of its own each: (S, N) for every ranker and point.
            flat = [own[:, :, r, p] for r in range(own.shape[2]) for p in range(own.shape[3])]
            means = bootstrap_means(flat, 0.05, resamples, seed)
            for place, ranker in enumerate(rankers):
                part = means[place * own.shape[3] : (place + 1) * own.shape[3]]
                if part[0].count:
                    yield Curve(
                        answers.name, answers.dataset, operator, group, ranker.name, ranker.role,
                        ranker.signed, own[:, :, place], tuple(map(_interval, part)), part[0].count,
                    )  # fmt: skip


def ends(points: Points, by: str) -> Mapping[float, int]:
    """Where the points of an axis stand among all: their place by their value."""
    return {at: place for place, (kind, at) in enumerate(points.places) if kind == by}


def counted(points: Points) -> Mapping[int, int]:
    """Where k = 0, 1, ... stand."""
    return {int(at): place for at, place in ends(points, COUNT).items()}


def _interval(found: object) -> Interval:
    mean, low, high = (float(x) for x in tuple(found)[:3])  # type: ignore[arg-type,var-annotated]
    return Interval(mean, max(low, 0.0), min(high, 1.0))


def _float(column: pa.ChunkedArray) -> Floats:
    """True, False and null as 1, 0 and NaN."""
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
