"""bertx: fine-tune BERT-like text classifiers and see why they decide, while they train."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertx.explaining import explain as explain

__version__ = version("bertx")


def __getattr__(name: str) -> Any:
    """Load `bertx.explain`, and torch with it, when it is first used."""
    if name == "explain":
        from bertx.explaining import explain

        globals()[name] = explain
        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "explain"])
