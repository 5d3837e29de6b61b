"""The runs of a study with their accuracies, which every study shows."""

from collections.abc import Mapping, Sequence, Sized
from typing import NamedTuple

from bertx.studies import paper
from bertx.studies.findings import Table
from bertx.studies.scores import UnitScores
from bertx.studies.subjects import Subject


class Measured(NamedTuple):
    """What a study knows of the texts of a run.

    Attributes:
        texts: The texts that were used.
        accuracy: Share of them that is predicted right.
        failed: How many could not be used.
    """

    texts: Sized
    accuracy: float
    failed: int = 0


Told = UnitScores | Measured


def runs_table(subjects: Sequence[Subject], found: Sequence[Told]) -> Table:
    """One row a run: its texts and its accuracy, beside the paper's on the same data set."""
    rows = [
        [
            subject.name,
            subject.source.dataset,
            subject.source.split,
            len(own.texts),
            own.accuracy,
            paper.ACCURACIES.get(subject.source.dataset),
        ]
        for subject, own in zip(subjects, found, strict=True)
    ]
    columns = ["run", "data set", "split", "texts", "accuracy", "paper's accuracy"]
    notes = [
        f"{subject.name}: {_what_is_left_out(subject, own)}."
        for subject, own in zip(subjects, found, strict=True)
        if subject.short or subject.cut or own.failed
    ]
    return Table("runs", "Runs", columns, rows, " ".join(notes))


def accuracies(subjects: Sequence[Subject], found: Sequence[Told]) -> Mapping[str, float]:
    """The accuracy of each run, by the names under which they are logged."""
    return {
        f"accuracy/{subject.name}": own.accuracy
        for subject, own in zip(subjects, found, strict=True)
    }


def _what_is_left_out(subject: Subject, found: Told) -> str:
    parts = {
        "too short and left out": subject.short,
        "cut off": subject.cut,
        "could not be explained": found.failed,
    }
    return ", ".join(f"{count:,} texts {what}" for what, count in parts.items() if count)
