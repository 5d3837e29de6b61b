"""Presets of ``bertx study reproduce``: the fits and studies to run, in YAML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from bertx.cli.configs import shipped_folder
from bertx.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class Fit:
    """A training run.

    Attributes:
        dataset: The configuration of ``bertx fit`` to start from, and the name of the folder of
            local files.
        settings: Settings that override the configuration, as ``bertx fit`` takes them:
            ``{data.seed: 42}``.
        minutes: The expected time.
    """

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    minutes: float = 1.0


@dataclass(frozen=True)
class StudyPlan:
    """A study of some of the fits.

    Attributes:
        study: The name of the study.
        runs: The names of the fits.
        settings: The options of the study, as ``bertx study`` takes them: ``{max_examples: 2001}``.
        other_runs: The options whose value is a fit: ``{shuffled: sst5-shuffled}``.
        minutes: The expected time.
    """

    study: str
    runs: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    other_runs: dict[str, str] = field(default_factory=dict)
    minutes: float = 1.0


@dataclass(frozen=True)
class ReproducePreset:
    """All fits and studies of a reproduction.

    Attributes:
        fits: The fits, by the names of their folders.
        studies: The studies in the order they are run, by the names of their folders.
        common: Settings of all fits; the settings of a single fit override them.
    """

    fits: dict[str, Fit]
    studies: dict[str, StudyPlan]
    common: dict[str, Any] = field(default_factory=dict)


def read_preset(name: str) -> ReproducePreset:
    """Read a preset.

    Args:
        name: The name of a preset that bertx ships, or the path of a YAML file.

    Raises:
        InputError: If there is no such file, or it is not a valid preset.
    """
    path = shipped_presets().get(name) or Path(name)
    if not path.is_file():
        raise InputError(
            f"--preset {name}: expected {', '.join(shipped_presets())} or the path of a YAML file, "
            "but there is no such file."
        )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ReproducePreset)
    try:
        parsed = parser.parse_path(str(path))
        # jsonargparse 4.49 renamed `instantiate_classes` and warns about the old name.
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        preset = ReproducePreset(**vars(instantiate(parsed)))
    except (ArgumentError, OSError, ValueError) as error:
        raise InputError(f"--preset {name}: {' '.join(str(error).split())}") from error
    _check(preset, f"--preset {name}")
    return preset


def shipped_presets() -> dict[str, Path]:
    """Return the files of the presets that bertx ships, by name."""
    files = sorted((shipped_folder() / "reproduce").glob("*.yaml"))
    return {path.stem: path for path in files}


def _check(preset: ReproducePreset, where: str) -> None:
    if not preset.fits:
        raise InputError(f"{where}: expected at least one fit, got none.")
    for name in (*preset.fits, *preset.studies):
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: {name!r}: expected the name of a folder, from letters, digits, '.', '_' "
                "and '-'."
            )
    for name, fit in preset.fits.items():
        settings: Mapping[str, Any] = {**preset.common, **fit.settings}
        if settings.get("export", "") is None:
            raise InputError(
                f"{where}: fits.{name}: export is switched off, but a fit is recognized as done by "
                "the exported model. Leave it on."
            )
    for name, study in preset.studies.items():
        for run in (*study.runs, *study.other_runs.values()):
            if run not in preset.fits:
                raise InputError(
                    f"{where}: studies.{name}: expected runs among {', '.join(preset.fits)}, got "
                    f"{run!r}."
                )
