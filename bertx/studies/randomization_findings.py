"""What follows from randomization: means with intervals, sentences, tables and a figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.statistics.bootstrap import bootstrap_means
from bertx.statistics.correlations import Interval
from bertx.studies.claims import Trial, joined, listed, together, trial, would_tell
from bertx.studies.findings import Finding, Picture, Table
from bertx.studies.settings import Settings

CASCADING, INDEPENDENT, SHUFFLED = "cascading", "independent", "shuffled labels"

Floats = NDArray[np.float64]
Measure = Literal["spearman", "absolute"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""Rank correlation of scores with their sign, which only signed methods have; and of absolute
scores: which words matter, whichever way, as scores without a sign say it."""


@dataclass(frozen=True)
class Survival:
    """How alike the explanations of one method are to those of another model.

    Attributes:
        run: The run.
        scheme: How the other model came about.
        step: The part that was randomized last.
        depth: Which step it is, from 0.
        method: The method.
        signed: Whether its scores have a sign.
        measure: What is compared.
        values: Rank correlation of each text (D, N) in D draws; NaN where there is none.
        mean: Their mean with its interval over texts and, where there are several, draws.
        count: Number of texts that have a value in all draws.
    """

    run: str
    scheme: str
    step: str
    depth: int
    method: str
    signed: bool
    measure: Measure
    values: Floats
    mean: Interval
    count: int


def survivals(run: str, table: pa.Table, settings: Settings) -> Iterator[Survival]:
    """Those of all methods, schemes and steps of a run; signed ones of methods that have a sign.

    Args:
        run: Name of the run.
        table: Values of each text.
        settings: The methods, and how intervals are drawn.
    """
    texts = np.unique(table["text"].to_numpy())
    for scheme in table["scheme"].unique().to_pylist():
        rows = table.filter(pa.compute.equal(table["scheme"], scheme))
        draws = len(rows["draw"].unique())
        steps = dict(zip(rows["depth"].to_pylist(), rows["step"].to_pylist(), strict=True))
        places = (draws, len(steps), len(settings.methods), len(texts))
        order = np.lexsort(
            [rows["text"].to_numpy(), _codes(rows, settings), rows["depth"].to_numpy(),
             rows["draw"].to_numpy()]
        )  # fmt: skip
        for measure in MEASURES:
            values = rows[measure].to_numpy()[order].reshape(places)
            compared = [
                (depth, name, values[:, depth, number])
                for depth in sorted(steps)
                for number, name in enumerate(settings.methods)
                if measure == "absolute" or settings.signed(name)
            ]
            means = bootstrap_means(
                [likeness for _, _, likeness in compared], 0.05, settings.resamples, settings.seed
            )
            for (depth, name, likeness), mean in zip(compared, means, strict=True):
                yield Survival(
                    run, scheme, steps[depth], depth, name, settings.signed(name), measure,
                    likeness, Interval(mean.mean, max(mean.low, -1.0), min(mean.high, 1.0)),
                    mean.count,
                )  # fmt: skip


def _codes(rows: pa.Table, settings: Settings) -> NDArray[np.int64]:
    """The number of each row's method."""
    codes = {name: number for number, name in enumerate(settings.methods)}
    return np.array([codes[name] for name in rows["method"].to_pylist()])


NEAR = 0.1
"""A rank correlation below this is as good as none."""

RELEVANT = 0.05
"""The smallest difference between two rank correlations that matters."""

CALLED: dict[Measure, str] = {"spearman": "scores with their sign", "absolute": "|scores|"}
"""What is compared, by measure."""

_WITH = {
    "all weights": "With random weights throughout",
    "embeddings": "With random embeddings",
    SHUFFLED: "After training on shuffled labels",
}
"""What became of the model that is compared with in the end."""

_THOSE = "those of the trained model"

MEANING = (
    "Scores with their sign are compared among methods that have one: which words speak for the "
    "class, and which against it. |scores| say only how much a word matters; words that stand out "
    "in any text, such as rare ones or punctuation, keep them alike even where the model is random."
)


def randomization_findings(found: Sequence[Survival], settings: Settings) -> list[Finding]:
    """What was found, by what is compared."""
    compared = [one for one in found if settings.explains(one.method)]
    return [
        finding
        for measure in MEASURES
        for finding in _of_measure([one for one in compared if one.measure == measure], settings)
    ]


