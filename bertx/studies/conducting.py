"""Conducting a study: its folder is begun or resumed, and the results are written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from bertx import __version__
from bertx.explanation import provenance
from bertx.progress import progress
from bertx.rendering import figure_png, figure_svg
from bertx.rendering.files import drafted, write_whole
from bertx.studies.findings import Findings, Picture
from bertx.studies.settings import Preset, Settings
from bertx.studies.store import SUMMARY, VALUES, Store, write_json, write_table
from bertx.studies.subjects import Subject

Options = TypeVar("Options")


@dataclass(frozen=True)
class Study(Generic[Options]):
    """An experiment.

    Attributes:
        name: Its name on the command line.
        title: Its name for people.
        presets: What it is told where nothing else is said.
        options: Settings of its own, as they are by default.
        run: The experiment.
        check: Refuses subjects that it cannot be done with, before anything expensive.
    """

    name: str
    title: str
    presets: dict[Preset, Settings]
    options: Options
    run: Callable[[Sequence[Subject], Settings, Store, Options], Findings]
    check: Callable[[Sequence[Subject], Settings, Options], None]


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
        options: Its own settings.
        folder: Where ``study.json``, ``values.parquet``, ``summary.json`` and ``figures`` go.
        scores: A folder of unit scores that several studies share; None for one of its own.

    Raises:
        InputError: If the study cannot be done with these subjects, or the folder holds one with
            other settings.
    """
    study.check(subjects, settings, options)
    made = {
        "study": study.name,
        "version": __version__,
        "settings": settings.described(),
        "options": _told(options),
        "runs": {subject.name: subject.described() for subject in subjects},
    }
    store = Store(folder, made, scores)
    findings = study.run(subjects, settings, store, options)
    with progress("Writing what was found", len(findings.pictures) + 1) as advance:
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
        "settings": {**settings.described(), **_told(options)},
        **findings.summary(),
    }


def _told(options: Any) -> dict[str, Any]:
    """A study's own settings as JSON can say them."""
    return {field.name: _plain(getattr(options, field.name)) for field in fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(own) for name, own in value.items()}
    return value.described() if hasattr(value, "described") else provenance.settings(value)


def draw(folder: Path, picture: Picture) -> None:
    """Write a figure as SVG and PNG."""
    place = folder / "figures"
    write_whole(place / f"{picture.name}.svg", figure_svg(picture.figure))
    with drafted(place / f"{picture.name}.png") as draft:
        draft.write_bytes(figure_png(picture.figure))
