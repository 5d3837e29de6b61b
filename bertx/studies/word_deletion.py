"""Word deletion (section 3.2.2): accuracy while the highest ranked words are deleted."""

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
from bertx.studies import Study
from bertx.studies.deleting import Deleter, Points, Ranker, accuracy_lines, gathered
from bertx.studies.deletion_findings import (
    deletion_findings,
    deletion_numbers,
    deletion_pictures,
    deletion_tables,
)
from bertx.studies.findings import Findings, Measured
from bertx.studies.lines import Line
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store
from bertx.studies.subjects import Subject

NAME = "word-deletion"

Control = Literal["nested", "redrawn"]
"""What the random control deletes at k: one word more than at k - 1, or words drawn anew."""


@dataclass(frozen=True)
class WordDeletionOptions:
    """What this study alone is told.

    Attributes:
        words: Largest number of units that are deleted.
        shares: Number of shares of a text's units that are deleted, 0 and 1 included; 0 for none.
            None for what the preset says: 11, for the authors none.
        ceiling_texts: About how many texts of each run are searched for the best order; None for
            all. Those of more than 40 units never are.
        control: What the random control deletes; None for what the preset says: ``nested``, for
            the authors ``redrawn``.

    Raises:
        InputError: If one of them is out of its range.
    """

    words: int = 10
    shares: int | None = None
    ceiling_texts: int | None = 50
    control: Control | None = None

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
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
        """How much is deleted."""
        usual = 0 if settings.preset == "authors" else 11
        return Points(self.words, usual if self.shares is None else self.shares)


def check(subjects: Sequence[Subject], settings: Settings, options: WordDeletionOptions) -> None:
    """Refuse what cannot be studied.

    Raises:
        InputError: If a method has a name that is taken, or no operator is named.
    """
    rankers(settings, options)
    if not settings.operators:
        raise InputError("operators: expected at least one, such as mask")


def rankers(settings: Settings, options: WordDeletionOptions) -> list[Ranker]:
    """The methods, the random control and the ceiling.

    Raises:
        InputError: If a method has the name of one of the latter.
    """
    check_method_names(settings.methods)
    methods = dict(with_control(settings.methods))
    randoms = {name: m for name, m in methods.items() if isinstance(m, Random)}
    control, random = next(iter(randoms.items()))
    del methods[control]
    seed = random.seed if control in settings.methods else settings.seed
    usual: Control = "redrawn" if settings.preset == "authors" else "nested"
    redrawn = (options.control or usual) == "redrawn"
    count = len(options.points(settings).places) if redrawn else 1
    return [
        *(Ranker(name, "method", settings.signed(name), (m,)) for name, m in methods.items()),
        Ranker(control, "floor", False, [Random(seed + number) for number in range(count)]),
        Ranker(CEILING, "ceiling", True),
    ]


def answers(
    subject: Subject, settings: Settings, options: WordDeletionOptions, parts: Parts
) -> pa.Table:
    """What the model of a subject answers; parts that are there are read.

    Args:
        subject: The subject.
        settings: Methods and operators.
        options: How much is deleted.
        parts: Where the parts are kept.

    Raises:
        InputError: If no text has finite scores.
    """
    count = len(subject.texts)
    searched = frozenset(filter(drawn_by_number(options.ceiling_texts, count), range(count)))

    @cache  # loads the model when it is needed
    def deleter() -> Deleter:
        who, points = rankers(settings, options), options.points(settings)
        return Deleter(subject, settings, who, points)

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
    """Delete, and say what follows."""
    tables = [answers(subject, settings, options, store.parts) for subject in subjects]
    points, who = options.points(settings), rankers(settings, options)
    data = list(gathered(subjects, tables, settings.operators, who, points))
    lines: list[Line] = []
    with progress("Drawing texts again for intervals", len(data)) as advance:
        for each in data:
            lines += accuracy_lines(*each, who, settings)
            advance(1)
    return Findings(
        values=pa.concat_tables(
            [
                subject.named(table.filter(pa.compute.is_valid(table["right"])))
                for subject, table in zip(subjects, tables, strict=True)
            ]
        ),
        runs=[at_first(table) for table in tables],
        findings=deletion_findings(lines, settings, points),
        numbers=deletion_numbers(lines, points),
        tables=deletion_tables(lines, settings, points),
        pictures=deletion_pictures(lines, settings, points),
    )


def at_first(table: pa.Table) -> Measured:
    """How many texts there are, and how many are predicted right."""
    texts, first = np.unique(table["text"].to_numpy(), return_index=True)
    labels, predicted = (table[name].to_numpy()[first] for name in ("label", "predicted"))
    return Measured(len(texts), float((labels == predicted).mean()))


STUDY = Study(
    NAME,
    "Word deletion",
    {
        "default": Settings(operators=("mask", "remove"), texts=1000),
        # Two of its ids are [CLS] and [SEP]: the authors take sentences of 10 ids or more.
        "authors": replace(authors(1001), shortest=8),
    },
    WordDeletionOptions(),
    run,
    check,
)
