"""What follows from word deletion: sentences with evidence, numbers and tables."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bertx.models.inputs import noun
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import whole
from bertx.studies.claims import Trial, joined, listed, together, trial
from bertx.studies.deleting import SHARE, Points
from bertx.studies.deletion_curves import GROUPS, Curve, counted, ends
from bertx.studies.findings import Cell, Finding, Table
from bertx.studies.paper import (
    BREAKS,
    DELETED,
    DELETION,
    FINDS_WORDS,
    GI,
    GS,
    LAT,
    LRP,
    RANDOM,
    RANDOM_BREAKS_LESS,
)
from bertx.studies.settings import Settings

RELEVANT = 0.02
"""The smallest difference in accuracy that matters."""

SEARCHED = 5
"""Of fewer texts that were searched, a share of what the search reaches says nothing."""

_NOTE = (
    ", with 95 % intervals over texts and, where there are several, runs. The ceiling is a search "
    "for the best order, on some of the texts."
)


def deletion_findings(curves: Sequence[Curve], settings: Settings, points: Points) -> list[Finding]:
    """What was found, the paper's claims first."""
    who = _Field(curves, settings, points)
    return [
        *who.against_random(),
        *who.against_tracing(),
        *who.published(),
        *who.leaders(),
        *who.operators(),
        *who.misled(),
    ]


def deletion_numbers(curves: Sequence[Curve], points: Points) -> dict[str, float]:
    """Accuracies after 1 and after all k deletions."""
    places = counted(points)
    found = {}
    for curve in curves:
        for k in sorted({min(1, points.words), points.words}):
            key = f"{curve.data}/{curve.operator}/{curve.group}@{k}/{curve.method}"
            found[key] = curve.accuracy[places[k]].value
    return found


def deletion_tables(curves: Sequence[Curve], settings: Settings, points: Points) -> list[Table]:
    """Accuracies of each group by k, with the paper's, and by share."""
    return [
        table
        for group in GROUPS
        for table in _tables([c for c in curves if c.group == group], settings, points)
    ]


