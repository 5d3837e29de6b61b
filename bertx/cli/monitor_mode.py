"""Whether a monitored number is better when it is small or large."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

from jsonargparse import Namespace

from bertx.errors import InputError

AUTO = "auto"
Mode = Literal["min", "max"]

_MODES: dict[str, Mode] = {
    "loss": "min", "accuracy": "max", "macro_f1": "max", "cost": "min", "shortcut_share": "min",
    "drift": "min", "drift_rank": "max",
}  # fmt: skip


def best_mode(monitor: str, metrics: Mapping[str, Any] | None) -> Mode:
    """Which of its values is the best: the smallest or the largest.

    Args:
        monitor: A key of the logs, such as ``val/loss`` or ``val/deletion_auc/attnlrp``.
        metrics: What ``faithfulness.metrics`` is configured to be; None for the default ones.

    Raises:
        InputError: If neither is known to be better.
    """
    higher = _higher_is_better(metrics)
    for part in monitor.split("/")[1:] or [monitor]:  # a callback's own name may come first
        name = part.removesuffix("_searched")
        if name in _MODES:
            return _MODES[name]
        if name.endswith("_gain"):
            return "max"
        if higher.get(name) is not None:
            return "max" if higher[name] else "min"
    raise InputError(
        f"checkpoint.monitor {monitor!r}: is it better small or large? Say so with "
        "--checkpoint.mode min or max."
    )


def _higher_is_better(metrics: Mapping[str, Any] | None) -> dict[str, bool | None]:
    if metrics is None:
        from bertx.evaluation import default_metrics

        return {name: metric.higher_is_better for name, metric in default_metrics().items()}
    return {name: _class_of(metric).higher_is_better for name, metric in metrics.items()}


def _class_of(metric: Any) -> Any:
    if not isinstance(metric, Namespace):
        return type(metric)
    module, _, name = metric.class_path.rpartition(".")
    return getattr(import_module(module), name)
