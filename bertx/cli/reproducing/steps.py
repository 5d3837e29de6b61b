"""The steps of a reproduction: their commands, and whether they are begun or done."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bertx.cli.reproducing.preset import Fit, ReproducePreset, StudyPlan
from bertx.errors import InputError

_CSV = "lightning.pytorch.loggers.CSVLogger"
_WANDB = "lightning.pytorch.loggers.WandbLogger"


@dataclass(frozen=True)
class Folders:
    """Where a reproduction reads and writes.

    Attributes:
        out: The folder of the reproduction.
        data: A folder with a folder of files for each data set; None for data sets from the hub.
        lexicon: A sentiment lexicon for the word-rank study, if there is one.
        wandb: Whether to also log to Weights & Biases.
    """

    out: Path
    data: Path | None = None
    lexicon: Path | None = None
    wandb: bool = False

    @property
    def runs(self) -> Path:
        """The folder of the fits."""
        return self.out / "runs"

    @property
    def studies(self) -> Path:
        """The folder of the studies."""
        return self.out / "studies"


@dataclass(frozen=True)
class PlannedStep(ABC):
    """A bertx command whose results are recognized by their folder.

    Attributes:
        name: The step's name.
        folder: The folder that it writes (for the report, the file).
        minutes: The expected time.
        needs: The folders of the steps whose results it reads.
    """

    name: str
    folder: Path
    minutes: float
    needs: tuple[Path, ...]

    @abstractmethod
    def begun(self) -> bool:
        """Return whether the step has been begun and can be continued."""

    @abstractmethod
    def ended(self) -> bool:
        """Return whether the step is done.

        Raises:
            InputError: If the folder holds results with other settings.
        """

    @abstractmethod
    def command(self) -> list[str]:
        """Return the arguments of bertx that run or continue the step."""


@dataclass(frozen=True)
class FitStep(PlannedStep):
    """A training run.

    Attributes:
        config: The configuration to start from.
        settings: The settings that override it, as in ``config.yaml``: ``{data.seed: 42}``.
        loggers: The loggers.
    """

    config: str
    settings: Mapping[str, Any]
    loggers: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, name: str, fit: Fit, common: Mapping[str, Any], folders: Folders) -> "FitStep":
        """Return the step of a fit of a preset."""
        csv = {"save_dir": str(folders.runs), "name": "", "version": name}
        loggers = [{"class_path": _CSV, "init_args": csv}]
        if folders.wandb:
            wandb = {"project": "bertx", "name": name, "save_dir": str(folders.out)}
            loggers.append({"class_path": _WANDB, "init_args": wandb})
        path = {} if folders.data is None else {"data.path": str(folders.data / fit.dataset)}
        return cls(
            name=f"fit {name}",
            folder=folders.runs / name,
            minutes=fit.minutes,
            needs=(),
            config=f"{fit.dataset}.yaml",
            settings={"data.dataset": fit.dataset, **path, **common, **fit.settings},
            loggers=tuple(loggers),
        )

    @property
    def last(self) -> Path:
        """The checkpoint from which the fit continues."""
        return self.folder / "checkpoints" / "last.ckpt"

    def begun(self) -> bool:
        """Return whether there is a checkpoint."""
        return self.last.is_file()

    def ended(self) -> bool:
        """Return whether the model was exported, which a fit does last.

        Raises:
            InputError: If the run in the folder has other settings.
        """
        exported = (self.folder / "hf" / "config.json").is_file()
        if exported or self.begun():
            self._check()
        return exported

    def command(self) -> list[str]:
        """Return ``fit`` with the configuration, the settings and the loggers."""
        settings = [f"--{key}={_written(value)}" for key, value in self.settings.items()]
        logger = f"--trainer.logger={json.dumps(self.loggers)}"
        checkpoint = [f"--ckpt_path={self.last}"] if self.begun() else []
        return ["fit", "--config", self.config, *settings, logger, *checkpoint]

    def _check(self) -> None:
        path = self.folder / "config.yaml"
        try:
            saved = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError, ValueError) as error:
            raise InputError(
                f"{path}: expected the configuration of the run, but it cannot be read. Remove "
                f"{self.folder}, or name another folder with --out."
            ) from error
        other = [
            text for key, value in self.settings.items() for text in _differences(key, value, saved)
        ]
        if other:
            raise InputError(
                f"{self.folder}: the run in this folder has {', '.join(other)}. Restore these "
                "settings, remove the folder, or name another one with --out."
            )


@dataclass(frozen=True)
class _ReadingStep(PlannedStep):
    """A step that reads the results of other steps; the same command runs and continues it.

    Attributes:
        arguments: The arguments of bertx.
    """

    arguments: tuple[str, ...]

    def command(self) -> list[str]:
        """Return the arguments."""
        return list(self.arguments)


class StudyStep(_ReadingStep):
    """A study."""

    @classmethod
    def of(cls, name: str, study: StudyPlan, folders: Folders) -> "StudyStep":
        """Return the step of a study of a preset."""
        folder = folders.studies / name
        runs = tuple(folders.runs / run for run in study.runs)
        others = {key: folders.runs / run for key, run in study.other_runs.items()}
        settings = {**study.settings, **{key: str(run) for key, run in others.items()}}
        options = [text for key, value in settings.items() for text in _option(key, value)]
        arguments = ["study", study.study, *map(str, runs), *options]
        arguments += ["--scores", str(folders.out / "scores"), "--out", str(folder)]
        if folders.lexicon is not None and study.study == "word-rank":
            arguments += ["--lexicon", str(folders.lexicon)]
        if folders.wandb:
            arguments.append("--wandb")
        needs = (*runs, *others.values())
        return cls(f"study {name}", folder, study.minutes, needs, tuple(arguments))

    def begun(self) -> bool:
        """Return whether its folder exists."""
        return self.folder.exists()

    def ended(self) -> bool:
        """Return whether its summary exists, which is written last."""
        return (self.folder / "summary.json").is_file()


class ReportStep(_ReadingStep):
    """The report on all runs and studies."""

    @classmethod
    def of(cls, preset: ReproducePreset, folders: Folders) -> "ReportStep":
        """Return the step of the report on a preset."""
        studies = (folders.studies / name for name in preset.studies)
        shown = (*studies, *(folders.runs / name for name in preset.fits))
        page = folders.out / "report.html"
        return cls("report", page, 1.0, shown, ("report", *map(str, shown), "--out", str(page)))

    def begun(self) -> bool:
        """Return False, as a report is not written in parts."""
        return False

    def ended(self) -> bool:
        """Return whether the page exists."""
        return self.folder.is_file()


def steps_of(preset: ReproducePreset, folders: Folders) -> list[PlannedStep]:
    """Return all steps, each after the steps that it needs."""
    return [
        *(FitStep.of(name, fit, preset.common, folders) for name, fit in preset.fits.items()),
        *(StudyStep.of(name, study, folders) for name, study in preset.studies.items()),
        ReportStep.of(preset, folders),
    ]


def _option(key: str, value: Any) -> Iterator[str]:
    """Yield the arguments of an option; true stands for an option without a value."""
    yield f"--{key}"
    if value is not True:
        yield _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _differences(key: str, expected: Any, saved: Any) -> Iterator[str]:
    """Yield the values in a saved configuration that differ from an expected setting."""
    if isinstance(expected, Mapping):
        for name, value in expected.items():
            yield from _differences(f"{key}.{name}", value, saved)
        return
    for name in key.split("."):
        saved = saved.get(name) if isinstance(saved, Mapping) else None
    if not _same(key, expected, saved):
        yield f"{key} {_written(saved)} (now {_written(expected)})"


def _same(key: str, expected: Any, saved: Any) -> bool:
    if expected == saved:
        return True
    if key == "data.path":
        return Path(str(expected)).resolve() == Path(str(saved)).resolve()
    try:  # YAML reads 1e-4 as text
        return float(expected) == float(saved)
    except (TypeError, ValueError):
        return False
