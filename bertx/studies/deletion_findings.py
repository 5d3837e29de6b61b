"""What follows from word deletion: sentences with evidence, numbers, tables and figures."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan

import numpy as np

from bertx.models.inputs import noun
from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import complete
from bertx.studies import paper
from bertx.studies.claims import Trial, joined, listed, together, trials
from bertx.studies.deleting import COUNT, GROUPS, SHARE, Points, counted, places_of
from bertx.studies.findings import Cell, Finding, Picture, Table, pivot
from bertx.studies.lines import Line, cells, grouped
from bertx.studies.settings import Settings

RELEVANT = 0.02
"""The smallest difference in accuracy that matters."""

SEARCHED = 5
"""Of fewer texts that were searched, a share of what the search reaches says nothing."""

_HEADS = ("data", "operator", "method", "texts")

_NOTE = (
    ", with 95 % intervals over texts and, where there are several, runs. The ceiling is a search "
    "for the best order, on some of the texts."
)


def deletion_findings(lines: Sequence[Line], settings: Settings, points: Points) -> list[Finding]:
    """All findings, the paper's claims first."""
    results = _Results(lines, settings, points)
    return [
        *results.against_random(),
        *results.against_tracing(),
        *results.published(),
        *results.leaders(),
        *results.operators(),
        *results.misled(),
    ]


def deletion_numbers(lines: Sequence[Line], points: Points) -> dict[str, float]:
    """Accuracies after 1 and after all k deletions."""
    places = {k: counted(points)[k] for k in sorted({min(1, points.words), points.words})}
    return {
        f"{line.data}/{line.by}/{line.group}@{k}/{line.method}": line.means[place].value
        for line in lines
        for k, place in places.items()
    }


def deletion_tables(lines: Sequence[Line], settings: Settings, points: Points) -> list[Table]:
    """Accuracies of each group by k, with the paper's, and by share."""
    groups = grouped(lines, "group")
    return [
        table
        for group in GROUPS
        if group in groups
        for table in _tables(groups[group], group, settings, points)
    ]


