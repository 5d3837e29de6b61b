"""The steps of a reproduction: their commands, and whether they are begun or done."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
class PlannedStep:
    """A bertx command whose results are recognized by their folder.

    Attributes:
        name: The step's name.
        folder: The folder that it writes (for the report, the file).
        result: The file that it writes last.
        minutes: The expected time.
        arguments: The arguments of bertx.
        needs: The folders of the steps whose results it reads.
    """

    name: str
    folder: Path
    result: Path
    minutes: float
    arguments: tuple[str, ...]
    needs: tuple[Path, ...] = ()

    def begun(self) -> bool:
        """Return whether the step has been begun and can be continued."""
        return self.folder.is_dir()

    def ended(self) -> bool:
        """Return whether the step is done.

        Raises:
            InputError: If the folder holds results with other settings.
        """
        return self.result.is_file()

    def command(self) -> list[str]:
        """Return the arguments of bertx that run or continue the step."""
        return list(self.arguments)


@dataclass(frozen=True)
class FitStep(PlannedStep):
    """A training run.

    Attributes:
        settings: The settings of the run, as in ``config.yaml``: ``{data.seed: 42}``.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)

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
        exported = super().ended()
        if exported or self.begun():
            self._check()
        return exported

    def command(self) -> list[str]:
        """Return the arguments, with the checkpoint to continue from if there is one."""
        return [*self.arguments, *([f"--ckpt_path={self.last}"] if self.begun() else [])]

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


def steps_of(preset: ReproducePreset, folders: Folders) -> list[PlannedStep]:
    """Return all steps, each after the steps that it needs."""
    return [
        *(_fit_step(name, fit, preset.common, folders) for name, fit in preset.fits.items()),
        *(_study_step(name, study, folders) for name, study in preset.studies.items()),
        _report_step(preset, folders),
    ]


def _fit_step(name: str, fit: Fit, common: Mapping[str, Any], folders: Folders) -> FitStep:
    csv = {"save_dir": str(folders.runs), "name": "", "version": name}
    loggers = [{"class_path": _CSV, "init_args": csv}]
    if folders.wandb:
        wandb = {"project": "bertx", "name": name, "save_dir": str(folders.out)}
        loggers.append({"class_path": _WANDB, "init_args": wandb})
    path = {} if folders.data is None else {"data.path": str(folders.data / fit.dataset)}
    settings = {"data.dataset": fit.dataset, **path, **common, **fit.settings}
    options = [f"--{key}={_written(value)}" for key, value in settings.items()]
    options.append(f"--trainer.logger={json.dumps(loggers)}")
    folder = folders.runs / name
    return FitStep(
        name=f"fit {name}",
        folder=folder,
        result=folder / "hf" / "config.json",
        minutes=fit.minutes,
        arguments=("fit", "--config", f"{fit.dataset}.yaml", *options),
        settings=settings,
    )


def _study_step(name: str, study: StudyPlan, folders: Folders) -> PlannedStep:
    folder = folders.studies / name
    runs = tuple(folders.runs / run for run in study.runs)
    others = {key: folders.runs / run for key, run in study.other_runs.items()}
    options: list[str] = []
    for key, value in {**study.settings, **{key: str(run) for key, run in others.items()}}.items():
        options.append(f"--{key}")
        if value is not True:  # an option without a value
            options.append(_written(value))
    options += ["--scores", str(folders.out / "scores"), "--out", str(folder)]
    if folders.lexicon is not None and study.study == "word-rank":
        options += ["--lexicon", str(folders.lexicon)]
    if folders.wandb:
        options.append("--wandb")
    return PlannedStep(
        name=f"study {name}",
        folder=folder,
        result=folder / "summary.json",
        minutes=study.minutes,
        arguments=("study", study.study, *map(str, runs), *options),
        needs=(*runs, *others.values()),
    )


def _report_step(preset: ReproducePreset, folders: Folders) -> PlannedStep:
    page = folders.out / "report.html"
    studies = (folders.studies / name for name in preset.studies)
    needs = (*studies, *(folders.runs / name for name in preset.fits))
    arguments = ("report", *map(str, needs), "--out", str(page))
    return PlannedStep("report", page, page, 1.0, arguments, needs)


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
