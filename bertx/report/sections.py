"""Sections of a report for the template: training, curves, drift, cost, agreement."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from bertx.leaderboard.formatting import short
from bertx.rendering.colours import colours_of
from bertx.rendering.curves import BETTER, DONE, Curve, Role, looks
from bertx.report.chart import Chart, Form, Line, chart_contents, percent
from bertx.report.history import RATE, Logged, values_of
from bertx.report.run import Run, Stage, curves_of
from bertx.statistics.spread import Z95

_MOST_POINTS = 150
"""Most points of a training curve; if there are more, neighbours are averaged."""
_NAMES = {"macro_f1": "macro-F1"}


def training(runs: Sequence[Run], where: str = "") -> list[dict[str, Any]]:
    """Return charts of losses, of accuracy and F1, and of the learning rate.

    Args:
        runs: Runs of the same data.
        where: A name in the titles; empty for none.
    """
    keys = dict.fromkeys(row.key for run in runs for row in run.history)
    metrics = [key for key in keys if key.startswith("val/") and key != "val/loss"]
    charts = []
    for title, y, shown in (
        ("Loss", "loss", ["train/loss", "val/loss"]),
        ("Accuracy and F1", "value", metrics),
        ("Learning rate", "learning rate", [RATE]),
    ):
        form = _small if shown == [RATE] else _plain
        lines = _training_lines(runs, shown, form)
        shares = all(0 <= value <= 1 for line in lines for _, value in line.points)
        if lines:
            chart = Chart(
                title=", ".join(filter(None, (title, where))),
                x="step",
                y=y,
                lines=lines,
                alt=_description(title, lines, form),
                group=f"training {where}",
                y_form=form,
                y_range=(0.0, 1.0) if shown == metrics and shares else None,
                legend="last value",
            )
            charts.append(chart_contents(chart))
    return charts


def faithfulness(run: Run, stage: Stage, unit: str) -> list[dict[str, Any]]:
    """Return charts of deletion and insertion, over all texts and over the searched ones."""
    styles = looks(stage.roles)
    charts = []
    for rows, where in ((stage.curves, ""), (stage.searched, ", texts that were searched")):
        for kind, curves in curves_of(rows, _limits(stage.roles, rows)).items():
            charts.append(_curves_chart(run, curves, kind, where, unit, styles))
    return [chart_contents(chart) for chart in charts]


def drift(run: Run, stage: Stage) -> dict[str, Any] | None:
    """Return a chart of the drift of explanations; None before the second validation."""
    styles = looks(stage.roles)
    lines = []
    for method in dict.fromkeys(row["method"] for row in stage.drift):
        rows = [r for r in stage.drift if r["method"] == method and not isnan(r["drift"])]
        points = [(float(row["step"]), row["drift"]) for row in rows]
        ends = [
            (max(0.0, row["drift"] - Z95 * row["drift_se"]), row["drift"] + Z95 * row["drift_se"])
            for row in rows
        ]
        if points:
            last = percent(points[-1][1])
            lines.append(Line(method, points, ends, last, styles.get(method, "c0 s0")))
    if not lines:
        return None
    chart = Chart(
        title=f"Drift of {run.name}",
        x="step",
        y="share that has moved",
        lines=lines,
        alt=_description("Drift", lines, percent),
        group="methods",
        y_form=percent,
        legend="last value",
    )
    return chart_contents(chart)


def agreement(stage: Stage) -> dict[str, Any] | None:
    """Return the pairwise correlations of the methods as a square table; None without any."""
    if not stage.agreement:
        return None
    names = list(dict.fromkeys(n for row in stage.agreement for n in (row["a"], row["b"])))
    values = {(row["a"], row["b"]): row["spearman"] for row in stage.agreement}
    values |= {(b, a): value for (a, b), value in values.items()}
    rows = [(a, [_cell(None if a == b else values.get((a, b))) for b in names]) for a in names]
    return {"names": names, "rows": rows}


def shades() -> list[tuple[str, str, str]]:
    """Return the style classes of the cells of `agreement`: name, background, text colour."""
    return [(f"m{n}", *colours_of(n / 10, signed=True)) for n in range(-10, 11)]


def costs(stage: Stage) -> list[dict[str, Any]]:
    """Return the cost of each method, cheapest first, with the length of its bar in percent."""
    ranked = sorted((row["cost"], row["method"]) for row in stage.results if not isnan(row["cost"]))
    most = max((cost for cost, _ in ranked), default=0.0) or 1.0
    return [
        {"method": method, "cost": f"{cost:.1f}", "width": f"{100 * cost / most:.1f}"}
        for cost, method in ranked
    ]


def _curves_chart(
    run: Run, curves: Sequence[Curve], kind: str, where: str, unit: str, styles: Mapping[str, str]
) -> Chart:
    better = BETTER.get(kind, "")
    sign = -1 if better == "higher" else 1
    ranked = sorted(curves, key=lambda c: (c.role == "floor", isnan(c.auc), sign * c.auc))
    lines = [
        Line(
            curve.name,
            [(x, mean) for x, mean, _, _ in curve.points],
            [(low, high) for _, low, high in curve.means],
            short(curve.auc, ".3f"),
            curve.role if curve.role != "method" else styles.get(curve.name, "c0 s0"),
        )
        for curve in ranked
    ]
    done = DONE.get(kind, kind)
    return Chart(
        title=f"{kind.capitalize()}, {run.name}{where}",
        x=f"share of {unit}s {done}",
        y="probability of the class",
        lines=lines,
        alt=_best_curve(ranked, better, done),
        group="methods",
        x_form=percent,
        y_range=(0.0, 1.0),
        legend=f"area, {better} is better" if better else "area",
    )


def _best_curve(ranked: Sequence[Curve], better: str, done: str) -> str:
    """The best method in words, for readers who cannot see the chart; empty without a method."""
    best = next((curve for curve in ranked if curve.role == "method"), None)
    if best is None:
        return ""
    return (
        f"Mean probability of the explained class while the words that a method ranks first are "
        f"{done}. {better.capitalize()} areas are better: the best method is {best.name} with "
        f"{short(best.auc, '.3f')}."
    )


def _limits(roles: Mapping[str, Role], rows: Sequence[Mapping[str, Any]]) -> dict[str, Role]:
    """Add the role of a method named ceiling, if the tables of a stage do not give it."""
    names = {row["method"] for row in rows}
    return {**dict.fromkeys(names & {"ceiling"}, "ceiling"), **roles}


def _training_lines(runs: Sequence[Run], keys: Sequence[str], form: Form) -> list[Line]:
    logged = {}
    for run in runs:
        for key in keys:
            rows = values_of(run.history, key)
            if rows:
                logged[f"{run.name}: {_label(key)}" if len(runs) > 1 else _label(key)] = rows
    return [
        Line(label, _thinned(logged[label]), (), form(logged[label][-1].value), look)
        for label, look in looks(dict.fromkeys(logged, "method")).items()
    ]


def _label(key: str) -> str:
    """The name of a line of the training, such as validation macro-F1."""
    if key == RATE:
        return "rate"
    stage, _, name = key.partition("/")
    words = {"train": "training ", "val": "validation "}.get(stage, "")
    return f"{words}{_NAMES.get(name, name).replace('_', ' ')}"


def _thinned(rows: Sequence[Logged]) -> list[tuple[float, float]]:
    """The points of a curve; if there are many, means of neighbours at their last step."""
    size = -(-len(rows) // _MOST_POINTS)
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [(float(p[-1].step), sum(row.value for row in p) / len(p)) for p in parts]


def _description(title: str, lines: Sequence[Line], form: Form) -> str:
    """A chart in words: the first and last value of each line."""
    ends = [
        f"{line.name} from {form(line.points[0][1])} to {form(line.points[-1][1])}"
        for line in lines
    ]
    return f"{title}: {', '.join(ends)}."


def _plain(value: float) -> str:
    return short(value, ".3f")


def _small(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-")


def _cell(value: float | None) -> tuple[str, str]:
    """The text and the style class of a cell; the diagonal is empty, NaN a dash."""
    if value is None:
        return "", ""
    if isnan(value):
        return "–", ""
    return short(value, ".2f").replace("-", "−"), f"m{round(10 * value)}"