def randomization_numbers(found: Sequence[Survival]) -> dict[str, float]:
    """Mean rank correlations with each other model."""
    return {
        f"{own.run}/{own.scheme}/{own.step}/{own.measure}/{own.method}": own.mean.value
        for own in found
    }


def randomization_tables(found: Sequence[Survival]) -> list[Table]:
    """What is left at the end, and at each step."""
    tables = []
    for measure in MEASURES:
        own = [one for one in found if one.measure == measure]
        if not own:
            continue
        tables.append(_ends(own, measure))
        tables += [_steps(own, measure, scheme) for scheme in (CASCADING, INDEPENDENT)]
    return tables


def ends(found: Sequence[Survival]) -> list[tuple[str, Survival]]:
    """What is compared in the end: the model that is random throughout, embeddings, labels."""
    last = {(own.run, own.scheme, own.method): own for own in found}  # the deepest step comes last
    heads = {CASCADING: "all weights", INDEPENDENT: "embeddings", SHUFFLED: SHUFFLED}
    return [(heads[scheme], own) for (_, scheme, _), own in last.items()]


def _of_measure(found: Sequence[Survival], settings: Settings) -> Iterator[Finding]:
    """All methods against nothing, and the extremes against each other."""
    for head in dict.fromkeys(head for head, _ in ends(found)):
        own = [one for name, one in ends(found) if name == head]
        yield _left(head, own)
        yield from _apart(head, own, settings)


def _left(head: str, found: Sequence[Survival]) -> Finding:
    """Which methods' explanations stay."""
    methods: dict[str, list[bool | None]] = {}
    for own in found:
        methods.setdefault(own.method, []).append(_gone(own))
    gone = [name for name, own in methods.items() if all(answer is True for answer in own)]
    stay = [name for name, own in methods.items() if any(answer is False for answer in own)]
    open_ = [name for name in methods if name not in (*gone, *stay)]
    called = CALLED[found[0].measure]
    said = [f"{called} by {joined(gone)} are not related to {_THOSE}"] if gone else []
    if stay:
        said.append(f"{called} by {joined(stay)} are related to {'them' if said else _THOSE}")
    if open_ and said:
        said.append(f"for {called} by {joined(open_)} it cannot be told")
    elif open_:
        said.append(
            f"it cannot be told whether {called} by {joined(open_)} are related to {_THOSE}"
        )
    evidence = "; ".join(
        f"{own.method}, {own.run} {own.mean}, n = {own.count:,}{_more(own)}" for own in found
    )
    return Finding(
        f"{_WITH[head]}, {'; '.join(said)}.",
        f"Rank correlation of each text's words, mean: {evidence}. Within ±{NEAR} counts as none.",
    )


def _gone(own: Survival) -> bool | None:
    """Whether nothing is left; None if that cannot be told."""
    if own.count < MINIMUM:
        return None
    if max(abs(own.mean.low), abs(own.mean.high)) <= NEAR:
        return True
    return False if own.mean.low > NEAR or own.mean.high < -NEAR else None


def _more(own: Survival) -> str:
    """With how many texts it could be told."""
    if _gone(own) is not None:
        return ""
    room = abs(NEAR - abs(own.mean.value))
    if own.count < 2 or not room:
        return ""
    reach = (own.mean.high - own.mean.low) / 2
    return f" ({would_tell(max(MINIMUM, ceil(own.count * (reach / room) ** 2)))})"


def _apart(head: str, found: Sequence[Survival], settings: Settings) -> Iterator[Finding]:
    """Which methods change least and most."""
    runs = list(dict.fromkeys(own.run for own in found))
    methods = list(dict.fromkeys(own.method for own in found))
    if len(methods) < 2:
        return
    known = {(own.run, own.method): own for own in found}
    mean = {m: sum(known[run, m].mean.value for run in runs) / len(runs) for m in methods}
    least, most = max(methods, key=mean.__getitem__), min(methods, key=mean.__getitem__)
    trials: list[Trial] = [
        trial(
            run, most, {name: known[run, name].values for name in (least, most)}, len(runs),
            RELEVANT, settings.resamples, settings.seed,
        )
        for run in runs
    ]  # fmt: skip
    if together([one.answer for one in trials]) == "agree":
        yield Finding(
            f"{_WITH[head]}, {CALLED[found[0].measure]} are least like those of the trained model "
            f"by {most} and most like them by {least}.",
            f"Difference between their mean rank correlations: {listed(trials)}.",
        )


