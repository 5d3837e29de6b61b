"""What all figures share: style, heading, and conversion to SVG and PNG."""

from collections.abc import Callable
from functools import wraps
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from bertx.rendering.colours import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

FONT = "DejaVu Sans"
_STYLE: Any = {
    "font.family": FONT,
    "text.parse_math": False,  # names may hold dollars
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.edgecolor": "#b5b5b5",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e8e8e8",
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "svg.hashsalt": "bertx",
    "svg.fonttype": "path",
}

# in inches
_EDGE, _TITLE, _SUBTITLE = 0.14, 0.22, 0.17
_LETTERS = {_TITLE: 8.0, _SUBTITLE: 12.0}
"""How many letters fit into an inch."""


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Decorate a drawing function so that it uses the style of all figures."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def blank_figure(width: float, height: float, dpi: int = 150) -> "Figure":
    """Create an empty figure with an Agg canvas, independent of pyplot: it need not be closed.

    Args:
        width: In inches.
        height: In inches.
        dpi: Dots per inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_heading(figure: "Figure", title: str, subtitle: str = "") -> None:
    """Add a title and below it, smaller, a subtitle; the figure grows by their height."""
    width, height = figure.get_size_inches()
    lines = [
        (line, size)
        for text, size in ((title, _TITLE), (subtitle, _SUBTITLE))
        for line in wrap(text, int(_LETTERS[size] * (width - 2 * _EDGE)))
    ]
    total = height + _EDGE + sum(size for _, size in lines)
    figure.set_size_inches(width, total)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, height / total))
    y = total - _EDGE
    for line, size in lines:
        look: dict[str, Any] = {"fontsize": 9.5, "color": GREY}
        if size == _TITLE:
            look = {"fontsize": 13, "fontweight": "bold"}
        figure.text(_EDGE / width, y / total, line, va="top", **look)
        y -= size


@styled
def figure_svg(figure: "Figure") -> str:
    """Return a figure as SVG, reproducible byte for byte: no date, letters as outlines."""
    source = BytesIO()
    figure.savefig(source, format="svg", metadata={"Date": None})
    return source.getvalue().decode("utf-8")


@styled
def figure_png(figure: "Figure") -> bytes:
    """Return a figure as PNG in its resolution."""
    image = BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def shortened(text: str, longest: int) -> str:
    """Shorten a text to ``longest`` letters, the last of them an ellipsis.

    Examples:
        >>> shortened("GradientXInput", 9), shortened("LRP", 9)
        ('Gradient…', 'LRP')
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
