"""Reading the folder of a run: its configuration, history, and files of callbacks."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite, nan
from pathlib import Path
from typing import Any, TypeVar

from bertx.errors import InputError
from bertx.leaderboard.example_values import (
    ExampleValue,
    confidence_of,
    find_examples,
    read_examples,
)
from bertx.rendering.curves import Curve, Role
from bertx.rendering.heatmap_file import HeatmapFile, read_heatmap_file
from bertx.report.history import Logged, find_history, read_history
from bertx.statistics.correlations import Interval

CONFIG = "config.yaml"
ALARM = {"bound": 0.15, "min_texts": 30}
"""The default thresholds of `ShortcutAlarm`."""


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


Row = dict[str, Any]
T = TypeVar("T")

_MARKS = ("faithfulness.csv", "curves.csv", "drift.csv", "agreement.csv", "shortcuts.csv",
          "heatmaps.json", "heatmaps.html", "examples")  # fmt: skip
_COLUMNS: dict[str, dict[str, Callable[[str], Any]]] = {
    "curves.csv": {"epoch": int, "step": int, "kind": str, "method": str, "fraction": _finite,
                   "mean": float, "low": float, "high": float},
    "faithfulness.csv": {"epoch": int, "step": int, "method": str, "signed": str, "cost": float,
                         "count": int},
    "drift.csv": {"epoch": int, "step": int, "method": str, "drift": float, "drift_se": float,
                  "spearman": float, "settled": str},
    "agreement.csv": {"epoch": int, "step": int, "a": str, "b": str, "spearman": float,
                      "spearman_se": float, "count": int},
    "shortcuts.csv": {"epoch": int, "step": int, "class": str, "word": str, "share": float,
                      "excess": float, "texts": int, "of": int, "elsewhere": int, "others": int},
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, with the reason."""

    path: str
    reason: str


@dataclass
class Stage:
    """The files of callbacks for one stage; the fields of missing files are empty.

    Attributes:
        name: ``val``, ``test``, or with the name of a callback, ``val/masked``.
        curves: The points of the last curves, by kind and method.
        searched: The points over the texts that were searched for a ceiling.
        results: The last faithfulness of each method.
        examples: The last values of single examples.
        when: Epoch and step of ``examples``.
        confidence: The confidence at which pairs of methods were decided text by text; None if
            all texts were used.
        drift: The drift of explanations in all epochs.
        agreement: The last pairwise correlations of the methods.
        shortcuts: The last shares of words.
        heatmaps: The explained texts.
    """

    name: str
    curves: Sequence[Row] = ()
    searched: Sequence[Row] = ()
    results: Sequence[Row] = ()
    examples: Sequence[ExampleValue] = ()
    when: str = ""
    confidence: float | None = None
    drift: Sequence[Row] = ()
    agreement: Sequence[Row] = ()
    shortcuts: Sequence[Row] = ()
    heatmaps: HeatmapFile | None = None

    @property
    def roles(self) -> dict[str, Role]:
        """The role of each method in any of the tables, in order of appearance."""
        roles: dict[str, Role] = {row["method"]: "method" for row in self.results}
        roles |= {row["method"]: "method" for row in (*self.curves, *self.searched, *self.drift)}
        roles |= {name: "method" for row in self.agreement for name in (row["a"], row["b"])}
        if self.heatmaps is not None:
            roles |= {method: "method" for method in self.heatmaps.signed}
        return roles | {row.method: row.role for row in self.examples}

    @property
    def methods(self) -> set[str]:
        """The names in any of the tables except control and ceiling."""
        return {name for name, role in self.roles.items() if role == "method"}


