"""Conducting a study: its folder is begun or resumed, and the results are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from bertx import __version__
from bertx.explanation import provenance
from bertx.progress import progress
from bertx.rendering import figure_png, figure_svg
from bertx.rendering.files import drafted, write_whole
from bertx.studies import paper
from bertx.studies.findings import Findings, Measured, Picture, Table
from bertx.studies.settings import Preset, Settings
from bertx.studies.store import SUMMARY, VALUES, Store, write_json, write_table
from bertx.studies.subjects import (
    Shared,
    Subject,
    check_alike,
    check_one_class,
    check_several,
)

Options = TypeVar("Options")


@dataclass(frozen=True)
class Study(Generic[Options]):
    """An experiment.

    Attributes:
        name: Its name on the command line.
        title: Its name for people.
        presets: The default settings, and the paper's.
        options: Settings of this study alone, as they are by default.
        run: The experiment.
        check: Refuses what this study alone cannot be done with, before anything expensive.
        least: Fewest runs.
        alike: What its runs have to have in common.
        one_class: Whether one class of each text is explained, never all.
    """

    name: str
    title: str
    presets: Mapping[Preset, Settings]
    options: Options
    run: Callable[[Sequence[Subject], Settings, Store, Options], Findings]
    check: Callable[[Sequence[Subject], Settings, Options], None]
    least: int = 1
    alike: tuple[Shared, ...] = ()
    one_class: bool = True

    def refuse(self, subjects: Sequence[Subject], settings: Settings, options: Options) -> None:
        """Refuse what it cannot be done with.

        Raises:
            InputError: If there are too few runs, two are one or differ in what they have to have
                in common, all classes are asked for, or the study itself refuses them.
        """
        check_several(subjects, self.name, self.least)
        check_alike(subjects, self.name, *self.alike)
        if self.one_class:
            check_one_class(settings, self.name)
        self.check(subjects, settings, options)


def conduct(
    study: Study[Options],
    subjects: Sequence[Subject],
    settings: Settings,
    options: Options,
    folder: Path,
    scores: Path | None = None,
) -> Findings:
    """Conduct a study; one that was killed continues where it stopped.

    Args:
        study: The study.
        subjects: What it is about.
        settings: How.
        options: The settings of this study alone.
        folder: Where ``study.json``, ``values.parquet``, ``summary.json`` and ``figures`` go.
        scores: A folder of unit scores that several studies share; None for one in ``folder``.

    Raises:
        InputError: If the study cannot be done with these subjects, or the folder holds one with
            other settings.
    """
    study.refuse(subjects, settings, options)
    description = {
        "study": study.name,
        "version": __version__,
        "settings": settings.described(),
        "options": _described(options),
        "runs": {subject.name: subject.described() for subject in subjects},
    }
    store = Store(folder, description, scores)
    findings = _with_runs(study.run(subjects, settings, store, options), subjects)
    with progress("Writing the results", len(findings.pictures) + 1) as advance:
        write_table(folder / VALUES, findings.values)
        advance(1)
        for picture in findings.pictures:
            draw(folder, picture)
            advance(1)
    # Last: where it is, the study is whole.
    write_json(folder / SUMMARY, _summary(study, subjects, settings, options, findings))
    return findings


def _summary(
    study: Study[Options],
    subjects: Sequence[Subject],
    settings: Settings,
    options: Options,
    findings: Findings,
) -> dict[str, Any]:
    return {
        "study": study.name,
        "title": study.title,
        "preset": settings.preset,
        "version": __version__,
        "runs": [
            {
                "name": subject.name,
                "model": subject.source.model,
                "dataset": subject.source.dataset,
                "split": subject.source.split,
                "texts": len(subject.texts),
                "short": subject.short,
                "cut": subject.cut,
            }
            for subject in subjects
        ],
        "settings": {**settings.described(), **_described(options)},
        **findings.summary(),
    }


def _with_runs(findings: Findings, subjects: Sequence[Subject]) -> Findings:
    """The findings with the table of runs before the others, and their accuracies."""
    if not findings.runs:
        return findings
    runs = list(zip(subjects, findings.runs, strict=True))
    accuracies = {f"accuracy/{subject.name}": run.accuracy for subject, run in runs}
    return replace(
        findings,
        numbers={**accuracies, **findings.numbers},
        tables=[_runs_table(runs), *findings.tables],
    )


def _runs_table(runs: Sequence[tuple[Subject, Measured]]) -> Table:
    """One row a run: its texts and its accuracy, beside the paper's on the same data set."""
    rows = [
        [
            subject.name, subject.source.dataset, subject.source.split, run.texts, run.accuracy,
            paper.ACCURACIES.get(subject.source.dataset),
        ]
        for subject, run in runs
    ]  # fmt: skip
    columns = ["run", "data set", "split", "texts", "accuracy", "paper's accuracy"]
    notes = [f"{subject.name}: {out}." for subject, run in runs if (out := _left_out(subject, run))]
    return Table("runs", "Runs", columns, rows, " ".join(notes))


def _left_out(subject: Subject, run: Measured) -> str:
    counts = {
        "too short and left out": subject.short,
        "cut off": subject.cut,
        "could not be explained": run.failed,
    }
    return ", ".join(f"{count:,} texts {what}" for what, count in counts.items() if count)


def _described(options: Any) -> dict[str, Any]:
    """The settings of a study alone as JSON can say them."""
    return {field.name: _plain(getattr(options, field.name)) for field in fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value.described() if hasattr(value, "described") else provenance.settings(value)


def draw(folder: Path, picture: Picture) -> None:
    """Write a figure as SVG and PNG."""
    place = folder / "figures"
    write_whole(place / f"{picture.name}.svg", figure_svg(picture.figure))
    with drafted(place / f"{picture.name}.png") as draft:
        draft.write_bytes(figure_png(picture.figure))
