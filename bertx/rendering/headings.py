"""The heading of a figure: a title and a line below it, broken where the figure ends."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from bertx.rendering.canvas import text_width
from bertx.rendering.curves import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# in inches
_MARGIN, _TOP, _STEP, _BELOW, _NEXT = 0.14, 0.28, 0.22, 0.21, 0.16
_TITLE, _SMALL = 13, 9.5


class Heading:
    """A heading for a figure of a given width.

    Args:
        title: The title.
        subtitle: Printed small below it.
        width: The width of the figure, in inches.

    Attributes:
        more: How much higher than one line each it is, in inches.
    """

    def __init__(self, title: str, subtitle: str, width: float) -> None:
        room = width - 2 * _MARGIN
        self._title = list(_broken(title, _TITLE, "bold", room))
        self._subtitle = list(_broken(subtitle, _SMALL, "normal", room))
        self.more = _STEP * (len(self._title) - 1) + _NEXT * max(len(self._subtitle) - 1, 0)

    def draw(self, figure: "Figure") -> None:
        """Write it at the top."""
        width, height = figure.get_size_inches()
        left, y = _MARGIN / width, height - _TOP
        for number, line in enumerate(self._title):
            y -= _STEP * bool(number)
            figure.text(
                left, y / height, line, fontsize=_TITLE, fontweight="bold", parse_math=False
            )
        y -= _BELOW
        for number, line in enumerate(self._subtitle):
            y -= _NEXT * bool(number)
            figure.text(left, y / height, line, fontsize=_SMALL, color=GREY, parse_math=False)


def _broken(
    text: str, size: float, weight: Literal["normal", "bold"], room: float
) -> Iterator[str]:
    """Lines that are no wider than ``room``; a word that is wider is cut short."""
    line = ""
    for word in text.split():
        while _width(word, size, weight) > room and len(word) > 1:
            word = f"{word.removesuffix('…')[:-1]}…"
        longer = f"{line} {word}".strip()
        if line and _width(longer, size, weight) > room:
            yield line
            line = word
        else:
            line = longer
    yield line


def _width(text: str, size: float, weight: Literal["normal", "bold"]) -> float:
    return text_width(text, size=size, weight=weight) / 72
