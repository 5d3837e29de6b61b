"""Results of word deletion: findings with evidence, numbers, tables and figures."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan

import numpy as np

from bertx.models.inputs import noun
from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.statistics import MINIMUM
from bertx.statistics.correlations import Interval
from bertx.statistics.spread import complete
from bertx.studies import paper
from bertx.studies.claims import (
    ClaimTest,
    compare_pairs,
    evidence_of,
    joined,
    leagues,
    overall,
)
from bertx.studies.deleting import COUNT, GROUPS, SHARE, Points, counted, places_of
from bertx.studies.findings import Cell, Finding, Picture, Table, pivot
from bertx.studies.method_curves import MethodCurve, cells, grouped
from bertx.studies.settings import Settings

_RELEVANT = 0.02
"""The smallest difference in accuracy that matters."""

_SEARCHED = 5
"""The fewest searched texts for which a share of what the search reaches is reported."""

_HEADS = ("data", "operator", "method", "texts")

_NOTE = (
    ", with 95 % intervals over texts and, if there are several, over runs. The ceiling is the "
    "best order that a search found, on some of the texts."
)

_TEXTS = {"right": "texts initially classified correctly", "wrong": "texts initially misclassified"}

Curves = Sequence[MethodCurve]


def deletion_findings(curves: Curves, settings: Settings, points: Points) -> list[Finding]:
    """Return all findings, those on the paper's claims first."""
    groups = grouped(curves, "group")
    findings: list[Finding] = []
    if right := groups.get("right"):
        for results in (_against_random, _against_tracing, _published, _leaders, _operators):
            findings += results(right, settings, points)
    if wrong := groups.get("wrong"):
        findings.append(_corrected(wrong, settings, points))
    return findings


def deletion_numbers(curves: Curves, points: Points) -> dict[str, float]:
    """Return the accuracies after 1 and after all k deletions."""
    places = {k: counted(points)[k] for k in sorted({min(1, points.words), points.words})}
    return {
        f"{curve.data}/{curve.by}/{curve.group}@{k}/{curve.method}": curve.means[place].value
        for curve in curves
        for k, place in places.items()
    }


def deletion_tables(curves: Curves, settings: Settings, points: Points) -> list[Table]:
    """Return the accuracies of each group by k, beside the paper's, and by share."""
    groups = grouped(curves, "group")
    return [
        table
        for group in GROUPS
        if group in groups
        for table in _tables(groups[group], group, settings, points)
    ]


def _against_random(right: Curves, settings: Settings, points: Points) -> Iterator[Finding]:
    """Whether each method changes more correct predictions than the random control."""
    unit = noun(settings.unit)
    for name in _methods(right):
        tests = _compare(right, [(name, _control(right))], settings, points)
        won = sum(test.verdict == "agree" for test in tests)
        count = f" ({won} of {len(tests)} comparisons)" if len(tests) > 1 else ""
        claimed = name in (paper.GS, paper.GI, paper.LRP)
        yield Finding(
            f"Deleting the {unit}s that {name} ranks highest "
            f"{_shown(tests, 'change', 'more correct predictions')} than deleting random {unit}s "
            f"does{count}.",
            f"Accuracy lost beyond random, mean over k = 1 to {points.words}: "
            f"{evidence_of(tests)}.",
            f"{paper.BREAKS} {paper.RANDOM_BREAKS_LESS}" if claimed else None,
            overall(tests) if claimed else None,
        )


def _against_tracing(right: Curves, settings: Settings, points: Points) -> Iterator[Finding]:
    """Whether LAT changes fewer predictions than the paper's other methods without a sign."""
    unsigned = [name for name in _methods(right) if not settings.signed(name)]
    rivals = [name for name in unsigned if name in (paper.GS, paper.GI, paper.LRP)]
    if not rivals or paper.LAT not in unsigned:
        return
    tests = _compare(right, [(name, paper.LAT) for name in rivals], settings, points)
    beyond = _compare(right, [(paper.LAT, _control(right))], settings, points)
    unit = noun(settings.unit)
    yield Finding(
        f"Deleting the {unit}s that {paper.LAT} ranks highest "
        f"{_shown(tests, 'change', 'fewer correct predictions')} than deleting the highest ranked "
        f"{unit}s of {joined(rivals)}, whose scores are also unsigned.",
        f"Accuracy lost beyond {paper.LAT}: {evidence_of(tests)}. {paper.LAT} beyond random: "
        f"{evidence_of(beyond)}.",
        paper.FINDS_WORDS,
        overall(tests),
    )


def _published(right: Curves, settings: Settings, points: Points) -> Iterator[Finding]:
    """How far the accuracies are from the paper's."""
    places = counted(points)
    pairs = [
        (curve.means[places[k]], published)
        for curve in right
        for k, published in published_points(curve)
        if k in places
    ]
    if not pairs:
        return
    apart = [abs(ours.value - published) for ours, published in pairs]
    inside = sum(ours.low <= published <= ours.high for ours, published in pairs)
    same = settings.preset == "authors"
    how = "With the authors' choices" if same else "With choices other than the authors'"
    yield Finding(
        f"{how}, the median difference from the published accuracies is {np.median(apart):.2f}; "
        "the models differ from the paper's.",
        f"{inside} of the {len(pairs)} published accuracies are inside the 95 % intervals here; "
        f"the largest difference is {max(apart):.2f}.",
        "Accuracies at k = 1 and 10 of four methods and Random on four data sets.",
        None,
    )


