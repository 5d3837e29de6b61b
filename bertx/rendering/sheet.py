"""A page of explained texts that grows as they are explained and needs nothing else."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from bertx.errors import InputError
from bertx.rendering.files import begin_draft, put_in_place
from bertx.rendering.heatmap import Heatmap
from bertx.rendering.heatmap_page import drawn_heatmaps, legends
from bertx.rendering.templates import template

_KEEP = (KeyboardInterrupt, BrokenPipeError, InputError)
"""Ends of the body after which what there is stays worth reading."""


class HeatmapSheet:
    """Writes one HTML page, text by text; everything that comes from data is escaped.

    Used as a context. The file is seen only when it is whole, at the end of the body, on Ctrl-C,
    when nobody reads the output on, or when the input turns out to be unusable; if the body raises
    anything else, what was there before stays. The file that a link leads to is written, and what
    is a pipe or a device gets the page at the end.

    Args:
        path: The file; its folder is made if it is missing.
        title: The heading.
        signed: For each method whether its scores have a sign.

    Attributes:
        written: Whether the page is in its place.
    """

    def __init__(self, path: Path, title: str, signed: Mapping[str, bool]) -> None:
        self.path = path
        self._title, self._signed = title, signed
        self.written = False

    def __enter__(self) -> "HeatmapSheet":
        """Begin the page."""
        self._draft = begin_draft(self.path)
        self._file = self._draft.open("w", encoding="utf-8", errors="replace", newline="")
        page = template("page.html.jinja").render(
            title=self._title,
            examples=None,
            when=[],
            legends=legends(self._signed.values()),
            marked=False,
        )
        head, end, tail = page.partition("</main>")  # data is escaped and cannot have one
        self._end = end + tail
        self._file.write(head)
        return self

    def add(
        self, number: int, text: str, verdict: str, heatmaps: Mapping[str, Heatmap], note: str = ""
    ) -> None:
        """Add a text.

        Args:
            number: Its number.
            text: The text, shown where there is no heatmap; if it is empty, there may be a note
                in its place.
            verdict: What the model makes of it.
            heatmaps: How each method explains it.
            note: What else there is to say, such as an error.
        """
        shown = text.strip() or ("" if note else "(empty)")
        article = template("example.html.jinja").module.explained(  # type: ignore[attr-defined]
            number, verdict, shown, drawn_heatmaps(heatmaps), note
        )
        self._file.write(article)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the page and put it in its place."""
        try:
            self._file.write(self._end)
            self._file.close()
            if kind is None or issubclass(kind, _KEEP):
                put_in_place(self._draft, self.path)
                self.written = True
        finally:
            self._draft.unlink(missing_ok=True)
