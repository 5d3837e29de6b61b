"""The templates of pages: strict about what they are given, and escaping all of it."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertx.rendering.heatmap import printable

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def template(name: str) -> "Template":
    """A template by the name of its file."""
    return _environment().get_template(name)


def source(name: str) -> str:
    """The style sheet or the script of a page by the name of its file."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bertx.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """A value as a page can hold it; HTML of our making stays as it is."""
    return printable(value) if type(value) is str else value
