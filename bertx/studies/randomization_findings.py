"""What follows from randomization: means with intervals, sentences, tables and a figure."""

from collections.abc import Iterator, Sequence
from math import ceil, isfinite

import pyarrow as pa

from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.studies.claims import joined, listed, together, trials, would_tell
from bertx.studies.findings import Cell, Finding, Picture, Table, pivot
from bertx.studies.lines import Line, cells, grouped, with_means
from bertx.studies.settings import Settings

CASCADING, INDEPENDENT, SHUFFLED = "cascading", "independent", "shuffled labels"

MEASURES = ("spearman", "absolute")
"""Rank correlation of scores with their sign, which only signed methods have; and of absolute
scores: which words matter, whichever way, as scores without a sign say it."""


def correlation_lines(run: str, table: pa.Table, settings: Settings) -> Iterator[Line]:
    """Those of all methods, schemes and steps of a run; signed ones of methods that have a sign.

    Args:
        run: Name of the run.
        table: Values of each text.
        settings: The methods, and how intervals are drawn.
    """
    texts = len(table["text"].unique())
    names = sorted(settings.methods)
    for scheme in table["scheme"].unique().to_pylist():
        rows = table.filter(pa.compute.equal(table["scheme"], scheme))
        steps = dict(zip(rows["depth"].to_pylist(), rows["step"].to_pylist(), strict=True))
        # A single order, whatever the order of the parts.
        rows = rows.sort_by([(key, "ascending") for key in ("draw", "method", "text", "depth")])
        for measure in MEASURES:
            values = rows[measure].to_numpy().reshape(-1, len(names), texts, len(steps))
            lines = [
                Line(
                    run, measure, scheme, name, settings.signed(name),
                    values[:, names.index(name)], steps=tuple(steps[n] for n in sorted(steps)),
                )
                for name in settings.methods
                if measure == "absolute" or settings.signed(name)
            ]  # fmt: skip
            yield from with_means(lines, settings, -1.0)


NEAR = 0.1
"""A rank correlation below this is as good as none."""

RELEVANT = 0.05
"""The smallest difference between two rank correlations that matters."""

CALLED = {"spearman": "scores with their sign", "absolute": "|scores|"}
"""What is compared, by measure."""

_WITH = {
    CASCADING: "With random weights throughout",
    INDEPENDENT: "With random embeddings",
    SHUFFLED: "After training on shuffled labels",
}
_END = {CASCADING: "all weights", INDEPENDENT: "embeddings", SHUFFLED: SHUFFLED}
"""What became of the model that is compared with in the end, by scheme."""

_HOW = {CASCADING: "from the top down to this part", INDEPENDENT: "this part alone"}

_HEADS = ("run", "method")

MEANING = (
    "Scores with their sign are compared among methods that have one: which words speak for the "
    "class, and which against it. |scores| say only how much a word matters; words that stand out "
    "in any text, such as rare ones or punctuation, keep them alike even where the model is random."
)


def randomization_findings(lines: Sequence[Line], settings: Settings) -> list[Finding]:
    """All findings, by what is compared: what is left when a scheme is through."""
    compared = [line for line in lines if settings.explains(line.method)]
    return [
        finding
        for same in grouped(compared, "group").values()
        for final in grouped(same, "by").values()
        for finding in (_left(final), *_apart(final, settings))
    ]


def randomization_numbers(lines: Sequence[Line]) -> dict[str, float]:
    """Mean rank correlations with each other model."""
    return {
        f"{line.data}/{line.by}/{step}/{line.group}/{line.method}": mean.value
        for line in lines
        for step, mean in zip(line.steps, line.means, strict=True)
    }


def randomization_tables(lines: Sequence[Line]) -> list[Table]:
    """What is left at the end, and at each step."""
    tables = []
    for measure, same in grouped(lines, "group").items():
        what = f"Rank correlation of {CALLED[measure]}"
        ends = [cell for line in same for cell in cells([line], _key, {_END[line.by]: -1})]
        note = (
            "Spearman's correlation of each text's words, mean with its 95 % interval over texts "
            f"and draws of random weights. {MEANING}"
        )
        tables.append(
            pivot(f"{measure}-ends", f"{what} with those of other models", _HEADS, ends, note)
        )
        for scheme, how in _HOW.items():
            steps = [line for line in same if line.by == scheme]
            heads = {step: n for line in steps for n, step in enumerate(line.steps)}
            rows = cells(steps, _key, heads)
            tables.append(pivot(f"{measure}-{scheme}", f"{what}, random {how}", _HEADS, rows))
    return tables


def _key(line: Line) -> tuple[Cell, ...]:
    return line.data, line.method


