"""The figure of Adebayo et al. (2018): rank correlation over what is random, top to bottom."""

from collections.abc import Sequence

from bertx.rendering.panels import LinePanel, PanelLine, Scale, panels_figure
from bertx.studies.findings import Picture
from bertx.studies.randomization_findings import CALLED
from bertx.studies.randomizing import CASCADING, INDEPENDENT, SHUFFLED
from bertx.studies.survival import MEASURES, Survival

_TITLES = {
    CASCADING: "random from the top down to",
    INDEPENDENT: "random alone",
    SHUFFLED: "trained on shuffled labels",
}


def randomization_pictures(found: Sequence[Survival]) -> list[Picture]:
    """A figure for each run: what is compared below each other, schemes side by side."""
    return [
        _picture([own for own in found if own.run == run], run)
        for run in dict.fromkeys(own.run for own in found)
    ]


def _picture(found: Sequence[Survival], run: str) -> Picture:
    schemes = list(dict.fromkeys(own.scheme for own in found))
    measures = [name for name in MEASURES if any(own.measure == name for own in found)]
    rows = [
        [
            _panel([own for own in found if (own.measure, own.scheme) == (measure, scheme)])
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