class _Field:
    """All methods on all data under all operators.

    Args:
        curves: Their curves.
        settings: The settings of the study.
        points: How much was deleted.
    """

    def __init__(self, curves: Sequence[Curve], settings: Settings, points: Points) -> None:
        self._curves, self._settings, self._points = curves, settings, points
        self._unit = noun(settings.unit)
        self._control = next((c.method for c in curves if c.role == "floor"), "")

    def against_random(self) -> Iterator[Finding]:
        """Whether each method breaks more right predictions than the control."""
        for name in self._methods():
            trials = self._trials("right", [(name, self._control, name)])
            if not trials:
                continue
            answer = together([one.answer for one in trials])
            won = sum(one.answer == "agree" for one in trials)
            everywhere = _everywhere(trials)
            count = f" ({won} of {len(trials)} comparisons)" if everywhere else ""
            said = {
                "agree": f"breaks more right predictions than random {self._unit}s do",
                "disagree": f"does not{everywhere} break more right predictions than random "
                f"{self._unit}s do",
                "cannot tell": f"is not shown{everywhere} to break more right predictions than "
                f"random {self._unit}s do",
            }[answer]
            ours = name in (GS, GI, LRP)
            yield Finding(
                f"Deleting the {self._unit}s that {name} ranks highest {said}{count}.",
                f"Accuracy lost beyond random, mean over k = 1 to {self._points.words}: "
                f"{listed(trials)}.",
                f"{BREAKS} {RANDOM_BREAKS_LESS}" if ours else None,
                answer if ours else None,
            )

    def against_tracing(self) -> Iterator[Finding]:
        """Whether LAT finds less than the others without a sign."""
        rivals = [name for name in self._methods(signed=False) if name in (GS, GI, LRP)]
        trials = self._trials("right", [(name, LAT, name) for name in rivals])
        if trials and LAT in self._methods(signed=False):
            answer, everywhere = together([one.answer for one in trials]), _everywhere(trials)
            said = {
                "agree": "breaks fewer right predictions than",
                "disagree": f"does not{everywhere} break fewer right predictions than",
                "cannot tell": f"is not shown{everywhere} to break fewer right predictions than",
            }[answer]
            beyond = self._trials("right", [(LAT, self._control, LAT)])
            yield Finding(
                f"Deleting the {self._unit}s that {LAT} ranks highest {said} "
                f"{joined(rivals)} do, the others whose scores have no sign.",
                f"Accuracy lost beyond {LAT}: {listed(trials)}. {LAT} beyond random: "
                f"{listed(beyond)}.",
                FINDS_WORDS,
                answer,
            )

    def published(self) -> Iterator[Finding]:
        """How far the accuracies are from the paper's."""
        rows = [row for c in self._chosen("right") for row in _beside(c, self._points)]
        if not rows:
            return
        apart = [abs(ours.value - theirs) for ours, theirs in rows]
        inside = sum(ours.low <= theirs <= ours.high for ours, theirs in rows)
        same = self._settings.preset == "authors"
        how = "with the authors' choices" if same else "with other choices than the authors'"
        yield Finding(
            f"The accuracies {how} are {np.median(apart):.2f} from the published ones in the "
            "median; the models are others.",
            f"{inside} of the {len(rows)} published accuracies lie in our 95 % intervals; the "
            f"largest distance is {max(apart):.2f}.",
            "Accuracies at k = 1 and 10 of four methods and Random on four data sets.",
            None,
        )

    def leaders(self) -> Iterator[Finding]:
        """Which method breaks most, among those with a sign and among those without."""
        for signed in (True, False):
            names = self._methods(signed)
            if len(names) < 2:
                continue
            first, second = self._ranked(names, "right")[:2]
            trials = self._trials("right", [(first, second, first)])
            clear = together([one.answer for one in trials]) == "agree"
            yield Finding(
                f"Of the methods whose scores have {'a' if signed else 'no'} sign, {first} breaks "
                f"most right predictions"
                + (f", more than {second} everywhere." if clear else f"; {second} comes next."),
                f"Accuracy lost beyond {second}: {listed(trials)}.{self._reach(first)}",
            )

    def operators(self) -> Iterator[Finding]:
        """Whether methods rank alike whatever a deletion does."""
        operators = list(dict.fromkeys(c.operator for c in self._curves))
        for signed in (True, False):
            names = self._methods(signed)
            if len(names) < 2 or len(operators) < 2:
                continue
            orders = {operator: self._ranked(names, "right", operator) for operator in operators}
            alike = len({tuple(order) for order in orders.values()}) == 1
            yield Finding(
                f"The methods whose scores have {'a' if signed else 'no'} sign come in "
                f"{'the same order' if alike else 'different orders'} under {joined(operators)}.",
                "; ".join(f"{name}: {' > '.join(order)}" for name, order in orders.items()) + ".",
            )

    def misled(self) -> Iterator[Finding]:
        """Whether deleting top words corrects wrong predictions."""
        if not self._chosen("wrong"):
            return
        best = self._ranked(self._methods(), "wrong")[0]
        trials = self._trials("wrong", [(best, self._control, best)])
        everywhere = _everywhere(trials)
        said = {
            "agree": "corrects more",
            "disagree": f"does not{everywhere} correct more",
            "cannot tell": f"is not shown{everywhere} to correct more",
        }[together([one.answer for one in trials])]
        place = counted(self._points)[self._points.words]
        told = [
            f"{_where(c)} {c.accuracy[place]}, {self._control} {self._accuracy(c, place)}"
            for c in self._chosen("wrong")
            if c.method == best
        ]
        yield Finding(
            f"Of the wrong predictions, deleting the {self._unit}s that {best} ranks highest "
            f"{said} than random {self._unit}s do.",
            f"Accuracy won beyond random, mean over k = 1 to {self._points.words}: "
            f"{listed(trials)}. Right after k = {self._points.words}: {'; '.join(told)}.",
        )

    def _methods(self, signed: bool | None = None) -> list[str]:
        found = {c.method: c.signed for c in self._curves if c.role == "method"}
        return [name for name, own in found.items() if signed in (None, own)]

    def _chosen(self, group: str, operator: str | None = None) -> list[Curve]:
        return [c for c in self._curves if c.group == group and operator in (None, c.operator)]

    def _accuracy(self, like: Curve, place: int) -> Interval:
        """That of the control on the same texts."""
        return self._control_of(like).accuracy[place]

    def _control_of(self, like: Curve) -> Curve:
        return next(
            c for c in self._chosen(like.group, like.operator)
            if c.role == "floor" and c.data == like.data
        )  # fmt: skip

    def _ranked(self, names: Sequence[str], group: str, operator: str | None = None) -> list[str]:
        """Names of methods, the one that changes most answers first, on average over data."""
        sign = 1 if group == "right" else -1
        means = {
            name: sign * np.mean(
                [c.effect(self._points.words).mean() for c in self._chosen(group, operator)
                 if c.method == name]
            )
            for name in names
        }  # fmt: skip
        return sorted(names, key=means.__getitem__)

    def _trials(self, group: str, asked: Sequence[tuple[str, str, str]]) -> list[Trial]:
        """The first one against the second one, on all data under all operators.

        Args:
            group: Of which texts.
            asked: Two names each, and which of them is expected to change more answers.
        """
        known = {(c.data, c.operator, c.method): c for c in self._chosen(group)}
        pairs = [
            (one, known[one.data, one.operator, second], winner)
            for first, second, winner in asked
            for one in known.values()
            if one.method == first and (one.data, one.operator, second) in known
        ]
        words, settings = self._points.words, self._settings
        sign = 1 if group == "right" else -1  # what breaks predictions is good there, bad here
        return [
            trial(
                _where(one) if len(asked) == 1 else f"{one.method}, {_where(one)}",
                winner,
                {own.method: sign * own.effect(words) for own in (one, other)},
                len(pairs),
                RELEVANT,
                settings.resamples,
                settings.seed,
            )
            for one, other, winner in pairs
        ]

    def _reach(self, name: str) -> str:
        """How much of what a search reaches beyond random a method reaches, on the same texts."""
        told = []
        for best in self._chosen("right"):
            own = next(
                c for c in self._chosen("right", best.operator)
                if c.method == name and c.data == best.data
            )  # fmt: skip
            if best.role != "ceiling":
                continue
            words = self._points.words
            rows = whole(best.values[..., 0])
            low, method, high = (
                float(c.effect(words)[:, rows].mean()) for c in (self._control_of(best), own, best)
            )
            if low > high and rows.sum() >= SEARCHED:
                share = (low - method) / (low - high)
                told.append(f"{_where(best)} {share:.0%} ({rows.sum()} texts)")
        shown = "; ".join(told)
        return (
            f" Of what a search for the best order breaks beyond random: {shown}." if told else ""
        )