def _leaders(right: Curves, settings: Settings, points: Points) -> Iterator[Finding]:
    """Which method changes most predictions, among signed and among unsigned methods."""
    for league, names in _leagues(right, settings):
        first, second = _ranked(right, names, points)[:2]
        tests = _compare(right, [(first, second)], settings, points)
        clear = overall(tests) == "agree"
        yield Finding(
            f"Of the {league} methods, {first} changes correct predictions most often, "
            + (f"significantly more often than {second}." if clear else f"followed by {second}."),
            f"Accuracy lost beyond {second}: {evidence_of(tests)}.{_reach(right, first, points)}",
        )


def _operators(right: Curves, settings: Settings, points: Points) -> Iterator[Finding]:
    """Whether the order of the methods depends on the operator."""
    by_operator = grouped(right, "by")
    if len(by_operator) < 2:
        return
    for league, names in _leagues(right, settings):
        orders = {by: " > ".join(_ranked(of, names, points)) for by, of in by_operator.items()}
        differs = "is the same with" if len(set(orders.values())) == 1 else "differs between"
        yield Finding(
            f"The order of the {league} methods {differs} {joined(list(orders))}.",
            "; ".join(f"{operator}: {order}" for operator, order in orders.items()) + ".",
        )


def _corrected(wrong: Curves, settings: Settings, points: Points) -> Finding:
    """Whether deleting top words corrects wrong predictions."""
    unit, control = noun(settings.unit), _control(wrong)
    best = _ranked(wrong, _methods(wrong), points)[0]
    tests = _compare(wrong, [(best, control)], settings, points)
    place = counted(points)[points.words]
    right = [
        f"{_where(curve)} {curve.means[place]}, {control} {_of(wrong, curve, control).means[place]}"
        for curve in wrong
        if curve.method == best
    ]
    return Finding(
        f"Of the wrong predictions, deleting the {unit}s that {best} ranks highest "
        f"{_shown(tests, 'correct', 'more')} than deleting random {unit}s does.",
        f"Accuracy gained beyond random, mean over k = 1 to {points.words}: "
        f"{evidence_of(tests)}. Correct after k = {points.words}: {'; '.join(right)}.",
    )


def _methods(curves: Curves) -> list[str]:
    return list(dict.fromkeys(curve.method for curve in curves if curve.role == "method"))


def _control(curves: Curves) -> str:
    """Return the name of the random control."""
    return next(curve.method for curve in curves if curve.role == "floor")