def _left(lines: Sequence[Line]) -> Finding:
    """Which methods' explanations stay."""
    called, the_trained = CALLED[lines[0].group], "those of the trained model"
    answers = {name: [_gone(line) for line in of] for name, of in grouped(lines, "method").items()}
    gone = [name for name, given in answers.items() if all(given)]
    stay = [name for name, given in answers.items() if False in given]
    undecided = [name for name in answers if name not in (*gone, *stay)]
    parts = [f"{called} by {joined(gone)} are not related to {the_trained}"] if gone else []
    if stay:
        parts.append(f"{called} by {joined(stay)} are related to {'them' if gone else the_trained}")
    if undecided and parts:
        parts.append(f"for {called} by {joined(undecided)} it cannot be told")
    elif undecided:
        who = f"{called} by {joined(undecided)}"
        parts.append(f"it cannot be told whether {who} are related to {the_trained}")
    evidence = "; ".join(
        f"{line.method}, {line.data} {line.means[-1]}, n = {line.counts[-1]:,}{_more(line)}"
        for line in lines
    )
    return Finding(
        f"{_WITH[lines[0].by]}, {'; '.join(parts)}.",
        f"Rank correlation of each text's words, mean: {evidence}. Within ±{NEAR} counts as none.",
    )


def _gone(line: Line) -> bool | None:
    """Whether nothing is left; None if that cannot be told."""
    _, low, high = line.means[-1]
    if line.counts[-1] < MINIMUM:
        return None
    if max(abs(low), abs(high)) <= NEAR:
        return True
    return False if low > NEAR or high < -NEAR else None


def _more(line: Line) -> str:
    """With how many texts it could be told."""
    (value, low, high), count = line.means[-1], line.counts[-1]
    room = abs(NEAR - abs(value))
    if _gone(line) is not None or count < 2 or not room:
        return ""
    return f" ({would_tell(max(MINIMUM, ceil(count * ((high - low) / 2 / room) ** 2)))})"


def _apart(lines: Sequence[Line], settings: Settings) -> Iterator[Finding]:
    """Which methods change least and most."""
    by_method = {
        name: {line.data: line for line in of} for name, of in grouped(lines, "method").items()
    }
    means = {
        name: sum(line.means[-1].value for line in runs.values()) / len(runs)
        for name, runs in by_method.items()
    }
    least, most = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    if len(means) < 2:
        return
    compared = trials(
        [
            (run, most, {name: by_method[name][run].values[..., -1] for name in (least, most)})
            for run in grouped(lines, "data")
        ],
        RELEVANT,
        settings,
    )
    if together(compared) == "agree":
        yield Finding(
            f"{_WITH[lines[0].by]}, {CALLED[lines[0].group]} are least like those of the trained "
            f"model by {most} and most like them by {least}.",
            f"Difference between their mean rank correlations: {listed(compared)}.",
        )


_TITLES = {
    CASCADING: "random from the top down to",
    INDEPENDENT: "random alone",
    SHUFFLED: "trained on shuffled labels",
}


def randomization_pictures(lines: Sequence[Line]) -> list[Picture]:
    """A figure for each run: what is compared below each other, schemes side by side."""
    return [_picture(of, run) for run, of in grouped(lines, "data").items()]


def _picture(lines: Sequence[Line], run: str) -> Picture:
    rows = [
        [_panel(each) for each in grouped(same, "by").values()]
        for same in grouped(lines, "group").values()
    ]
    means = [mean.value for line in lines for mean in line.means]
    lowest = min(filter(isfinite, means), default=0.0)
    bottom = max(min(-0.2, round(lowest - 0.15, 1)), -1.0)
    title = f"Explanations of {run} and of random models"
    schemes = ", ".join(_TITLES[scheme] for scheme in grouped(lines, "by"))
    measures = ", ".join(CALLED[measure] for measure in grouped(lines, "group"))
    return Picture(
        f"cascade-{_file_name(run)}",
        title,
        f"Spearman's correlation between the explanations of {run} and those of the same model "
        f"with random weights, over the parts that are random from the classifier to the "
        f"embeddings; one line a method with its 95 % band, panels for {schemes} and for "
        f"{measures}. A line that stays near 1 is of a method that does not depend on what became "
        "random.",
        panels_figure(rows, Scale("", "rank correlation", bottom, 1.0), title),
    )


def _panel(lines: Sequence[Line]) -> LinePanel:
    single = lines[0].by == SHUFFLED  # methods side by side, each with one value
    drawn = [
        PanelLine(line.method, [number] if single else range(len(line.means)), line.means)
        for number, line in enumerate(lines)
    ]
    places = [""] * len(lines) if single else lines[0].steps
    texts = max(count for line in lines for count in line.counts)
    note = f"{CALLED[lines[0].group]}, {texts:,} texts"
    return LinePanel(_TITLES[lines[0].by], drawn, note, places)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
