"""The report: runs and studies as one self-contained page of findings with their evidence."""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertx.errors import InputError
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.formatting import legend
from bertx.leaderboard.page import board_contents
from bertx.leaderboard.results import Leaderboard
from bertx.rendering.colours import scale
from bertx.rendering.heatmap import ends
from bertx.rendering.templates import source, template
from bertx.report import findings, sections
from bertx.report.heatmaps import palette, sheets_of
from bertx.report.run import Problem, Run, Stage, is_run, problem_of, read_run
from bertx.report.study import Finding, Study, is_study, read_study

if TYPE_CHECKING:
    from markupsafe import Markup


VERSION = version("bertx")
_PARTS = {
    "curves": "Faithfulness",
    "boards": "Leaderboards",
    "drift": "Drift",
    "agreement": "Agreement",
    "cost": "Cost",
}
"""The sections of a stage; heatmaps come after the leaderboards."""
_NAMED = 2
# most runs or studies that the heading names; of more it has the number


@dataclass
class Report:
    """The contents of a page.

    Attributes:
        runs: The runs.
        studies: The studies.
        boards: For each stage its leaderboards by the name of their data, or by the name of a run
            that cannot be compared with the others; the name is empty if all runs have one data.
        problems: Files that could not be read, and runs that could not be compared.
    """

    runs: list[Run] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    boards: dict[str, dict[str, list[Leaderboard]]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def check_places(places: Sequence[Path]) -> None:
    """Check that all places are folders of runs or studies, and different.

    Raises:
        InputError: For the first place that is not.
    """
    seen = set[Path]()
    for place in places:
        if not place.is_dir():
            raise InputError(
                f"{place}: expected the folder of a run or of a study, but "
                f"{'it is a file' if place.exists() else 'it does not exist'}."
            )
        if not is_run(place) and not is_study(place):
            raise InputError(
                f"{place}: expected the folder of a run (with config.yaml or bertx/) or of a study "
                "(with study.json or summary.json), but it has none of these."
            )
        if place.resolve() in seen:
            raise InputError(f"{place}: expected each folder once, got it twice.")
        seen.add(place.resolve())


def read_report(places: Sequence[Path], relevant: float = 0.01) -> Report:
    """Read runs and studies, and rank the methods of the runs.

    Args:
        places: Their folders.
        relevant: The smallest difference that matters.

    Raises:
        InputError: If a place is neither a run nor a study.
    """
    check_places(places)
    report = Report()
    for place, name in zip(places, _names(places), strict=True):
        if is_study(place):
            try:
                report.studies.append(read_study(place))
            except InputError as error:
                report.problems.append(problem_of(error, place))
        else:
            report.runs.append(read_run(place, name))
    report.studies = _with_distinct_titles(report.studies)
    report.problems += [problem for run in report.runs for problem in run.problems]
    for stage in dict.fromkeys(stage.name for run in report.runs for stage in run.stages):
        report.boards[stage] = _boards(report, stage, relevant)
    report.problems += _other_versions(report)
    return report


def report_page(report: Report) -> str:
    """Render the page.

    Returns:
        A whole HTML document that loads nothing; its content security policy allows only its one
        script and its one style sheet. Everything that comes from data is escaped.
    """
    style, script = source("report.css"), source("report.js")
    contents = _contents(report)
    style += "".join(
        f".{name} {{ background: {colour}; color: {ink}; }}\n"
        for name, colour, ink in sections.shades()
    )
    data = {
        "charts": {key: chart["read"] for key, chart in _charts(contents)},
        "sheets": sheets_of(report.runs),
        "palette": palette(),
    }
    return template("report.html.jinja").render(
        **contents,
        style=_markup(style),
        script=_markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_markup(script_json(data)),
    )


def script_json(data: Any) -> str:
    """Return JSON that is safe inside a script element: ASCII without ``<``, ``>`` and ``&``."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def groups_of(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by the name of their data; the name is empty if all have the same."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return groups if len(groups) > 1 else {"": list(runs)}


def _boards(report: Report, name: str, relevant: float) -> dict[str, list[Leaderboard]]:
    """The leaderboards of a stage, for all runs of the same data, or for each run on its own."""
    boards: dict[str, list[Leaderboard]] = {}
    for data, runs in groups_of(report.runs).items():
        stages = {
            run.name: stage
            for run in runs
            for stage in run.stages
            if stage.name == name and stage.examples
        }
        if stages:
            boards |= _ranked(report, stages, data, relevant)
    return boards


def _ranked(
    report: Report, stages: Mapping[str, Stage], where: str, relevant: float
) -> dict[str, list[Leaderboard]]:
    """Rank the methods of runs together, or of each run if the runs cannot be compared."""
    when = {stage.when for stage in stages.values()}
    names = {stage.name for stage in stages.values()}
    note = ", ".join(filter(None, [where, *names, *(when if len(when) == 1 else ())]))
    try:
        examples = {run: stage.examples for run, stage in stages.items()}
        levels = [s.confidence for s in stages.values() if s.confidence is not None]
        return {where: leaderboards(examples, (), relevant, note, levels[0] if levels else None)}
    except InputError as error:
        apart = "not compared with each other, each stands alone: " if len(stages) > 1 else ""
        report.problems.append(Problem(", ".join(stages), f"{apart}{error}"))
    boards: dict[str, list[Leaderboard]] = {}
    if len(stages) > 1:
        for run, stage in stages.items():
            boards |= _ranked(report, {run: stage}, run, relevant)
    return boards


def _with_distinct_titles(studies: list[Study]) -> list[Study]:
    """Add the name of the folder to titles that occur more than once."""
    titles = [study.title for study in studies]
    names = [
        f"{study.title}, {study.folder.name}" if titles.count(study.title) > 1 else study.title
        for study in studies
    ]
    return [replace(study, title=name) for study, name in zip(studies, names, strict=True)]


def _other_versions(report: Report) -> Iterator[Problem]:
    """Yield the runs and studies that another version of bertx wrote."""
    sources: list[Run | Study] = [*report.runs, *report.studies]
    for place in sources:
        if place.version and place.version != VERSION:
            yield Problem(
                str(place.folder),
                f"written by bertx {place.version}, read by {VERSION}: what has changed between "
                "them may be missing here.",
            )


def _contents(report: Report) -> dict[str, Any]:
    """The variables of the template."""
    every = [b for stage in report.boards.values() for boards in stage.values() for b in boards]
    facts = [_run_facts(run) for run in report.runs]
    contents = {
        "title": _title(report),
        "version": VERSION,
        "runs": facts,
        "facts": list(dict.fromkeys(key for run_facts in facts for key in run_facts)),
        "findings": _run_findings(report),
        "problems": [(p.path, p.reason) for p in report.problems],
        "training": [
            sections.training(runs, data) for data, runs in groups_of(report.runs).items()
        ],
        "stages": [_stage_contents(report, name) for name in report.boards],
        "legend": legend(every) if every else [],
        "sheets": any(stage.heatmaps for run in report.runs for stage in run.stages),
        "scales": [
            (kind, scale(kind == "signed"), ends(kind == "signed"))
            for kind in ("signed", "unsigned")
        ],
        "studies": report.studies,
    }
    return {**contents, "contents": _places(contents)}


def _places(contents: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections of the page for its navigation: id and name."""
    shown = {**contents, "findings": [*contents["findings"], *contents["studies"]]}
    first = {"problems": "Missing", "findings": "Findings", "training": "Training"}
    places = [(key, name) for key, name in first.items() if any(shown[key])]
    for part, name in _PARTS.items():
        stages = [(i, stage) for i, stage in enumerate(contents["stages"], 1) if stage[part]]
        for number, stage in stages:
            where = "" if len(stages) == 1 else f", {stage['name']}"
            places.append((f"{part}-{number}", f"{name}{where}"))
        if part == "boards" and contents["sheets"]:
            places.append(("heatmaps", "Heatmaps"))
    studies = enumerate(contents["studies"], 1)
    return places + [(f"study-{number}", study.title) for number, study in studies]


def _run_findings(report: Report) -> list[Finding]:
    sentences: list[Finding] = []
    for data, runs in groups_of(report.runs).items():
        sentences += _prefixed(data, findings.training_findings(runs))
    for name, boards in report.boards.items():
        for where, ranked in boards.items():
            sentences += _prefixed(where, findings.board_findings(ranked))
        stages = _of_stage(report, name)
        for make in (
            findings.drift_findings,
            findings.shortcut_findings,
            findings.agreement_findings,
            findings.cost_findings,
            findings.empty_findings,
        ):
            sentences += make(stages)
    return sentences


def _prefixed(where: str, sentences: Iterable[Finding]) -> Iterator[Finding]:
    for finding in sentences:
        yield replace(finding, text=f"{where}: {finding.text}") if where else finding


def _of_stage(report: Report, name: str) -> list[tuple[Run, Stage]]:
    return [(run, stage) for run in report.runs for stage in run.stages if stage.name == name]


def _stage_contents(report: Report, name: str) -> dict[str, Any]:
    """The sections of a stage: charts and tables of each run, and the leaderboards."""
    parts: dict[str, Any] = {part: [] for part in _PARTS}
    for run, stage in _of_stage(report, name):
        unit = "token" if run.fact("faithfulness", "unit") == "token" else "word"
        parts["curves"] += sections.faithfulness(run, stage, unit)
        if chart := sections.drift(run, stage):
            parts["drift"].append(chart)
        if table := sections.agreement(stage):
            parts["agreement"].append((run.name, table))
        if bars := sections.costs(stage):
            parts["cost"].append((run.name, bars))
    parts["boards"] = [
        board_contents(board) for boards in report.boards[name].values() for board in boards
    ]
    return {"name": name, **parts}


def _charts(contents: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """All charts by their id, which each of them gets here."""
    charts = [chart for charts in contents["training"] for chart in charts]
    charts += [
        chart for stage in contents["stages"] for chart in (*stage["curves"], *stage["drift"])
    ]
    for number, chart in enumerate(charts):
        chart["id"] = f"chart-{number}"
    return [(chart["id"], chart) for chart in charts]


def _run_facts(run: Run) -> dict[str, str]:
    """The settings of a run in the head of the page."""
    steps = [row for row in run.history if row.key.startswith("val/") or row.key == "train/loss"]
    last = max(steps, key=lambda row: row.step, default=None)
    facts = {
        "model": run.fact("model", "name"),
        "data": run.data,
        "seed": run.fact("seed_everything"),
        "learning rate": run.fact("model", "learning_rate"),
        "batch size": run.fact("data", "batch_size"),
        "trained": None if last is None else f"to epoch {last.epoch}, step {last.step}",
    }
    present = {key: str(value) for key, value in facts.items() if value not in (None, "")}
    return {"run": run.name, **present, "folder": str(run.folder)}


def _title(report: Report) -> str:
    data = dict.fromkeys(run.data for run in report.runs)
    names = [run.name for run in report.runs]
    titles = [study.title for study in report.studies]
    runs = names if len(names) <= _NAMED else [f"{len(names)} runs"]
    studies = titles if len(titles) <= _NAMED else [f"{len(titles)} studies"]
    return ", ".join(filter(None, [*data, *runs, *studies])) or "Report"


def _names(places: Sequence[Path]) -> list[str]:
    """A short name for each place: as few of its last folders as make all names different."""
    parts = [place.resolve().parts for place in places]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(folders[-count:]) for folders in parts]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def _hash(source: str) -> str:
    """The hash of an inline script or style for the content security policy."""
    return "sha256-" + b64encode(sha256(source.encode("utf-8")).digest()).decode()


def _markup(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)
