"""A run's folder, read again: what it trained, and what its callbacks wrote."""

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
"""When `ShortcutAlarm` warns, unless it is told otherwise."""

_NUMBERS = (int, float)


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
    """What could not be read, and why."""

    path: str
    reason: str


@dataclass
class Stage:
    """What the callbacks wrote of one stage, each part empty if they did not.

    Attributes:
        name: ``val``, ``test``, or with the name of a callback, ``val/masked``.
        curves: The points of the last curves, by kind and method.
        searched: The same over the texts that were searched for a ceiling.
        results: The last faithfulness of each method.
        examples: The last values of single examples.
        when: What ``examples`` are of.
        confidence: At which pairs of methods were decided text by text, None if they were not.
        drift: How far explanations moved, all epochs.
        agreement: The last correlation of each two methods.
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
        """What each method of the stage is, in their order."""
        roles: dict[str, Role] = {row["method"]: "method" for row in self.results}
        roles |= {row["method"]: "method" for row in (*self.curves, *self.searched, *self.drift)}
        roles |= {name: "method" for row in self.agreement for name in (row["a"], row["b"])}
        if self.heatmaps is not None:
            roles |= {method: "method" for method in self.heatmaps.signed}
        return roles | {row.method: row.role for row in self.examples}

    @property
    def methods(self) -> set[str]:
        """The names in any of its tables that are no control and no ceiling."""
        return {name for name, role in self.roles.items() if role == "method"}


@dataclass
class Run:
    """What a run left.

    Attributes:
        folder: Where it lies.
        name: What it is called in a report.
        config: Its configuration; empty if unknown.
        version: The bertx that wrote it; empty if unknown.
        history: How the training went.
        stages: What was explained.
        problems: What could not be read.
    """

    folder: Path
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    history: Sequence[Logged] = ()
    stages: list[Stage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def fact(self, *keys: str) -> Any:
        """A setting by its path; None if it is not there."""
        setting: Any = self.config
        for key in keys:
            setting = setting.get(key) if isinstance(setting, Mapping) else None
        return setting

    @property
    def data(self) -> str:
        """What it was trained on."""
        dataset, path = self.fact("data", "dataset"), self.fact("data", "path")
        name = str(dataset or Path(str(path or "")).name)
        return f"{name} with shuffled labels" if self.shuffled else name

    @property
    def shuffled(self) -> bool:
        """Whether it was trained on shuffled labels, which there is nothing to learn from."""
        return self.fact("data", "shuffle_labels") is True

    @property
    def alarm(self) -> dict[str, float]:
        """When its `ShortcutAlarm` warns: share of a word, and texts of a class."""
        callbacks = self.fact("trainer", "callbacks")
        for callback in callbacks if isinstance(callbacks, list) else []:
            if isinstance(callback, dict) and str(callback.get("class_path")).endswith(
                "ShortcutAlarm"
            ):
                given = callback.get("init_args")
                settings = given if isinstance(given, dict) else {}
                numbers = {
                    k: v for k, v in settings.items() if k in ALARM and isinstance(v, _NUMBERS)
                }
                return ALARM | numbers
        return ALARM


def problem_of(error: InputError, folder: Path) -> Problem:
    """What an error says: the path that it begins with, else that of the folder, and why."""
    path, _, reason = str(error).partition(": ")
    return Problem(path, reason) if reason else Problem(str(folder), path)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (folder / CONFIG).is_file() or (folder / "bertx").is_dir()


def read_run(folder: Path, name: str) -> Run:
    """Read all there is of a run; what cannot be read is among its problems."""
    run = Run(folder, name)
    if (folder / CONFIG).is_file():  # other projects than bertx's own have none
        unknown: tuple[dict[str, Any], str] = ({}, "")
        run.config, run.version = _try(run, lambda: _config(folder / CONFIG), unknown)
    if history := find_history(folder):
        run.history = _try(run, lambda: read_history(history), [])
    for place in _places(folder / "bertx"):
        run.stages.append(_stage(run, place, place.relative_to(folder / "bertx").as_posix()))
    run.problems += _missing(run)
    return run


def _try(run: Run, read: Callable[[], T], otherwise: T) -> T:
    """What is read; if it cannot be, that becomes a problem of the run."""
    try:
        return read()
    except InputError as error:
        run.problems.append(problem_of(error, run.folder))
        return otherwise


def _missing(run: Run) -> Iterator[Problem]:
    """The files that the configuration lets expect, and that are not there."""
    stages = run.stages
    expected = {
        "faithfulness": (
            "faithfulness.csv",
            any(stage.results or stage.examples for stage in stages),
        ),
        "heatmaps": ("heatmaps.json", any(stage.heatmaps for stage in stages)),
    }
    for key, (file, there) in expected.items():
        settings = run.config.get(key)
        wanted = isinstance(settings, dict) and settings.get("methods") != {}
        if wanted and not there and not any(p.path.endswith(file) for p in run.problems):
            yield Problem(
                str(run.folder / "bertx" / "val" / file),
                f"expected, as {key!r} is on in {CONFIG}, but there is none: no validation has "
                "been explained yet, or an older bertx has written the run.",
            )


def _places(folder: Path) -> list[Path]:
    """The folders of stages: those that have what a callback writes; ``val`` before ``test``."""
    if not folder.is_dir():
        return []
    folders = {path.parent for mark in _MARKS for path in folder.rglob(mark)}
    stages = [place for place in folders if place.name != "searched" and place != folder]
    return sorted(stages, key=lambda p: (p.relative_to(folder).parts[0] != "val", str(p)))


def _stage(run: Run, folder: Path, name: str) -> Stage:
    def table(file: str, place: Path = folder) -> list[Row]:
        path = place / file
        return _try(run, lambda: list(_rows(path)), []) if path.is_file() else []

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
        last = _try(run, lambda: _examples(folder), none)
        stage.when, stage.examples, stage.confidence = last
    if (folder / "heatmaps.json").is_file():
        path = folder / "heatmaps.json"
        stage.heatmaps = _try(run, lambda: read_heatmap_file(path), None)
    return stage


def _examples(folder: Path) -> tuple[str, list[ExampleValue], float | None]:
    path = find_examples(folder)
    when = path.stem.replace("=", " ").replace("-", ", ")
    return when, read_examples(path), confidence_of(path)


def _config(path: Path) -> tuple[dict[str, Any], str]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{path}: expected settings in YAML, but it has none ({why}).") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected settings, but it has none.")
    first = text.split("\n", 1)[0]
    return config, first.partition("==")[2].strip() if first.startswith("# bertx==") else ""


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a table, with the columns that are read; others are left as they are."""
    kinds = _COLUMNS[path.name]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if missing := [name for name in kinds if name not in (reader.fieldnames or ())]:
                raise InputError(
                    f"{path}: expected the columns {', '.join(kinds)}, but {missing[0]!r} is "
                    "missing."
                )
            for number, row in enumerate(reader, 2):
                yield _row(path, number, row, kinds)
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
    """The curves of a table, by kind, each with its area by the trapezoidal rule."""
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
