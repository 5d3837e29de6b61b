"""bertx: fine-tune BERT-like text classifiers and see why they decide, while they train."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertx.explaining import explain as explain
    from bertx.judging.verdicts import judge as judge  # the package has a module of that name

__version__ = version("bertx")

_LAZY = {"explain": "bertx.explaining", "judge": "bertx.judging"}


def __getattr__(name: str) -> Any:
    """Load `bertx.explain` and `bertx.judge`, and torch with them, when they are first used."""
    if name in _LAZY:
        found = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
