"""Fine-tune BERT-like text classifiers and explain their decisions while they train."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertx.evaluation import judge as judge
    from bertx.explanation import explain as explain

__all__ = ["__version__", "explain", "judge"]

__version__ = version("bertx")

_LAZY = {"explain": "bertx.explanation", "judge": "bertx.evaluation"}


def __getattr__(name: str) -> Any:
    """Load `bertx.explain` and `bertx.judge`, and with them torch, on first use."""
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
