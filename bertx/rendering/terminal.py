"""Heatmaps for the terminal: coloured words, or words with numbers if there are no colours."""

import re
from math import isnan
from typing import TYPE_CHECKING

from bertx.rendering.colours import PAPER, colours_of, scale
from bertx.rendering.heatmap import Heatmap, ends, is_text, printable, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

# Characters that control a terminal: C1 controls, carriage return, bidirectional overrides.
_COMMANDS = re.compile("[\x80-\x9f\r\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TAIL = 60
_PAPER, _PALE = f"on {PAPER}", "#6b6b6b"


class TerminalHeatmap:
    """A heatmap for ``rich.print``.

    On a terminal with at least 256 colours every word is coloured (`bertx.rendering.colours`), and
    a line lists the strongest words with their scores. Elsewhere, such as in a pipe or with
    NO_COLOR set, each word is followed by its score.

    Args:
        heatmap: The text and its scores.
    """

    def __init__(self, heatmap: Heatmap) -> None:
        self.heatmap = heatmap

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Draw the heatmap with the colours of the console."""
        from rich.text import Text

        if not coloured(console):
            yield _numbers(self.heatmap)
            return
        yield _colours(self.heatmap)
        strongest = " · ".join(map(for_terminal, self.heatmap.strongest(3)))
        if strongest:
            yield Text(f"strongest: {strongest}", style="dim")


def terminal_legend(signed: bool, colours: bool) -> "Text":
    """Return one line on the meaning of the colours or numbers."""
    from rich.text import Text

    if not colours:
        meaning = "above 0 towards the class, below 0 against it" if signed else "0 or more"
        return Text(f"word(score), {meaning}")
    low, high = ends(signed)
    legend = Text(f"{low} ", style="dim")
    for colour in scale(signed):
        legend.append("  ", style=f"on {colour}")
    return legend.append(f" {high}")


def coloured(console: "Console") -> bool:
    """Whether a console can show the colours of heatmaps."""
    return not console.no_color and console.color_system in ("256", "truecolor")


def for_terminal(text: str) -> str:
    """Replace characters that control a terminal by U+FFFD."""
    return _COMMANDS.sub("\ufffd", printable(text).replace("\r\n", "\n"))


def _colours(heatmap: Heatmap) -> "Text":
    from rich.text import Text

    drawn = Text()
    _gap(drawn, heatmap.gaps[0], _PAPER)
    pairs = zip(heatmap.words, heatmap.levels, heatmap.gaps[1:], strict=True)
    for word, level, gap in pairs:
        if isnan(level):
            style = f"{_PALE} strike {_PAPER}"
        else:
            background, ink = colours_of(level, heatmap.signed)
            style = f"{ink} on {background}"
        drawn.append(for_terminal(visible(word)), style=style)
        _gap(drawn, gap, _PAPER)
    return drawn


def _numbers(heatmap: Heatmap) -> "Text":
    from rich.text import Text

    drawn = Text()
    _gap(drawn, heatmap.gaps[0])
    for i, (word, gap) in enumerate(zip(heatmap.words, heatmap.gaps[1:], strict=True)):
        drawn.append(f"{for_terminal(visible(word))}({heatmap.describe(i)})")
        _gap(drawn, gap or " ")
    drawn.rstrip()
    return drawn


def _gap(drawn: "Text", gap: str, paper: str = "") -> None:
    shown, more = for_terminal(gap[:_TAIL]), len(gap) - _TAIL
    tail = f"… ({more} characters more)" if more > 0 and is_text(gap) else ""
    ink = (_PALE if paper else "dim") if is_text(gap) else ""
    drawn.append(shown + tail, style=f"{ink} {paper}".strip())
