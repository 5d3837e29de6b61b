"""A blank figure, its heading, what it becomes in a file, and text that fits into it."""

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from bertx.rendering.colours import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# in inches
_MARGIN, _TOP, _STEP, _BELOW, _NEXT = 0.14, 0.28, 0.22, 0.21, 0.16
_TITLE, _SMALL = 13, 9.5


def blank_figure(
    width: float,
    height: float,
    dpi: int = 150,
    layout: Literal["constrained"] | None = None,
) -> "Figure":
    """A figure with an Agg canvas that pyplot does not know of: nothing to close.

    Args:
        width: In inches.
        height: In inches.
        dpi: Dots per inch.
        layout: How matplotlib lays it out; None where its parts have their places.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def figure_svg(figure: "Figure") -> str:
    """The source of an SVG with letters as outlines: no date, no font and no chance in it."""
    import matplotlib

    source = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "bertx", "svg.fonttype": "path"}):
        figure.savefig(source, format="svg", metadata={"Date": None})
    return source.getvalue().decode("utf-8")


def figure_png(figure: "Figure") -> bytes:
    """The bytes of a PNG in the figure's own resolution."""
    image = BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def shortened(text: str, longest: int) -> str:
    """A text with so many letters at most, the last one an ellipsis where it is cut.

    Examples:
        >>> shortened("GradientXInput", 9), shortened("LRP", 9)
        ('Gradient…', 'LRP')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def text_width(text: str, **font: Any) -> float:
    """How wide a line of text is, in points.

    Args:
        text: The line.
        **font: The font, as matplotlib's `FontProperties` takes it.
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, 72)
    width, _, _ = renderer.get_text_width_height_descent(text, FontProperties(**font), False)
    return float(width)


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
