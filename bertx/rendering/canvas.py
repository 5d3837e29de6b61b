"""A blank figure, what it becomes in a file, and text that fits into it."""

from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
