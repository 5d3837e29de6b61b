"""Self-contained HTML pages of texts with their heatmaps, written at once or text by text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bertx.errors import InputError
from bertx.rendering.files import begin_draft, put_in_place, write_whole
from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html
from bertx.rendering.templates import template

if TYPE_CHECKING:
    from markupsafe import Markup


_KEEP = (KeyboardInterrupt, BrokenPipeError, InputError)
"""Exceptions after which the page is kept as far as it is written."""


@dataclass(frozen=True)
class HeatmapRow:
    """One example with its heatmaps.

    Attributes:
        epoch: The epoch in which it was explained.
        step: The optimizer step.
        text: The original text.
        gold: Name of its label, empty if unknown.
        predicted: Name of the predicted class.
        probability: The model's probability of the predicted class.
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
        """Whether the prediction is right; None if the label is unknown."""
        return self.gold == self.predicted if self.gold else None

    def without_text(self, instead: str) -> "HeatmapRow":
        """Replace the text, and its words in the heatmaps by numbers.

        Args:
            instead: The replacement of the text.
        """
        heatmaps = {name: heatmap.without_text() for name, heatmap in self.heatmaps.items()}
        return replace(self, text=instead, heatmaps=heatmaps)


def methods_of(rows: Sequence[HeatmapRow]) -> list[str]:
    """Return the names of all methods of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.heatmaps))


def heatmap_page(rows: Sequence[HeatmapRow], title: str) -> str:
    """Render a page of examples: for each its text, label, prediction and heatmaps.

    Args:
        rows: The examples.
        title: The heading.

    Returns:
        A whole HTML document without scripts, links or outside assets, light or dark as the
        reader prefers. Everything that comes from data is escaped.
    """
    return template("heatmaps.html.jinja").render(**_contents(rows, title))


def write_heatmaps(folder: Path, rows: Sequence[HeatmapRow], title: str, step: int) -> Path:
    """Write ``heatmaps/step=00063.html`` and ``heatmaps.html``, a copy of the latest page.

    Args:
        folder: The folder; created if it is missing.
        rows: The examples.
        title: The heading of the page.
        step: The optimizer step that names the page.

    Returns:
        The path of ``heatmaps.html``.
    """
    page = heatmap_page(rows, title)
    write_whole(folder / "heatmaps" / f"step={step:05d}.html", page)
    return write_whole(folder / "heatmaps.html", page)


class HeatmapSheet:
    """Writes one HTML page, text by text; everything that comes from data is escaped.

    A context manager. The page replaces the file when the body ends, also on Ctrl-C, a broken pipe
    or an `InputError`; after any other exception the old file stays. A link is followed; a pipe or
    a device receives the page at the end.

    Args:
        path: The file; its folder is created if it is missing.
        title: The heading.
        signed: For each method whether its scores have a sign.

    Attributes:
        written: Whether the page has replaced the file.
    """

    def __init__(self, path: Path, title: str, signed: Mapping[str, bool]) -> None:
        self.path = path
        self._title, self._signed = title, signed
        self.written = False

    def __enter__(self) -> "HeatmapSheet":
        """Begin the page."""
        self._draft = begin_draft(self.path)
        self._file = self._draft.open("w", encoding="utf-8", errors="replace", newline="")
        page = template("heatmaps.html.jinja").render(
            title=self._title,
            examples=None,
            when=[],
            legends=_legends(self._signed.values()),
            marked=False,
        )
        head, end, tail = page.partition("</main>")  # data is escaped and cannot contain it
        self._end = end + tail
        self._file.write(head)
        return self

    def add(
        self, number: int, text: str, verdict: str, heatmaps: Mapping[str, Heatmap], note: str = ""
    ) -> None:
        """Add a text.

        Args:
            number: Its number.
            text: The text, shown if there is no heatmap.
            verdict: The prediction of the model.
            heatmaps: The heatmap of each method.
            note: A further line, such as an error.
        """
        shown = text.strip() or ("" if note else "(empty)")
        macros: Any = template("example.html.jinja").module
        self._file.write(macros.explained(number, verdict, shown, _drawn(heatmaps), note))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the page and replace the file by it."""
        try:
            self._file.write(self._end)
            self._file.close()
            if kind is None or issubclass(kind, _KEEP):
                put_in_place(self._draft, self.path)
                self.written = True
        finally:
            self._draft.unlink(missing_ok=True)


def _contents(rows: Sequence[HeatmapRow], title: str) -> dict[str, Any]:
    heatmaps = [heatmap for row in rows for heatmap in row.heatmaps.values()]
    verdicts = [row.right for row in rows if row.right is not None]
    return {
        "title": title,
        "when": sorted({(row.epoch, row.step) for row in rows}),
        "labelled": len(verdicts),
        "right": sum(verdicts),
        "legends": _legends(heatmap.signed for heatmap in heatmaps),
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
        "heatmaps": _drawn({name: row.heatmaps.get(name) for name in methods}),
    }


def _legends(signs: Iterable[bool]) -> list["Markup"]:
    """The legends of methods with and without a sign, as HTML, each once."""
    from markupsafe import Markup

    return [Markup(legend_html(signed)) for signed in sorted(set(signs), reverse=True)]


def _drawn(heatmaps: Mapping[str, Heatmap | None]) -> list[tuple[str, "Markup | None"]]:
    """The name and the HTML of each heatmap; None without a heatmap."""
    from markupsafe import Markup

    return [
        (name, None if heatmap is None else Markup(heatmap_html(heatmap)))
        for name, heatmap in heatmaps.items()
    ]