class _Results:
    """The lines of all methods on all data under all operators.

    Args:
        lines: The lines.
        settings: The settings of the study.
        points: How much was deleted.
    """

    def __init__(self, lines: Sequence[Line], settings: Settings, points: Points) -> None:
        self._lines, self._settings, self._points = lines, settings, points
        self._unit = noun(settings.unit)
        self._control = next((c.method for c in lines if c.role == "floor"), "")
        self._at = {(c.group, c.data, c.by, c.method): c for c in lines}

    def against_random(self) -> Iterator[Finding]:
        """Whether each method breaks more right predictions than the control."""
        for name in self._methods():
            trials = self._trials("right", [(name, self._control)])
            if not trials:
                continue
            won = sum(each.answer == "agree" for each in trials)
            count = f" ({won} of {len(trials)} comparisons)" if len(trials) > 1 else ""
            claimed = name in (paper.GS, paper.GI, paper.LRP)
            yield Finding(
                f"Deleting the {self._unit}s that {name} ranks highest "
                f"{_shown(trials, 'break', 'more right predictions')} than random {self._unit}s "
                f"do{count}.",
                f"Accuracy lost beyond random, mean over k = 1 to {self._points.words}: "
                f"{listed(trials)}.",
                f"{paper.BREAKS} {paper.RANDOM_BREAKS_LESS}" if claimed else None,
                together(trials) if claimed else None,
            )

    def against_tracing(self) -> Iterator[Finding]:
        """Whether LAT finds less than the others without a sign."""
        rivals = [
            name for name in self._methods(signed=False) if name in (paper.GS, paper.GI, paper.LRP)
        ]
        trials = self._trials("right", [(name, paper.LAT) for name in rivals])
        if trials and paper.LAT in self._methods(signed=False):
            beyond = self._trials("right", [(paper.LAT, self._control)])
            yield Finding(
                f"Deleting the {self._unit}s that {paper.LAT} ranks highest "
                f"{_shown(trials, 'break', 'fewer right predictions')} than {joined(rivals)} do, "
                "the others whose scores have no sign.",
                f"Accuracy lost beyond {paper.LAT}: {listed(trials)}. {paper.LAT} beyond random: "
                f"{listed(beyond)}.",
                paper.FINDS_WORDS,
                together(trials),
            )

    def published(self) -> Iterator[Finding]:
        """How far the accuracies are from the paper's."""
        pairs = [pair for c in self._chosen("right") for pair in _beside(c, self._points)]
        if not pairs:
            return
        apart = [abs(ours.value - theirs) for ours, theirs in pairs]
        inside = sum(ours.low <= theirs <= ours.high for ours, theirs in pairs)
        same = self._settings.preset == "authors"
        how = "with the authors' choices" if same else "with other choices than the authors'"
        yield Finding(
            f"The accuracies {how} are {np.median(apart):.2f} from the published ones in the "
            "median; the models are others.",
            f"{inside} of the {len(pairs)} published accuracies lie in our 95 % intervals; the "
            f"largest distance is {max(apart):.2f}.",
            "Accuracies at k = 1 and 10 of four methods and Random on four data sets.",
            None,
        )

    def leaders(self) -> Iterator[Finding]:
        """Which method breaks most, among those with a sign and among those without."""
        for sign, names in self._leagues():
            first, second = self._ranked(names, "right")[:2]
            trials = self._trials("right", [(first, second)])
            clear = together(trials) == "agree"
            yield Finding(
                f"Of the methods whose scores have {sign} sign, {first} breaks most right "
                "predictions"
                + (f", more than {second} everywhere." if clear else f"; {second} comes next."),
                f"Accuracy lost beyond {second}: {listed(trials)}.{self._reach(first)}",
            )

    def operators(self) -> Iterator[Finding]:
        """Whether methods rank alike whatever a deletion does."""
        operators = list(dict.fromkeys(c.by for c in self._lines))
        for sign, names in self._leagues():
            orders = {name: self._ranked(names, "right", name) for name in operators}
            alike = len({tuple(order) for order in orders.values()}) == 1
            if len(operators) > 1:
                yield Finding(
                    f"The methods whose scores have {sign} sign come in "
                    f"{'the same order' if alike else 'different orders'} under "
                    f"{joined(operators)}.",
                    "; ".join(f"{name}: {' > '.join(order)}" for name, order in orders.items())
                    + ".",
                )

    def misled(self) -> Iterator[Finding]:
        """Whether deleting top words corrects wrong predictions."""
        if not self._chosen("wrong"):
            return
        best = self._ranked(self._methods(), "wrong")[0]
        trials = self._trials("wrong", [(best, self._control)])
        place = counted(self._points)[self._points.words]
        right = [
            f"{_where(c)} {c.means[place]}, {self._control} "
            f"{self._of(c, self._control).means[place]}"
            for c in self._chosen("wrong")
            if c.method == best
        ]
        yield Finding(
            f"Of the wrong predictions, deleting the {self._unit}s that {best} ranks highest "
            f"{_shown(trials, 'correct', 'more')} than random {self._unit}s do.",
            f"Accuracy won beyond random, mean over k = 1 to {self._points.words}: "
            f"{listed(trials)}. Right after k = {self._points.words}: {'; '.join(right)}.",
        )

    def _methods(self, signed: bool | None = None) -> list[str]:
        with_sign = {c.method: c.signed for c in self._lines if c.role == "method"}
        return [name for name, sign in with_sign.items() if signed in (None, sign)]

    def _leagues(self) -> Iterator[tuple[str, list[str]]]:
        """Those of several methods with a sign, and without one: ``a`` or ``no``, and who."""
        for signed in (True, False):
            if len(names := self._methods(signed)) > 1:
                yield "a" if signed else "no", names

    def _chosen(self, group: str, operator: str | None = None) -> list[Line]:
        return [c for c in self._lines if c.group == group and operator in (None, c.by)]

    def _of(self, like: Line, method: str) -> Line:
        """The curve of another method on the same texts."""
        return self._at[like.group, like.data, like.by, method]

    def _ranked(self, names: Sequence[str], group: str, operator: str | None = None) -> list[str]:
        """Names of methods, the one that changes most answers first, on average over data."""

        def effect(name: str) -> float:
            lines = [c for c in self._chosen(group, operator) if c.method == name]
            return float(np.mean([c.effect(self._points.words).mean() for c in lines]))

        return sorted(names, key=effect, reverse=group == "wrong")

    def _trials(self, group: str, asked: Sequence[tuple[str, str]]) -> list[Trial]:
        """Compare the effects of two methods, on all data under all operators.

        Args:
            group: Of which texts.
            asked: Each time the method that is expected to change more answers, and the other.
        """
        pairs = [
            (one, self._of(one, second))
            for first, second in asked
            for one in self._chosen(group)
            if one.method == first and (group, one.data, one.by, second) in self._at
        ]
        sign = 1 if group == "right" else -1  # what breaks predictions is good there, bad here
        return trials(
            [
                (
                    _where(pair[0]) if len(asked) == 1 else f"{pair[0].method}, {_where(pair[0])}",
                    pair[0].method,
                    {c.method: sign * c.effect(self._points.words) for c in pair},
                )
                for pair in pairs
            ],
            RELEVANT,
            self._settings,
        )

    def _reach(self, name: str) -> str:
        """How much of what a search reaches beyond random a method reaches, on the same texts."""
        shares = []
        for best in self._chosen("right"):
            rows = complete(best.values[..., 0])
            if best.role != "ceiling" or rows.sum() < SEARCHED:
                continue
            low, method, high = (
                float(c.effect(self._points.words)[:, rows].mean())
                for c in (self._of(best, self._control), self._of(best, name), best)
            )
            if low > high:
                share = (low - method) / (low - high)
                shares.append(f"{_where(best)} {share:.0%} ({rows.sum()} texts)")
        what = "Of what a search for the best order breaks beyond random"
        return f" {what}: {'; '.join(shares)}." if shares else ""


