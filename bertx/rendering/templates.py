"""Templates of pages: undefined variables raise, and all values are escaped."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertx.rendering.heatmap import printable

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def template(name: str) -> "Template":
    """Return a template by its file name."""
    return _environment().get_template(name)


def source(name: str) -> str:
    """Return the style sheet or the script of a page by its file name."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bertx.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: Any) -> Any:
    """Replace what no page can hold; `Markup`, which is HTML already, stays as it is."""
    return printable(value) if type(value) is str else value