@dataclass
class Run:
    """A run with everything a report shows of it.

    Attributes:
        folder: Its folder.
        name: Its name in a report.
        config: Its configuration; empty if unknown.
        version: The version of bertx that wrote it; empty if unknown.
        history: The logged values of its training.
        stages: The files of callbacks, by stage.
        problems: Files that could not be read.
    """

    folder: Path
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    history: Sequence[Logged] = ()
    stages: list[Stage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def fact(self, *keys: str) -> Any:
        """Return a setting by its path in the configuration; None if it is missing."""
        setting: Any = self.config
        for key in keys:
            setting = setting.get(key) if isinstance(setting, Mapping) else None
        return setting

    @property
    def data(self) -> str:
        """The name of its training data."""
        dataset, path = self.fact("data", "dataset"), self.fact("data", "path")
        name = str(dataset or Path(str(path or "")).name)
        return f"{name} with shuffled labels" if self.shuffled else name

    @property
    def shuffled(self) -> bool:
        """Whether it was trained on shuffled labels, from which nothing can be learned."""
        return self.fact("data", "shuffle_labels") is True

    @property
    def alarm(self) -> dict[str, float]:
        """The thresholds of its `ShortcutAlarm`: share of a word, and texts of a class."""
        callbacks = self.fact("trainer", "callbacks")
        for callback in callbacks if isinstance(callbacks, list) else []:
            if not isinstance(callback, dict):
                continue
            if str(callback.get("class_path")).endswith("ShortcutAlarm"):
                settings = callback.get("init_args")
                if not isinstance(settings, dict):
                    return ALARM
                return {
                    name: settings[name] if isinstance(settings.get(name), (int, float)) else usual
                    for name, usual in ALARM.items()
                }
        return ALARM


def problem_of(error: InputError, folder: Path) -> Problem:
    """Split the message of an error into path and reason; without a path it is the folder."""
    path, _, reason = str(error).partition(": ")
    return Problem(path, reason) if reason else Problem(str(folder), path)


def is_run(folder: Path) -> bool:
    """Whether a folder is the folder of a run, finished or not."""
    return (folder / CONFIG).is_file() or (folder / "bertx").is_dir()


def read_run(folder: Path, name: str) -> Run:
    """Read a run; files that cannot be read become problems of the run."""
    run = Run(folder, name)
    if (folder / CONFIG).is_file():  # projects other than bertx have none
        unknown: tuple[dict[str, Any], str] = ({}, "")
        run.config, run.version = _try(run, _config, folder / CONFIG, unknown)
    history = find_history(folder)
    if history is not None:
        run.history = _try(run, read_history, history, [])
    for place in _places(folder / "bertx"):
        run.stages.append(_stage(run, place, place.relative_to(folder / "bertx").as_posix()))
    run.problems += _missing(run)
    return run


def _try(run: Run, read: Callable[[Path], T], path: Path, default: T) -> T:
    """Read a file; if that fails, it becomes a problem of the run, and the result is a default."""
    try:
        return read(path)
    except InputError as error:
        run.problems.append(problem_of(error, run.folder))
        return default


def _missing(run: Run) -> Iterator[Problem]:
    """Yield the missing files of callbacks that the configuration has switched on."""
    measured = any(stage.results or stage.examples for stage in run.stages)
    drawn = any(stage.heatmaps for stage in run.stages)
    for key, file, present in (
        ("faithfulness", "faithfulness.csv", measured),
        ("heatmaps", "heatmaps.json", drawn),
    ):
        settings = run.config.get(key)
        expected = isinstance(settings, dict) and settings.get("methods") != {}
        if expected and not present and not any(p.path.endswith(file) for p in run.problems):
            yield Problem(
                str(run.folder / "bertx" / "val" / file),
                f"expected, as {key!r} is on in {CONFIG}, but it does not exist: no validation has "
                "been explained yet, or an older version of bertx wrote the run.",
            )


def _places(folder: Path) -> list[Path]:
    """The folders of stages, which have files of callbacks; ``val`` comes before ``test``."""
    if not folder.is_dir():
        return []
    folders = {path.parent for mark in _MARKS for path in folder.rglob(mark)}
    stages = [place for place in folders if place.name != "searched" and place != folder]
    return sorted(stages, key=lambda p: (p.relative_to(folder).parts[0] != "val", str(p)))


def _stage(run: Run, folder: Path, name: str) -> Stage:
    def table(file: str, place: Path = folder) -> list[Row]:
        path = place / file
        return _try(run, _rows, path, []) if path.is_file() else []

    stage = Stage(
        name,
        curves=_last(table("curves.csv")),
        searched=_last(table("curves.csv", folder / "searched")),
        results=_last(table("faithfulness.csv")),
        drift=table("drift.csv"),
        agreement=_last(table("agreement.csv")),
        shortcuts=_last(table("shortcuts.csv")),
    )
    if (folder / "examples").is_dir():
        none: tuple[str, list[ExampleValue], float | None] = ("", [], None)
        stage.when, stage.examples, stage.confidence = _try(run, _examples, folder, none)
    if (folder / "heatmaps.json").is_file():
        stage.heatmaps = _try(run, read_heatmap_file, folder / "heatmaps.json", None)
    return stage


def _examples(folder: Path) -> tuple[str, list[ExampleValue], float | None]:
    """The last values of single examples: when they were measured, the values, the confidence."""
    path = find_examples(folder)
    when = path.stem.replace("=", " ").replace("-", ", ")
    return when, read_examples(path), confidence_of(path)


def _config(path: Path) -> tuple[dict[str, Any], str]:
    """The configuration of a run, and the version of bertx in its first line."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected settings in YAML, but they cannot be read ({why})."
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected settings, but it has none.")
    first = text.split("\n", 1)[0]
    return config, first.partition("==")[2].strip() if first.startswith("# bertx==") else ""


def _rows(path: Path) -> list[Row]:
    """The rows of a table, with the values of `_COLUMNS`; other columns stay text."""
    kinds = _COLUMNS[path.name]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            for name in kinds:
                if name not in (reader.fieldnames or ()):
                    raise InputError(
                        f"{path}: expected the columns {', '.join(kinds)}, but {name!r} is missing."
                    )
            return [_row(path, number, row, kinds) for number, row in enumerate(reader, 2)]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a table, but it cannot be read ({error}).") from error


def _row(
    path: Path, number: int, row: dict[str, str], kinds: Mapping[str, Callable[[str], Any]]
) -> Row:
    values: Row = dict(row)
    for name, kind in kinds.items():
        try:
            values[name] = nan if kind is float and not row[name] else kind(row[name])
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: {name!r} is {row[name]!r}, which is not a number."
            ) from error
    return values


def _last(rows: Sequence[Row]) -> list[Row]:
    """The rows of the last validation."""
    when = max(((row["epoch"], row["step"]) for row in rows), default=None)
    return [row for row in rows if (row["epoch"], row["step"]) == when]


def curves_of(rows: Sequence[Row], roles: Mapping[str, Role]) -> dict[str, list[Curve]]:
    """Return the curves of a table, by kind, each with its area by the trapezoidal rule."""
    tables: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        tables.setdefault(row["kind"], {}).setdefault(row["method"], []).append(row)
    return {
        kind: [_curve(name, points, roles.get(name, "method")) for name, points in methods.items()]
        for kind, methods in tables.items()
    }


def _curve(name: str, rows: Sequence[Row], role: Role) -> Curve:
    rows = sorted(rows, key=lambda row: row["fraction"])
    area = sum(
        (b["fraction"] - a["fraction"]) * (a["mean"] + b["mean"]) / 2 for a, b in pairwise(rows)
    )
    means = [Interval(row["mean"], row["low"], row["high"]) for row in rows]
    return Curve(name, [row["fraction"] for row in rows], means, area, role)
