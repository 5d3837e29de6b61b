"""Word deletion (section 3.2.2): accuracy while the highest ranked words are deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from bertx.attribution import Attribution, Random
from bertx.attribution.choices import GOLD
from bertx.errors import InputError, check_positive
from bertx.evaluation.checks import check_method_names
from bertx.evaluation.evaluator import drawn_by_number, with_control
from bertx.evaluation.table import CEILING
from bertx.perturb.packing import budget_for
from bertx.progress import progress
from bertx.studies import Study
from bertx.studies.deleting import Deleter, Points, Ranker
from bertx.studies.deletion_curves import Curve, curves, gathered
from bertx.studies.deletion_figures import deletion_pictures
from bertx.studies.deletion_findings import deletion_findings, deletion_numbers, deletion_tables
from bertx.studies.findings import Findings
from bertx.studies.runs_table import Measured, accuracies, runs_table
from bertx.studies.scores import PORTION
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store, portions
from bertx.studies.subjects import Subject, check_one_class, check_several

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
        InputError: If all classes are to be explained, a method has a name that is taken, two runs
            are one, or no operator is named.
    """
    check_several(subjects, NAME, least=1)
    rankers(settings, options)
    check_one_class(settings, NAME)
    if not settings.operators:
        raise InputError("operators: expected at least one, such as mask")


def rankers(settings: Settings, options: WordDeletionOptions) -> list[Ranker]:
    """The methods, the random control and the ceiling.

    Raises:
        InputError: If a method has the name of one of the latter.
    """
    check_method_names(settings.methods)
    methods = dict(with_control(settings.methods))
    control = next(name for name, own in methods.items() if isinstance(own, Random))
    own = methods.pop(control)
    seed = own.seed if control in settings.methods and isinstance(own, Random) else settings.seed
    usual: Control = "redrawn" if settings.preset == "authors" else "nested"
    redrawn = (options.control or usual) == "redrawn"
    count = len(options.points(settings).places) if redrawn else 1
    draws: tuple[Attribution, ...] = tuple(Random(seed + number) for number in range(count))
    found = [Ranker(name, "method", settings.signed(name), (own,)) for name, own in methods.items()]
    return [*found, Ranker(control, "floor", False, draws), Ranker(CEILING, "ceiling", True)]


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
    texts = dict(enumerate(subject.texts))
    drawn = drawn_by_number(options.ceiling_texts, len(texts))
    searched = frozenset(filter(drawn, texts))
    deleter = cache(lambda: _deleter(subject, settings, options))  # loaded when it is needed

    def make(numbers: range) -> pa.Table:
        readings = subject.readings[numbers.start : numbers.stop]
        return deleter().table(readings, texts, searched)

    names = portions(f"{subject.weights}-{subject.data}", len(texts), PORTION)
    found = parts.filled(f"Deleting words of the texts of {subject.name}", names, make)
    if not len(found):
        raise InputError(
            f"{subject.name}: no text could be used, as no scores or probabilities are finite. Use "
            "a wider precision, or other methods."
        )
    return found


def run(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: WordDeletionOptions
) -> Findings:
    """Delete, and say what follows."""
    tables = [answers(own, settings, options, store.parts) for own in subjects]
    points, who = options.points(settings), rankers(settings, options)
    found = gathered(subjects, tables, settings.operators, who, points)
    with progress("Drawing texts again for intervals", len(found)) as advance:
        drawn: list[Curve] = []
        for own in found:
            drawn += curves(own, settings.operators, who, settings.resamples, settings.seed)
            advance(1)
    measured = [at_first(table) for table in tables]
    return Findings(
        values=pa.concat_tables(
            [
                subject.named(table.filter(pa.compute.is_valid(table["right"])))
                for subject, table in zip(subjects, tables, strict=True)
            ]
        ),
        findings=deletion_findings(drawn, settings, points),
        numbers={**accuracies(subjects, measured), **deletion_numbers(drawn, points)},
        tables=[runs_table(subjects, measured), *deletion_tables(drawn, settings, points)],
        pictures=deletion_pictures(drawn, settings, points),
    )


def _deleter(subject: Subject, settings: Settings, options: WordDeletionOptions) -> Deleter:
    model, tokenizer = subject.open()
    target = settings.target if settings.target == GOLD else subject.target(settings.target)
    return Deleter(
        model,
        tokenizer,
        rankers(settings, options),
        settings.operators,
        options.points(settings),
        target,
        budget_for(model.device, recorded=True),
        settings.seed,
    )


def at_first(table: pa.Table) -> Measured:
    """How many texts there are, and how many are predicted right."""
    texts, first = np.unique(table["text"].to_numpy(), return_index=True)
    labels, predicted = (table[name].to_numpy()[first] for name in ("label", "predicted"))
    return Measured(texts, float((labels == predicted).mean()))


def _presets() -> Mapping[Literal["default", "authors"], Settings]:
    # Two of its ids are [CLS] and [SEP]: the authors take sentences of 10 ids or more.
    return {
        "default": Settings(operators=("mask", "remove"), texts=1000),
        "authors": replace(authors(1001), shortest=8),
    }


STUDY: Study[WordDeletionOptions] = Study(
    NAME, "Word deletion", dict(_presets()), WordDeletionOptions(), run, check
)
