"""The steps of a reproduction: what each runs, and what of it is there already."""

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
        out: Its folder.
        data: The folder with a folder of files for each data set; None: they come from the hub.
        lexicon: A sentiment lexicon for the studies of words; None for none.
        wandb: Whether it logs to Weights & Biases too.
    """

    out: Path
    data: Path | None = None
    lexicon: Path | None = None
    wandb: bool = False

    @property
    def runs(self) -> Path:
        """Where the fits are."""
        return self.out / "runs"

    @property
    def studies(self) -> Path:
        """Where the studies are."""
        return self.out / "studies"


@dataclass(frozen=True)
class PlannedStep(ABC):
    """One command of bertx, whose outcome is found again by its folder.

    Attributes:
        name: Its name among the steps.
        folder: The folder (of the report, the file) that it writes.
        minutes: How long it is expected to take.
        needs: The folders of the steps whose outcome it reads.
    """

    name: str
    folder: Path
    minutes: float
    needs: tuple[Path, ...]

    @abstractmethod
    def begun(self) -> bool:
        """Whether there is something to go on from."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether its outcome is there.

        Raises:
            InputError: If what is there was made with other settings.
        """

    @abstractmethod
    def command(self) -> list[str]:
        """The arguments of bertx that make it, or go on with what there is of it."""


@dataclass(frozen=True)
class FitStep(PlannedStep):
    """A training.

    Attributes:
        settings: All that is set, as in ``config.yaml``: ``{data.seed: 42}``.
        config: The configuration over which that is set.
        loggers: Where it logs to.
    """

    config: str
    settings: Mapping[str, Any]
    loggers: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, name: str, fit: Fit, common: Mapping[str, Any], folders: Folders) -> "FitStep":
        """A training of a preset."""
        csv = {"save_dir": str(folders.runs), "name": "", "version": name}
        loggers = [{"class_path": _CSV, "init_args": csv}]
        if folders.wandb:
            named = {"project": "bertx", "name": name, "save_dir": str(folders.out)}
            loggers.append({"class_path": _WANDB, "init_args": named})
        path = {} if folders.data is None else {"data.path": str(folders.data / fit.dataset)}
        settings = {"data.dataset": fit.dataset, **path, **common, **fit.settings}
        config = f"{fit.dataset}.yaml"
        folder = folders.runs / name
        return cls(f"fit {name}", folder, fit.minutes, (), config, settings, tuple(loggers))

    @property
    def last(self) -> Path:
        """The checkpoint from which it goes on."""
        return self.folder / "checkpoints" / "last.ckpt"

    def begun(self) -> bool:
        """Whether there is a checkpoint."""
        return self.last.is_file()

    def ended(self) -> bool:
        """Whether the model was exported, which is the last thing that a training does.

        Raises:
            InputError: If the run in the folder was made with other settings.
        """
        exported = (self.folder / "hf" / "config.json").is_file()
        if exported or self.begun():
            self._check()
        return exported

    def command(self) -> list[str]:
        """``fit``, with all that is set."""
        named = [f"--{key}={_written(value)}" for key, value in self.settings.items()]
        logger = f"--trainer.logger={json.dumps(self.loggers)}"
        on = [f"--ckpt_path={self.last}"] if self.begun() else []
        return ["fit", "--config", self.config, *named, logger, *on]

    def _check(self) -> None:
        path = self.folder / "config.yaml"
        try:
            saved = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError, ValueError) as error:
            raise InputError(
                f"{path}: expected the configuration of the run, but it cannot be read. Remove "
                f"{self.folder}, or name another folder with --out."
            ) from error
        wrong = [line for key, value in self.settings.items() for line in _other(key, value, saved)]
        if wrong:
            raise InputError(
                f"{self.folder}: the run that is there was made with {', '.join(wrong)}. Restore "
                "these settings, remove the folder, or name another one with --out."
            )


@dataclass(frozen=True)
class _ReadingStep(PlannedStep):
    """What reads the outcome of other steps, and finds what it has itself.

    Attributes:
        arguments: The arguments of bertx.
    """

    arguments: tuple[str, ...]

    def command(self) -> list[str]:
        """The same whether something is there or not."""
        return list(self.arguments)


class StudyStep(_ReadingStep):
    """A study."""

    @classmethod
    def of(cls, name: str, study: StudyPlan, folders: Folders) -> "StudyStep":
        """A study of a preset."""
        folder = folders.studies / name
        runs = tuple(folders.runs / run for run in study.runs)
        others = {key: folders.runs / run for key, run in study.other_runs.items()}
        settings = {**study.settings, **{key: str(run) for key, run in others.items()}}
        options = [text for key, value in settings.items() for text in _option(key, value)]
        given = ["study", study.study, *map(str, runs), *options]
        given += ["--scores", str(folders.out / "scores"), "--out", str(folder)]
        if folders.lexicon is not None and study.study == "word-rank":
            given += ["--lexicon", str(folders.lexicon)]
        if folders.wandb:
            given.append("--wandb")
        needs = (*runs, *others.values())
        return cls(f"study {name}", folder, study.minutes, needs, tuple(given))

    def begun(self) -> bool:
        """Whether there is something of it."""
        return self.folder.exists()

    def ended(self) -> bool:
        """Whether its summary is there, which is written last."""
        return (self.folder / "summary.json").is_file()


class ReportStep(_ReadingStep):
    """The page of all runs and studies."""

    @classmethod
    def of(cls, preset: ReproducePreset, folders: Folders) -> "ReportStep":
        """The page of a preset."""
        studies = (folders.studies / name for name in preset.studies)
        shown = (*studies, *(folders.runs / name for name in preset.fits))
        page = folders.out / "report.html"
        given = ("report", *map(str, shown), "--out", str(page))
        return cls("report", page, 1.0, shown, given)

    def begun(self) -> bool:
        """Never: it is written at once."""
        return False

    def ended(self) -> bool:
        """Whether the page is there."""
        return self.folder.is_file()


def steps_of(preset: ReproducePreset, folders: Folders) -> list[PlannedStep]:
    """All steps, each after those that it needs."""
    return [
        *(FitStep.of(name, fit, preset.common, folders) for name, fit in preset.fits.items()),
        *(StudyStep.of(name, study, folders) for name, study in preset.studies.items()),
        ReportStep.of(preset, folders),
    ]


def _option(key: str, value: Any) -> Iterator[str]:
    """An option of a study; true is one without a value."""
    yield f"--{key}"
    if value is not True:
        yield _written(value)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _other(key: str, expected: Any, saved: Any, within: str = "") -> Iterator[str]:
    """What a saved configuration has in place of a setting."""
    for name in key.split("."):
        saved = saved.get(name) if isinstance(saved, Mapping) else None
    full = f"{within}{key}"
    if isinstance(expected, Mapping):
        for name, value in expected.items():
            yield from _other(name, value, saved, f"{full}.")
    elif not _same(full, expected, saved):
        yield f"{full} {_written(saved)} (now {_written(expected)})"


def _same(key: str, expected: Any, saved: Any) -> bool:
    if expected == saved:
        return True
    if key == "data.path":
        return Path(str(expected)).resolve() == Path(str(saved)).resolve()
    try:  # YAML takes 1e-4 for text
        return float(expected) == float(saved)
    except (TypeError, ValueError):
        return False
