"""A page of explained texts that grows as they are explained and needs nothing else."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import TracebackType

from bertx.errors import InputError
from bertx.rendering.files import begin_draft, put_in_place
from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html, printable

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --page: #f5f5f3; --card: #fff; --edge: #e4e4e0; --ink: #1b1b1a; --soft: #62625e; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --page: #151517; --card: #1f1f22; --edge: #34343a; --ink: #ececec; --soft: #a6a6ac; }}
}}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; max-width: 72rem; padding: clamp(1rem, 4vw, 3.5rem);
  background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}}
h1 {{ margin: 0; font-size: 1.75rem; line-height: 1.2; font-weight: 650; overflow-wrap: anywhere; }}
.key {{ display: flex; flex-wrap: wrap; gap: .6rem 1rem; margin: 1.5rem 0 2rem;
  color: var(--soft); font-size: .8125rem; align-items: center; }}
article {{
  margin: 0 0 1.25rem; padding: clamp(1rem, 2.5vw, 1.5rem);
  background: var(--card); border: 1px solid var(--edge); border-radius: .75rem;
}}
h2 {{ margin: 0 0 .75rem; font-size: 1rem; font-weight: 600; overflow-wrap: anywhere; }}
h2 span {{ color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums; }}
p {{ margin: .5rem 0; color: var(--soft); overflow-wrap: anywhere; white-space: pre-line; }}
dl {{ display: grid; grid-template-columns: minmax(5rem, 11rem) 1fr; gap: .5rem 1.25rem;
  margin: 0; }}
dt {{ padding-top: .75em; color: var(--soft); font-size: .8125rem; text-align: end;
  overflow-wrap: anywhere; }}
dd {{ margin: 0; min-width: 0; }}
@media (max-width: 40rem) {{
  dl {{ grid-template-columns: 1fr; gap: .25rem; }}
  dt {{ text-align: start; padding-top: .5em; }}
}}
@media print {{ article {{ break-inside: avoid; }} }}
</style>
</head>
<body>
<h1><bdi>{title}</bdi></h1>
<div class="key">{legends}<span>Each heatmap is scaled to its own largest score. Hover over a word
to read its score.</span></div>
<main>
"""


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
        kinds = sorted(set(self._signed.values()), reverse=True)
        legends = "".join(map(legend_html, kinds))
        self._file.write(_HEAD.format(title=_escaped(self._title), legends=legends))
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
        rows = [
            f"<dt><bdi>{_escaped(name)}</bdi></dt><dd>{heatmap_html(heatmap)}</dd>"
            for name, heatmap in heatmaps.items()
        ]
        body = f"<dl>{''.join(rows)}</dl>" if rows else ""
        if not rows and (text or not note):
            body = f'<p dir="auto">{_escaped(text.strip() or "(empty)")}</p>'
        self._file.write(
            f"<article><h2><span>{number}</span> <bdi>{_escaped(verdict)}</bdi></h2>{body}"
            f"{f'<p>{_escaped(note)}</p>' if note else ''}</article>\n"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the page and put it in its place."""
        try:
            self._file.write("</main>\n</body>\n</html>\n")
            self._file.close()
            if kind is None or issubclass(kind, _KEEP):
                put_in_place(self._draft, self.path)
                self.written = True
        finally:
            self._draft.unlink(missing_ok=True)


def _escaped(text: str) -> str:
    return escape(printable(text))