def _ends(found: Sequence[Survival], measure: Measure) -> Table:
    cells = {(own.run, own.method, head): own for head, own in ends(found)}
    heads = list(dict.fromkeys(head for _, _, head in cells))
    names = list(dict.fromkeys((run, method) for run, method, _ in cells))
    rows = [
        [run, method, *(_cell(cells.get((run, method, head))) for head in heads)]
        for run, method in names
    ]
    return Table(
        f"{measure}-ends",
        f"Rank correlation of {CALLED[measure]} with those of other models",
        ["run", "method", *heads],
        rows,
        f"Spearman's correlation of each text's words, mean with its 95 % interval over texts and "
        f"draws of random weights. {MEANING}",
    )


def _steps(found: Sequence[Survival], measure: Measure, scheme: str) -> Table:
    own = [one for one in found if one.scheme == scheme]
    cells = {(one.run, one.method, one.step): one for one in own}
    steps = list(dict.fromkeys(one.step for one in own))
    names = list(dict.fromkeys((one.run, one.method) for one in own))
    how = {CASCADING: "from the top down to this part", INDEPENDENT: "this part alone"}[scheme]
    return Table(
        f"{measure}-{scheme}",
        f"Rank correlation of {CALLED[measure]}, random {how}",
        ["run", "method", *steps],
        [
            [run, name, *(_cell(cells.get((run, name, step))) for step in steps)]
            for run, name in names
        ],
    )


def _cell(own: Survival | None) -> str | None:
    return None if own is None else str(own.mean)


_TITLES = {
    CASCADING: "random from the top down to",
    INDEPENDENT: "random alone",
    SHUFFLED: "trained on shuffled labels",
}


def randomization_pictures(found: Sequence[Survival]) -> list[Picture]:
    """A figure for each run: what is compared below each other, schemes side by side."""
    return [
        _picture([survival for survival in found if survival.run == run], run)
        for run in dict.fromkeys(survival.run for survival in found)
    ]


def _picture(found: Sequence[Survival], run: str) -> Picture:
    schemes = list(dict.fromkeys(own.scheme for own in found))
    measures = [name for name in MEASURES if any(own.measure == name for own in found)]
    rows = [
        [
            _panel([s for s in found if (s.measure, s.scheme) == (measure, scheme)])
            for scheme in schemes
        ]
        for measure in measures
    ]
    lowest = min((own.mean.value for own in found if own.count), default=0.0)
    bottom = max(min(-0.2, round(lowest - 0.15, 1)), -1.0)
    title = f"Explanations of {run} and of random models"
    return Picture(
        f"cascade-{_plain(run)}",
        title,
        f"Spearman's correlation between the explanations of {run} and those of the same model "
        f"with random weights, over the parts that are random from the classifier to the "
        f"embeddings; one line a method with its 95 % band, panels for "
        f"{', '.join(_TITLES[scheme] for scheme in schemes)} and for "
        f"{', '.join(CALLED[measure] for measure in measures)}. A line that stays near 1 is of a "
        "method that does not depend on what became random.",
        panels_figure(rows, Scale("", "rank correlation", bottom, 1.0), title),
    )


def _panel(found: Sequence[Survival]) -> LinePanel:
    methods = list(dict.fromkeys(own.method for own in found))
    alone = found[0].scheme == SHUFFLED
    lines = []
    for number, method in enumerate(methods):
        own = sorted((one for one in found if one.method == method), key=lambda one: one.depth)
        lines.append(
            PanelLine(
                method,
                [number] if alone else [one.depth for one in own],
                [one.mean.value for one in own],
                [one.mean.low for one in own],
                [one.mean.high for one in own],
            )
        )
    steps = {one.depth: one.step for one in found}
    places = [""] * len(methods) if alone else [steps[depth] for depth in sorted(steps)]
    note = f"{CALLED[found[0].measure]}, {max(one.count for one in found):,} texts"
    return LinePanel(_TITLES[found[0].scheme], lines, note, places)


def _plain(name: str) -> str:
    """A name for a file."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
