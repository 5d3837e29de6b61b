"""Running a study: create or resume its folder, and write the results."""

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
from bertx.studies.findings import Findings, Picture, RunAccuracy, Table
from bertx.studies.settings import Preset, Settings
from bertx.studies.store import SUMMARY, VALUES, Store, write_json, write_table
from bertx.studies.subjects import Shared, Subject, check_alike, check_one_class, check_several

Options = TypeVar("Options")


@dataclass(frozen=True)
class Study(Generic[Options]):
    """An experiment.

    Attributes:
        name: The name on the command line.
        title: The name in reports.
        presets: The default settings, and those of the paper's authors.
        options: The defaults of the options specific to this study.
        run: Runs the experiment.
        check: Raises `InputError` for unsuitable subjects, settings or options of this study,
            before anything expensive is done.
        least: The least number of runs.
        alike: What all runs have to share.
        one_class: Whether the study explains one class of each text and cannot explain all.
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

    def validate(self, subjects: Sequence[Subject], settings: Settings, options: Options) -> None:
        """Check whether the study can be run.

        Raises:
            InputError: If there are too few runs, two runs are the same or differ in what they have
                to share, all classes are to be explained but cannot be, or ``check`` fails.
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
    """Run a study, and write its results; an interrupted study continues where it stopped.

    Args:
        study: The study.
        subjects: The models with their texts.
        settings: The settings that all studies share.
        options: The options specific to this study.
        folder: Where ``study.json``, ``values.parquet``, ``summary.json`` and ``figures`` go.
        scores: A folder of unit scores that several studies share; None for one in ``folder``.

    Returns:
        The results, including the table of runs.

    Raises:
        InputError: If the study cannot be run with these subjects, or the folder holds a study with
            other settings.
    """
    study.validate(subjects, settings, options)
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
    # Written last: a study with a summary is complete.
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
    """Return the findings with the table and the accuracies of the runs in first place."""
    if not findings.runs:
        return findings
    runs = list(zip(subjects, findings.runs, strict=True))
    accuracies = {f"accuracy/{subject.name}": run.accuracy for subject, run in runs}
    return replace(
        findings,
        numbers={**accuracies, **findings.numbers},
        tables=[_runs_table(runs), *findings.tables],
    )


def _runs_table(runs: Sequence[tuple[Subject, RunAccuracy]]) -> Table:
    """Return a row for each run: its texts and its accuracy, beside the paper's on that data."""
    rows = [
        [
            subject.name, subject.source.dataset, subject.source.split, run.texts, run.accuracy,
            paper.ACCURACIES.get(subject.source.dataset),
        ]
        for subject, run in runs
    ]  # fmt: skip
    columns = ["run", "data set", "split", "texts", "accuracy", "paper's accuracy"]
    notes = []
    for subject, run in runs:
        counts = {
            "too short and left out": subject.short,
            "cut off": subject.cut,
            "could not be explained": run.failed,
        }
        parts = [f"{count:,} texts {what}" for what, count in counts.items() if count]
        if parts:
            notes.append(f"{subject.name}: {', '.join(parts)}.")
    return Table("runs", "Runs", columns, rows, " ".join(notes))


def _described(options: Any) -> dict[str, Any]:
    """Return the options of a study as JSON values."""
    return {field.name: _plain(getattr(options, field.name)) for field in fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value.described() if hasattr(value, "described") else provenance.settings(value)


def draw(folder: Path, picture: Picture) -> None:
    """Write a figure as SVG and PNG."""
    figures = folder / "figures"
    write_whole(figures / f"{picture.name}.svg", figure_svg(picture.figure))
    with drafted(figures / f"{picture.name}.png") as draft:
        draft.write_bytes(figure_png(picture.figure))
