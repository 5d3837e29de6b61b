"""Results of randomization: means with intervals, findings, tables and a figure."""

from collections.abc import Iterator, Sequence
from math import ceil, isfinite

import pyarrow as pa

from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.studies.claims import compare_pairs, evidence_of, joined, needed_to_decide, overall
from bertx.studies.findings import Cell, Finding, Picture, Table, pivot
from bertx.studies.method_curves import MethodCurve, cells, grouped, with_means
from bertx.studies.settings import Settings

CASCADING, INDEPENDENT, SHUFFLED = "cascading", "independent", "shuffled labels"

MEASURES = ("spearman", "absolute")
"""Rank correlation of signed scores, for signed methods only; and of absolute scores, which say how
much words matter regardless of direction, for all methods."""

_NEAR = 0.1
"""Explanations whose rank correlation is below this count as unrelated."""

_RELEVANT = 0.05
"""The smallest difference between two rank correlations that matters."""

_COMPARED = {"spearman": "signed scores", "absolute": "|scores|"}
"""What each measure compares."""

_WITH = {
    CASCADING: "With random weights throughout",
    INDEPENDENT: "With random embeddings",
    SHUFFLED: "After training on shuffled labels",
}
_END = {CASCADING: "all weights", INDEPENDENT: "embeddings", SHUFFLED: SHUFFLED}
"""What is random at the last step of each scheme."""

_HOW = {
    CASCADING: "weights random from the top down to this part",
    INDEPENDENT: "weights random in this part alone",
}

_TITLES = {
    CASCADING: "random from the top down to",
    INDEPENDENT: "random in this part alone",
    SHUFFLED: "trained on shuffled labels",
}

_HEADS = ("run", "method")

_MEANING = (
    "Signed scores show which words support the class and which oppose it; they are compared only "
    "for signed methods. |scores| only show how much a word matters; words that stand out in any "
    "text, such as rare words or punctuation, keep them similar even if the model is random."
)


def correlation_curves(run: str, table: pa.Table, settings: Settings) -> Iterator[MethodCurve]:
    """Yield the curves of all methods, schemes and measures of a run.

    Args:
        run: The name of the run.
        table: The correlations of each text.
        settings: The methods, and the draws of the bootstrap.
    """
    texts = len(table["text"].unique())
    names = sorted(settings.methods)
    for scheme in table["scheme"].unique().to_pylist():
        rows = table.filter(pa.compute.equal(table["scheme"], scheme))
        steps = dict(zip(rows["depth"].to_pylist(), rows["step"].to_pylist(), strict=True))
        # Rows in the order of the array, whatever the order of the parts.
        rows = rows.sort_by([(key, "ascending") for key in ("draw", "method", "text", "depth")])
        for measure in MEASURES:
            values = rows[measure].to_numpy().reshape(-1, len(names), texts, len(steps))
            curves = [
                MethodCurve(
                    run, measure, scheme, name, values[:, names.index(name)],
                    steps=tuple(steps[n] for n in sorted(steps)),
                )
                for name in settings.methods
                if measure == "absolute" or settings.signed(name)
            ]  # fmt: skip
            yield from with_means(curves, settings, -1.0)


def randomization_findings(curves: Sequence[MethodCurve], settings: Settings) -> list[Finding]:
    """Return the findings on the last step of each scheme, by measure."""
    compared = [curve for curve in curves if settings.explains(curve.method)]
    return [
        finding
        for same in grouped(compared, "group").values()
        for final in grouped(same, "by").values()
        for finding in (_related(final), *_extremes(final, settings))
    ]


def randomization_numbers(curves: Sequence[MethodCurve]) -> dict[str, float]:
    """Return the mean rank correlation with each other model."""
    return {
        f"{curve.data}/{curve.by}/{step}/{curve.group}/{curve.method}": mean.value
        for curve in curves
        for step, mean in zip(curve.steps, curve.means, strict=True)
    }


def randomization_tables(curves: Sequence[MethodCurve]) -> list[Table]:
    """Return the correlations at the last step of each scheme, and at every step."""
    tables = []
    for measure, same in grouped(curves, "group").items():
        what = f"Rank correlation of {_COMPARED[measure]}"
        ends = [cell for curve in same for cell in cells([curve], _key, {_END[curve.by]: -1})]
        note = (
            "Spearman's correlation of the scores of each text's words: mean with its 95 % "
            f"interval over texts and draws of random weights. {_MEANING}"
        )
        tables.append(pivot(f"{measure}-ends", f"{what} with other models", _HEADS, ends, note))
        for scheme, how in _HOW.items():
            steps = [curve for curve in same if curve.by == scheme]
            heads = {step: n for curve in steps for n, step in enumerate(curve.steps)}
            rows = cells(steps, _key, heads)
            tables.append(pivot(f"{measure}-{scheme}", f"{what}, {how}", _HEADS, rows))
    return tables


def _key(curve: MethodCurve) -> tuple[Cell, ...]:
    return curve.data, curve.method


