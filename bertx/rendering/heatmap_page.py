"""Examples with their heatmaps as one HTML page that needs nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html
from bertx.rendering.templates import template

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class HeatmapRow:
    """One example and how each method explains it.

    Attributes:
        epoch: The epoch in which it was explained.
        step: The optimiser step.
        text: The original text.
        gold: Name of its label, empty if unknown.
        predicted: Name of the class that the model chose.
        probability: The model's probability of that class.
        heatmaps: A heatmap for each method. A method without one is shown as a dash.
    """

    epoch: int
    step: int
    text: str
    gold: str
    predicted: str
    probability: float
    heatmaps: Mapping[str, Heatmap]

    @property
    def right(self) -> bool | None:
        """Whether the prediction is right; None where the label is unknown."""
        return self.gold == self.predicted if self.gold else None

    def without_text(self, instead: str) -> "HeatmapRow":
        """The same row without a word of its text: the words are numbers.

        Args:
            instead: What stands in the text's place.
        """
        heatmaps = {name: heatmap.without_text() for name, heatmap in self.heatmaps.items()}
        return replace(self, text=instead, heatmaps=heatmaps)


def methods_of(rows: Sequence[HeatmapRow]) -> list[str]:
    """The names of all methods of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.heatmaps))


def heatmap_page(rows: Sequence[HeatmapRow], title: str) -> str:
    """Make a page of examples: text, label, prediction and the methods' heatmaps, line by line.

    Args:
        rows: The examples.
        title: The heading.

    Returns:
        A whole HTML document without scripts, links or outside assets, light or dark as the
        reader prefers. Everything that comes from data is escaped.
    """
    return template("page.html.jinja").render(**_contents(rows, title))


def _contents(rows: Sequence[HeatmapRow], title: str) -> dict[str, Any]:
    heatmaps = [heatmap for row in rows for heatmap in row.heatmaps.values()]
    verdicts = [row.right for row in rows if row.right is not None]
    return {
        "title": title,
        "when": sorted({(row.epoch, row.step) for row in rows}),
        "known": len(verdicts),
        "right": sum(verdicts),
        "legends": legends(heatmap.signed for heatmap in heatmaps),
        "marked": any(any(heatmap.marks) for heatmap in heatmaps),
        "examples": [_example(row, methods_of(rows)) for row in rows],
    }


def _example(row: HeatmapRow, methods: Sequence[str]) -> dict[str, Any]:
    return {
        "text": row.text,
        "gold": row.gold,
        "predicted": row.predicted,
        "probability": row.probability,
        "right": row.right,
        "when": (row.epoch, row.step),
        "heatmaps": drawn_heatmaps({name: row.heatmaps.get(name) for name in methods}),
    }


def legends(signs: Iterable[bool]) -> list["Markup"]:
    """The colour scales of methods with and without a sign, as HTML, each once."""
    from markupsafe import Markup

    return [Markup(legend_html(signed)) for signed in sorted(set(signs), reverse=True)]


def drawn_heatmaps(heatmaps: Mapping[str, Heatmap | None]) -> list[tuple[str, "Markup | None"]]:
    """The name and the HTML of each heatmap; None where there is none."""
    from markupsafe import Markup

    return [
        (name, None if heatmap is None else Markup(heatmap_html(heatmap)))
        for name, heatmap in heatmaps.items()
    ]