def _everywhere(trials: Sequence[Trial]) -> str:
    return " everywhere" if len(trials) > 1 else ""


def _tables(curves: Sequence[Curve], settings: Settings, points: Points) -> Iterator[Table]:
    if curves:
        first = {"right": "at first right", "wrong": "at first wrong"}[curves[0].group]
        yield _by_count(curves, noun(settings.unit), first, points)
        if points.shares:
            yield _by_share(curves, noun(settings.unit), first, points)


def _by_count(curves: Sequence[Curve], unit: str, first: str, points: Points) -> Table:
    places = counted(points)
    shown = sorted({k for k in (1, 2, 3, 5, 10, points.words) if k <= points.words})
    told = any(_published(c) for c in curves)
    heads = ["data", "operator", "method", "texts", *(f"k = {k}" for k in shown)]
    return Table(
        f"{curves[0].group}-by-count",
        f"Accuracy after deleting k {unit}s, texts {first}",
        heads + [f"paper, k = {k}" for k in DELETED] * told,
        [
            [*_named(c), *(str(c.accuracy[places[k]]) for k in shown), *_paper(c, told)]
            for c in curves
        ],
        f"Share of right predictions without the k highest ranked {unit}s{_NOTE}",
    )


def _by_share(curves: Sequence[Curve], unit: str, first: str, points: Points) -> Table:
    shares = {at: place for at, place in ends(points, SHARE).items() if 0 < at < 1}
    return Table(
        f"{curves[0].group}-by-share",
        f"Accuracy after deleting a share of the {unit}s, texts {first}",
        ["data", "operator", "method", "texts", *(f"{at:.0%}" for at in shares)],
        [[*_named(c), *(str(c.accuracy[place]) for place in shares.values())] for c in curves],
        f"Share of right predictions without so many of the {unit}s, highest ranked first{_NOTE}",
    )


def _named(curve: Curve) -> list[Cell]:
    return [curve.data, curve.operator, curve.method, curve.count]


def _published(curve: Curve) -> tuple[float, float] | None:
    """The paper's accuracies of the same method on the same data set."""
    if curve.group != "right":
        return None
    name = RANDOM if curve.role == "floor" else curve.method
    return DELETION.get(curve.dataset, {}).get(name)


def published_points(curve: Curve) -> list[tuple[float, float]]:
    """The paper's accuracies over k."""
    known = _published(curve)
    return [] if known is None else [(float(k), y) for k, y in zip(DELETED, known, strict=True)]


def _paper(curve: Curve, told: bool) -> list[Cell]:
    return [*(_published(curve) or (None, None))] if told else []


def _beside(curve: Curve, points: Points) -> Iterator[tuple[Interval, float]]:
    """Accuracies beside the paper's."""
    places: Mapping[int, int] = counted(points)
    for k, theirs in zip(DELETED, _published(curve) or (), strict=False):
        if k in places:
            yield curve.accuracy[places[k]], theirs


def _where(curve: Curve) -> str:
    return f"{curve.data}, {curve.operator}"