def _related(curves: Sequence[MethodCurve]) -> Finding:
    """Which methods' explanations are still related to those of the trained model."""
    scores, trained = _COMPARED[curves[0].group], "the trained model's"
    verdicts = {
        name: [_unrelated(curve) for curve in of_method]
        for name, of_method in grouped(curves, "method").items()
    }
    unrelated = [name for name, of_runs in verdicts.items() if all(of_runs)]
    related = [name for name, of_runs in verdicts.items() if False in of_runs]
    undecided = [name for name in verdicts if name not in (*unrelated, *related)]
    parts = []
    if unrelated:
        parts.append(f"{scores} of {joined(unrelated)} are unrelated to {trained}")
    if related:
        parts.append(f"{scores} of {joined(related)} are related to {trained}")
    if undecided and parts:
        parts.append(f"for {scores} of {joined(undecided)}, this cannot be decided")
    elif undecided:
        subject = f"{scores} of {joined(undecided)}"
        parts.append(f"it cannot be decided whether {subject} are related to {trained}")
    evidence = "; ".join(
        f"{curve.method}, {curve.data} {curve.means[-1]}, n = {curve.counts[-1]:,}{_needed(curve)}"
        for curve in curves
    )
    return Finding(
        f"{_WITH[curves[0].by]}, {'; '.join(parts)}.",
        f"Mean over texts of the rank correlation of a text's words: {evidence}. A correlation "
        f"within ±{_NEAR} counts as none.",
    )


def _unrelated(curve: MethodCurve) -> bool | None:
    """Return whether the last correlation counts as none; None if it cannot be decided."""
    _, low, high = curve.means[-1]
    if curve.counts[-1] < MINIMUM:
        return None
    if max(abs(low), abs(high)) <= _NEAR:
        return True
    return False if low > _NEAR or high < -_NEAR else None


def _needed(curve: MethodCurve) -> str:
    """Say how many texts would decide whether a correlation counts as none."""
    (value, low, high), count = curve.means[-1], curve.counts[-1]
    room = abs(_NEAR - abs(value))
    if _unrelated(curve) is not None or count < 2 or not room:
        return ""
    return f" ({needed_to_decide(max(MINIMUM, ceil(count * ((high - low) / 2 / room) ** 2)))})"


def _extremes(curves: Sequence[MethodCurve], settings: Settings) -> Iterator[Finding]:
    """Which method's explanations change least, and which change most."""
    by_method = {
        name: {curve.data: curve for curve in of_method}
        for name, of_method in grouped(curves, "method").items()
    }
    means = {
        name: sum(curve.means[-1].value for curve in runs.values()) / len(runs)
        for name, runs in by_method.items()
    }
    least, most = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    if len(means) < 2:
        return
    tests = compare_pairs(
        [
            (run, most, {name: by_method[name][run].values[..., -1] for name in (least, most)})
            for run in grouped(curves, "data")
        ],
        _RELEVANT,
        settings,
    )
    if overall(tests) == "agree":
        scores = _COMPARED[curves[0].group]
        yield Finding(
            f"{_WITH[curves[0].by]}, {scores} of {most} differ most from the trained model's, and "
            f"{scores} of {least} differ least.",
            f"Difference between their mean rank correlations: {evidence_of(tests)}.",
        )


def randomization_pictures(curves: Sequence[MethodCurve]) -> list[Picture]:
    """Draw a figure for each run: a row for each measure, a column for each scheme."""
    return [_picture(of_run, run) for run, of_run in grouped(curves, "data").items()]


def _picture(curves: Sequence[MethodCurve], run: str) -> Picture:
    rows = [
        [_panel(each) for each in grouped(same, "by").values()]
        for same in grouped(curves, "group").values()
    ]
    means = [mean.value for curve in curves for mean in curve.means]
    lowest = min(filter(isfinite, means), default=0.0)
    bottom = max(min(-0.2, round(lowest - 0.15, 1)), -1.0)
    title = f"Explanations of {run} and of random models"
    schemes = ", ".join(_TITLES[scheme] for scheme in grouped(curves, "by"))
    measures = ", ".join(_COMPARED[measure] for measure in grouped(curves, "group"))
    return Picture(
        f"cascade-{_file_name(run)}",
        title,
        f"Spearman's correlation between the explanations of {run} and of the same model with "
        f"random weights, by the parts that are random, from the classifier to the embeddings; one "
        f"line per method with its 95 % band, panels for {schemes} and for {measures}. A line that "
        "stays near 1 shows a method that does not depend on the random parts.",
        panels_figure(rows, Scale("", "rank correlation", bottom, 1.0), title),
    )


def _panel(curves: Sequence[MethodCurve]) -> LinePanel:
    single = curves[0].by == SHUFFLED  # methods side by side, each with one value
    lines = [
        PanelLine(curve.method, [number] if single else range(len(curve.means)), curve.means)
        for number, curve in enumerate(curves)
    ]
    places = [""] * len(curves) if single else curves[0].steps
    texts = max(count for curve in curves for count in curve.counts)
    note = f"{_COMPARED[curves[0].group]}, {texts:,} texts"
    return LinePanel(_TITLES[curves[0].by], lines, note, places)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