def _leagues(curves: Curves, settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Yield the groups of `leagues` that have at least two methods."""
    for league, names in leagues(_methods(curves), settings):
        if len(names) > 1:
            yield league, names


def _of(curves: Curves, like: MethodCurve, method: str) -> MethodCurve:
    """Return the curve of another method on the same texts, with the same operator."""
    same = (like.data, like.by, method)
    return next(curve for curve in curves if (curve.data, curve.by, curve.method) == same)


def _ranked(curves: Curves, methods: Sequence[str], points: Points) -> list[str]:
    """Sort methods by how many predictions they change on average, the most first."""

    def effect(method: str) -> float:
        of_method = [curve for curve in curves if curve.method == method]
        return float(np.mean([curve.effect(points.words).mean() for curve in of_method]))

    return sorted(methods, key=effect, reverse=curves[0].group == "wrong")


def _compare(
    curves: Curves, pairs: Sequence[tuple[str, str]], settings: Settings, points: Points
) -> list[ClaimTest]:
    """Compare the effects of pairs of methods, on all data and with all operators.

    Args:
        curves: The curves of one group.
        pairs: The method that changes more predictions if the claim holds, and the other one.
        settings: The settings of the study.
        points: How much is deleted.
    """
    sign = 1 if curves[0].group == "right" else -1  # a lower accuracy is better for right texts
    effects = []
    for first, second in pairs:
        for curve in curves:
            if curve.method == first:
                both = (curve, _of(curves, curve, second))
                where = _where(curve) if len(pairs) == 1 else f"{first}, {_where(curve)}"
                values = {each.method: sign * each.effect(points.words) for each in both}
                effects.append((where, first, values))
    return compare_pairs(effects, _RELEVANT, settings)


def _reach(right: Curves, method: str, points: Points) -> str:
    """Say what share of the effect of a search, beyond random, a method has on the same texts."""
    shares = []
    for best in right:
        searched = complete(best.values[..., 0])
        if best.role != "ceiling" or searched.sum() < _SEARCHED:
            continue
        random, accuracy, lowest = (
            float(curve.effect(points.words)[:, searched].mean())
            for curve in (_of(right, best, _control(right)), _of(right, best, method), best)
        )
        if random > lowest:
            share = (random - accuracy) / (random - lowest)
            shares.append(f"{_where(best)} {share:.0%} ({searched.sum()} texts)")
    what = "Share of what a search for the best order reaches beyond random"
    return f" {what}: {'; '.join(shares)}." if shares else ""


def _shown(tests: Sequence[ClaimTest], verb: str, what: str) -> str:
    """Say whether a method does something, such as ``change`` ``more correct predictions``."""
    always = " always" if len(tests) > 1 else ""
    start = {
        "agree": f"{verb}s",
        "disagree": f"does not{always} {verb}",
        "cannot tell": f"is not{always} shown to {verb}",
    }
    return f"{start[overall(tests)]} {what}"


def _tables(curves: Curves, group: str, settings: Settings, points: Points) -> Iterator[Table]:
    unit, places = noun(settings.unit), counted(points)
    columns = {f"k = {k}": places[k] for k in sorted({1, 2, 3, 5, 10, points.words} & {*places})}
    published = [
        (_key(curve), f"paper, k = {k}", accuracy)
        for curve in curves
        for k, accuracy in published_points(curve)
    ]
    yield pivot(
        f"{group}-by-count",
        f"Accuracy after deleting k {unit}s, {_TEXTS[group]}",
        _HEADS,
        [*cells(curves, _key, columns), *published],
        f"Share of correct predictions without the k highest ranked {unit}s{_NOTE}",
    )
    if points.shares:
        shares = {f"{at:.0%}": n for at, n in places_of(points, SHARE).items() if 0 < at < 1}
        yield pivot(
            f"{group}-by-share",
            f"Accuracy after deleting a share of the {unit}s, {_TEXTS[group]}",
            _HEADS,
            cells(curves, _key, shares),
            f"Share of correct predictions after deleting this share of the {unit}s, the highest "
            f"ranked first{_NOTE}",
        )


def _key(curve: MethodCurve) -> tuple[Cell, ...]:
    return curve.data, curve.by, curve.method, curve.counts[0]


def published_points(curve: MethodCurve) -> list[tuple[int, float]]:
    """Return k and the paper's accuracy of the same method on the same data set, if published."""
    if curve.group != "right":
        return []
    name = paper.RANDOM if curve.role == "floor" else curve.method
    accuracies = paper.DELETION.get(curve.dataset, {}).get(name, ())
    return list(zip(paper.DELETED, accuracies, strict=False))


def _where(curve: MethodCurve) -> str:
    return f"{curve.data}, {curve.by}"


def deletion_pictures(curves: Curves, settings: Settings, points: Points) -> list[Picture]:
    """Draw accuracy over k and over shares, for each group of texts."""
    groups = grouped(curves, "group")
    axes = (COUNT, SHARE) if points.shares else (COUNT,)
    return [
        _picture(groups[group], axis, settings, points)
        for group in GROUPS
        if group in groups
        for axis in axes
    ]


def _picture(curves: Curves, axis: str, settings: Settings, points: Points) -> Picture:
    unit, places, group = noun(settings.unit), places_of(points, axis), curves[0].group
    data, operators = grouped(curves, "data"), grouped(curves, "by")
    rows = [
        [_panel([curve for curve in same if curve.data == name], axis, places) for name in data]
        for same in operators.values()
    ]
    if len(data) == 1:  # operators side by side
        rows = [[panel for row in rows for panel in row]]
    x = f"{unit}s deleted" if axis == COUNT else f"share of {unit}s deleted"
    title = f"Accuracy on {_TEXTS[group]}"
    best = "falls" if group == "right" else "rises"
    return Picture(
        f"{group}-by-{axis}",
        f"{title}, over {x}",
        f"{title} while the highest ranked {unit}s are deleted, a panel for each of "
        f"{', '.join(data)} and each of the operators {', '.join(operators)}; one line "
        f"per method with its 95 % band. The better the ranking, the faster the line {best}.",
        panels_figure(rows, Scale(x, "accuracy", share=axis == SHARE), title),
    )


def _panel(curves: Curves, axis: str, places: Mapping[float, int]) -> LinePanel:
    lines = [
        PanelLine(
            curve.method,
            list(places),
            [_with_band(curve, curve.means[place]) for place in places.values()],
            curve.role,
            [p for p in published_points(curve) if axis == COUNT and p[0] in places],
        )
        for curve in curves
    ]
    texts = max(curve.counts[0] for curve in curves)
    searched = next((curve.counts[0] for curve in curves if curve.role == "ceiling"), texts)
    note = f"{texts:,} texts" + (f", ceiling {searched:,}" if searched < texts else "")
    return LinePanel(_where(curves[0]), lines, note)


def _with_band(curve: MethodCurve, mean: Interval) -> Interval:
    """Return the mean, without its band where there are too few texts to estimate it."""
    return mean if curve.counts[0] >= MINIMUM else Interval(mean.value, nan, nan)
