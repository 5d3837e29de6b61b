"""What is fitted and studied, and at which sizes: data, in YAML."""

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
    """A training.

    Attributes:
        dataset: The configuration of ``bertx fit`` that it starts from, which is also the name of
            the folder of its local files.
        settings: Settings over those of the configuration, as ``bertx fit`` takes them:
            ``{data.seed: 42}``.
        minutes: How long it is expected to take.
    """

    dataset: str
    settings: dict[str, Any] = field(default_factory=dict)
    minutes: float = 1.0


@dataclass(frozen=True)
class StudyPlan:
    """A study of some of the fits.

    Attributes:
        study: Its name.
        runs: The fits.
        settings: Its options, as ``bertx study`` takes them: ``{max_examples: 2001}``.
        other_runs: Its options that name a fit: ``{shuffled: sst5-shuffled}``.
        minutes: How long it is expected to take.
    """

    study: str
    runs: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    other_runs: dict[str, str] = field(default_factory=dict)
    minutes: float = 1.0


@dataclass(frozen=True)
class ReproducePreset:
    """Everything that is to be reproduced.

    Attributes:
        fits: The trainings, by the names of their folders.
        studies: The studies, by the names of their folders, in the order in which they are made.
        common: Settings that all fits have; those of a single one go before them.
    """

    fits: dict[str, Fit]
    studies: dict[str, StudyPlan]
    common: dict[str, Any] = field(default_factory=dict)


def read_preset(name: str) -> ReproducePreset:
    """The preset that is called so.

    Args:
        name: One that comes with bertx, or the path of a YAML file.

    Raises:
        InputError: If there is none, it cannot be read, or it is none.
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
        given = parser.parse_path(str(path))
        # jsonargparse before 4.49 has the second name alone, and later ones warn of it.
        make = getattr(parser, "instantiate", None) or parser.instantiate_classes
        preset = ReproducePreset(**vars(make(given)))
    except (ArgumentError, OSError, ValueError) as error:
        raise InputError(f"--preset {name}: {' '.join(str(error).split())}") from error
    _check(preset, f"--preset {name}")
    return preset


def shipped_presets() -> dict[str, Path]:
    """The presets that come with bertx, by their names."""
    files = sorted((shipped_folder() / "reproduce").glob("*.yaml"))
    return {path.stem: path for path in files}


def _check(preset: ReproducePreset, where: str) -> None:
    if not preset.fits:
        raise InputError(f"{where}: expected fits, but there is none.")
    for name in (*preset.fits, *preset.studies):
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: {name!r}: expected the name of a folder, of letters, digits, '.', '_' "
                "and '-'."
            )
    for name, fit in preset.fits.items():
        settings: Mapping[str, Any] = {**preset.common, **fit.settings}
        if settings.get("export", "") is None:
            raise InputError(
                f"{where}: fits.{name}: export is switched off, but what it writes shows that a "
                "fit is done. Leave it on."
            )
    for name, study in preset.studies.items():
        for run in (*study.runs, *study.other_runs.values()):
            if run not in preset.fits:
                raise InputError(
                    f"{where}: studies.{name}: expected runs among {', '.join(preset.fits)}, but "
                    f"got {run!r}."
                )
