"""Word deletion (section 3.2.2): accuracy as the highest ranked words are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from bertx.attribution import Random
from bertx.errors import InputError, check_positive
from bertx.evaluation.checks import check_method_names
from bertx.evaluation.evaluator import drawn_by_number, with_control
from bertx.evaluation.table import CEILING
from bertx.progress import progress
from bertx.studies.conducting import Study
from bertx.studies.deleting import Deleter, Points, Ranker, accuracy_curves, by_data
from bertx.studies.deletion_findings import (
    deletion_findings,
    deletion_numbers,
    deletion_pictures,
    deletion_tables,
)
from bertx.studies.findings import Findings, RunAccuracy
from bertx.studies.method_curves import MethodCurve
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store
from bertx.studies.subjects import Subject

NAME = "word-deletion"

Control = Literal["nested", "redrawn"]
"""What the random control deletes at k: one unit more than at k - 1, or units drawn anew."""


@dataclass(frozen=True)
class WordDeletionOptions:
    """The options specific to this study.

    Attributes:
        words: The largest number of units to delete.
        shares: The number of shares of a text's units to delete, 0 and 1 included; 0 for none.
            None for the preset's choice: 11, or none for the authors.
        ceiling_texts: About how many texts of each run to search for the best order; None for all.
            Texts of more than 40 units are never searched.
        control: What the random control deletes; None for the preset's choice: ``nested``, or
            ``redrawn`` for the authors.

    Raises:
        InputError: If an option is out of range.
    """

    words: int = 10
    shares: int | None = None
    ceiling_texts: int | None = 50
    control: Control | None = None

    def __post_init__(self) -> None:
        """Check the range of every option."""
        check_positive(words=self.words)
        if self.shares is not None and (self.shares < 0 or self.shares == 1):
            raise InputError(
                f"shares: expected 0 for none, or at least 2 (nothing and everything), got "
                f"{self.shares}"
            )
        if self.ceiling_texts is not None and self.ceiling_texts < 0:
            raise InputError(f"ceiling_texts: expected at least 0, got {self.ceiling_texts}")
        if self.control is not None and self.control not in get_args(Control):
            raise InputError(f"control {self.control!r}: expected {' or '.join(get_args(Control))}")

    def points(self, settings: Settings) -> Points:
        """Return how much is deleted."""
        default = 0 if settings.preset == "authors" else 11
        return Points(self.words, default if self.shares is None else self.shares)


def check(subjects: Sequence[Subject], settings: Settings, options: WordDeletionOptions) -> None:
    """Check the names of the methods and the operators.

    Raises:
        InputError: If a method has a reserved name, or there is no operator.
    """
    rankers(settings, options)
    if not settings.operators:
        raise InputError("operators: expected at least one, such as mask")


def rankers(settings: Settings, options: WordDeletionOptions) -> list[Ranker]:
    """Return the methods, the random control and the ceiling as rankers.

    Raises:
        InputError: If a method has the reserved name of the control or the ceiling.
    """
    check_method_names(settings.methods)
    methods = dict(with_control(settings.methods))
    control, random = next((name, m) for name, m in methods.items() if isinstance(m, Random))
    del methods[control]
    seed = random.seed if control in settings.methods else settings.seed
    default: Control = "redrawn" if settings.preset == "authors" else "nested"
    redrawn = (options.control or default) == "redrawn"
    count = len(options.points(settings).places) if redrawn else 1
    return [
        *(Ranker(name, "method", settings.signed(name), (m,)) for name, m in methods.items()),
        Ranker(control, "floor", False, [Random(seed + number) for number in range(count)]),
        Ranker(CEILING, "ceiling", True),
    ]


def predictions(
    subject: Subject, settings: Settings, options: WordDeletionOptions, parts: Parts
) -> pa.Table:
    """Return whether the model is right after each deletion; existing parts are read, not redone.

    Args:
        subject: The model and its texts.
        settings: Methods and operators.
        options: How much is deleted.
        parts: Where the parts are stored.

    Raises:
        InputError: If no text has finite scores.
    """
    count = len(subject.texts)
    is_searched = drawn_by_number(options.ceiling_texts, count)
    searched = {number for number in range(count) if is_searched(number)}

    @cache  # loads the model when it is needed
    def deleter() -> Deleter:
        return Deleter(subject, settings, rankers(settings, options), options.points(settings))

    table = parts.filled(
        f"Deleting words of the texts of {subject.name}",
        f"{subject.weights}-{subject.data}",
        count,
        lambda numbers: deleter().table(numbers, searched),
    )
    if not len(table):
        raise InputError(
            f"{subject.name}: no text could be used, as no scores or probabilities are finite. Use "
            "a wider precision, or other methods."
        )
    return table


def run(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: WordDeletionOptions
) -> Findings:
    """Run the study."""
    tables = [predictions(subject, settings, options, store.parts) for subject in subjects]
    points, every = options.points(settings), rankers(settings, options)
    data = list(by_data(subjects, tables, settings.operators, every, points))
    curves: list[MethodCurve] = []
    with progress("Computing confidence intervals", len(data)) as advance:
        for name, dataset, right in data:
            curves += accuracy_curves(name, dataset, right, every, settings)
            advance(1)
    return Findings(
        values=pa.concat_tables(
            [
                subject.named(table.filter(pa.compute.is_valid(table["right"])))
                for subject, table in zip(subjects, tables, strict=True)
            ]
        ),
        runs=[_accuracy(table) for table in tables],
        findings=deletion_findings(curves, settings, points),
        numbers=deletion_numbers(curves, points),
        tables=deletion_tables(curves, settings, points),
        pictures=deletion_pictures(curves, settings, points),
    )


def _accuracy(table: pa.Table) -> RunAccuracy:
    """Return the accuracy before any deletion."""
    texts, first = np.unique(table["text"].to_numpy(), return_index=True)
    labels, predicted = (table[name].to_numpy()[first] for name in ("label", "predicted"))
    return RunAccuracy(len(texts), float((labels == predicted).mean()))


STUDY = Study(
    name=NAME,
    title="Word deletion",
    presets={
        "default": Settings(operators=("mask", "remove"), texts=1000),
        # The authors take sentences of at least 10 ids, two of which are [CLS] and [SEP].
        "authors": replace(authors(1001), shortest=8),
    },
    options=WordDeletionOptions(),
    run=run,
    check=check,
)