def _shown(trials: Sequence[Trial], verb: str, what: str) -> str:
    """Whether a method does something, such as ``break`` ``more right predictions``."""
    everywhere = " everywhere" if len(trials) > 1 else ""
    start = {
        "agree": f"{verb}s",
        "disagree": f"does not{everywhere} {verb}",
        "cannot tell": f"is not shown{everywhere} to {verb}",
    }
    return f"{start[together(trials)]} {what}"


def _tables(
    lines: Sequence[Line], group: str, settings: Settings, points: Points
) -> Iterator[Table]:
    unit, places = noun(settings.unit), counted(points)
    heads = {f"k = {k}": places[k] for k in sorted({1, 2, 3, 5, 10, points.words} & {*places})}
    published = [
        (_key(line), f"paper, k = {k}", accuracy)
        for line in lines
        for k, accuracy in published_points(line)
    ]
    yield pivot(
        f"{group}-by-count",
        f"Accuracy after deleting k {unit}s, texts at first {group}",
        _HEADS,
        [*cells(lines, _key, heads), *published],
        f"Share of right predictions without the k highest ranked {unit}s{_NOTE}",
    )
    if points.shares:
        shares = {f"{at:.0%}": n for at, n in places_of(points, SHARE).items() if 0 < at < 1}
        yield pivot(
            f"{group}-by-share",
            f"Accuracy after deleting a share of the {unit}s, texts at first {group}",
            _HEADS,
            cells(lines, _key, shares),
            f"Share of right predictions without so many of the {unit}s, highest ranked "
            f"first{_NOTE}",
        )


def _key(line: Line) -> tuple[Cell, ...]:
    return line.data, line.by, line.method, line.counts[0]


def _published(line: Line) -> tuple[float, ...]:
    """The paper's accuracies of the same method on the same data set, if it has them."""
    name = paper.RANDOM if line.role == "floor" else line.method
    return paper.DELETION.get(line.dataset, {}).get(name, ()) if line.group == "right" else ()


def published_points(line: Line) -> list[tuple[int, float]]:
    """The paper's accuracies over k."""
    return list(zip(paper.DELETED, _published(line), strict=False))


def _beside(line: Line, points: Points) -> Iterator[tuple[Interval, float]]:
    """Accuracies beside the paper's."""
    places = counted(points)
    for k, theirs in published_points(line):
        if k in places:
            yield line.means[places[k]], theirs


def _where(line: Line) -> str:
    return f"{line.data}, {line.by}"


def deletion_pictures(lines: Sequence[Line], settings: Settings, points: Points) -> list[Picture]:
    """Accuracy over k and over shares, for texts at first right and at first wrong."""
    groups = grouped(lines, "group")
    axes = (COUNT, SHARE) if points.shares else (COUNT,)
    return [
        _picture(groups[group], axis, settings, points)
        for group in GROUPS
        if group in groups
        for axis in axes
    ]


def _picture(lines: Sequence[Line], axis: str, settings: Settings, points: Points) -> Picture:
    unit, places, group = noun(settings.unit), places_of(points, axis), lines[0].group
    data = grouped(lines, "data")
    rows = [
        [_panel([line for line in same if line.data == name], axis, places) for name in data]
        for same in grouped(lines, "by").values()
    ]
    if len(data) == 1:  # operators side by side
        rows = [[panel for row in rows for panel in row]]
    x = f"{unit}s deleted" if axis == COUNT else f"share of {unit}s deleted"
    title = f"Accuracy on texts at first {group}"
    best = "falls fast" if group == "right" else "rises"
    return Picture(
        f"{group}-by-{axis}",
        f"{title}, over {x}",
        f"{title} while the highest ranked {unit}s are deleted, a panel for each of "
        f"{', '.join(data)} and each of the operators {', '.join(grouped(lines, 'by'))}; one line "
        f"a method with its 95 % band. The better the ranking, the more the line {best}.",
        panels_figure(rows, Scale(x, "accuracy", share=axis == SHARE), title),
    )


def _panel(lines: Sequence[Line], axis: str, places: Mapping[float, int]) -> LinePanel:
    drawn = [
        PanelLine(
            line.method,
            list(places),
            [_with_band(line, line.means[place]) for place in places.values()],
            line.role,
            [p for p in published_points(line) if axis == COUNT and p[0] in places],
        )
        for line in lines
    ]
    texts = max(line.counts[0] for line in lines)
    searched = next((line.counts[0] for line in lines if line.role == "ceiling"), texts)
    note = f"{texts:,} texts" + (f", ceiling {searched:,}" if searched < texts else "")
    return LinePanel(_where(lines[0]), drawn, note)


def _with_band(line: Line, mean: Interval) -> Interval:
    """The mean; without a band for so few texts that they do not show how answers spread."""
    return mean if line.counts[0] >= MINIMUM else Interval(mean.value, nan, nan)
