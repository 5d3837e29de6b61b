"""Randomization: do explanations change when the model does not know what it knew?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from bertx.attribution.choices import ALL, GOLD
from bertx.errors import InputError, check_positive
from bertx.perturb.packing import budget_for
from bertx.studies import Study
from bertx.studies.findings import Findings
from bertx.studies.randomization_figures import randomization_pictures
from bertx.studies.randomization_findings import (
    randomization_findings,
    randomization_numbers,
    randomization_tables,
)
from bertx.studies.randomizing import Randomizer
from bertx.studies.scores import PORTION
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store, portions
from bertx.studies.subjects import Loaded, Subject, check_alike, check_several
from bertx.studies.survival import survivals

NAME = "randomization"
TEXTS = 128
"""Texts of each run by default: each is explained dozens of times."""


@dataclass(frozen=True)
class ShuffledRuns:
    """Models that were trained on shuffled labels.

    Attributes:
        subjects: The models with their texts.
    """

    subjects: tuple[Subject, ...] = ()

    def described(self) -> dict[str, Any]:
        """What decides the results, as JSON can say it."""
        return {subject.name: subject.described() for subject in self.subjects}

    def of(self, subject: Subject) -> Subject | None:
        """The one on the same texts, if there is one."""
        return next((own for own in self.subjects if own.data == subject.data), None)


@dataclass(frozen=True)
class RandomizationOptions:
    """What this study alone is told.

    Attributes:
        draws: Number of draws of random weights.
        shuffled: Models that were trained on shuffled labels, at most one for the texts of a run.

    Raises:
        InputError: If there is no draw.
    """

    draws: int = 5
    shuffled: ShuffledRuns = ShuffledRuns()

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        check_positive(draws=self.draws)


def check(subjects: Sequence[Subject], settings: Settings, options: RandomizationOptions) -> None:
    """Refuse what cannot be studied.

    Raises:
        InputError: If all classes are to be explained, two runs are one, or a model on shuffled
            labels cannot be compared with a run.
    """
    check_several(subjects, NAME, least=1)
    if settings.target == ALL:
        raise InputError(
            f"target {ALL}: {NAME} explains one class of each text. Use predicted, gold or last."
        )
    others = options.shuffled.subjects
    for other in others:
        matching = [own for own in subjects if own.data == other.data]
        for own in matching or subjects[:1]:
            check_alike([own, other], f"{NAME} with --shuffled", "data", "classes", "tokenizer")
            check_several([own, other], f"{NAME} with --shuffled")


def run(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: RandomizationOptions
) -> Findings:
    """Explain by random models, and say what follows."""
    tables = [pa.concat_tables(correlated(own, settings, options, store.parts)) for own in subjects]
    found = [
        one
        for own, table in zip(subjects, tables, strict=True)
        for one in survivals(own.name, table, settings)
    ]
    return Findings(
        values=pa.concat_tables(
            [
                table.add_column(0, "run", pa.array([own.name] * len(table)))
                for own, table in zip(subjects, tables, strict=True)
            ]
        ),
        findings=randomization_findings(found, settings),
        numbers=randomization_numbers(found),
        tables=randomization_tables(found),
        pictures=randomization_pictures(found),
    )


def correlated(
    subject: Subject, settings: Settings, options: RandomizationOptions, parts: Parts
) -> Iterator[pa.Table]:
    """The correlations of a subject's texts; parts that are there are read.

    Draw by draw, so that weights are drawn once.

    Args:
        subject: The subject.
        settings: The methods.
        options: How many draws, and models on shuffled labels.
        parts: Where the parts are kept.
    """
    work = _Work(subject, settings, options.shuffled.of(subject))
    folder = f"{subject.weights}-{subject.data}"
    makers: dict[str, tuple[str, Callable[[range], pa.Table]]] = {
        f"draw-{draw}": (f"random weights, draw {draw + 1} of {options.draws}",
                         partial(work.randomised, draw))
        for draw in range(options.draws)
    }  # fmt: skip
    if work.other is not None:
        makers["shuffled"] = "shuffled labels", work.shuffled
    for name, (what, make) in makers.items():
        names = portions(f"{folder}/{name}", len(subject.texts), PORTION)
        yield parts.filled(f"Explaining the texts of {subject.name} on {what}", names, make)


class _Work:
    """What makes the parts of a subject; models are loaded when they are needed, and once."""

    def __init__(self, subject: Subject, settings: Settings, other: Subject | None) -> None:
        self.other = other
        self._subject, self._settings = subject, settings
        self._texts = dict(enumerate(subject.texts))
        self._randomizer: Randomizer | None = None
        self._shuffled: Loaded | None = None

    def randomised(self, draw: int, numbers: range) -> pa.Table:
        return self._ready().randomised(self._readings(numbers), self._texts, draw)

    def shuffled(self, numbers: range) -> pa.Table:
        assert self.other is not None
        if self._shuffled is None:
            self._shuffled = self.other.open()
        model = self._shuffled[0]
        return self._ready().other(self._readings(numbers), self._texts, model)

    def _readings(self, numbers: range) -> list[Any]:
        return [replace(self._subject.readings[number], index=number) for number in numbers]

    def _ready(self) -> Randomizer:
        if self._randomizer is None:
            model, tokenizer = self._subject.open()
            own = self._settings.target
            self._randomizer = Randomizer(
                model,
                tokenizer,
                self._settings.methods,
                own if own == GOLD else self._subject.target(own),
                budget_for(model.device, recorded=True),
                self._settings.seed,
            )
        return self._randomizer


def _presets() -> dict[Literal["default", "authors"], Settings]:
    return {"default": Settings(texts=TEXTS), "authors": authors(TEXTS)}


STUDY: Study[RandomizationOptions] = Study(
    NAME, "Randomization", _presets(), RandomizationOptions(), run, check
)
