"""Checks of methods, metrics and settings, made before anything is explained."""

import logging
from collections.abc import Iterable, Mapping

from bertx.errors import InputError
from bertx.evaluation.estimates import searched_name
from bertx.evaluation.table import CEILING, EMPTY
from bertx.metrics import CurveMetric, FaithfulnessMetric
from bertx.rendering import gain_name

log = logging.getLogger("bertx")

RESERVED = frozenset(
    (CEILING, EMPTY, "cost", "count", "epoch", "method", "operator", "signed", "step")
)
"""Names that mean something else in logs and tables, and which no metric may have."""


def check_settings(
    methods: Iterable[str],
    metrics: Mapping[str, FaithfulnessMetric],
    ceiling_examples: int | None,
) -> None:
    """Check names, metrics and the number of searched texts, and warn of curves not drawn.

    Args:
        methods: Names of the methods.
        metrics: The metrics by name.
        ceiling_examples: How many texts are searched for the best order; None for all.

    Raises:
        InputError: If a value is not a `FaithfulnessMetric`, the name of a metric or method is
            reserved, two metrics would share a key, or ``ceiling_examples`` is negative.
    """
    check_method_names(methods)
    if ceiling_examples is not None and ceiling_examples < 0:
        raise InputError(
            f"ceiling_examples must be at least 0, or null for all, got {ceiling_examples}"
        )
    for name, metric in metrics.items():
        _check_metric(name, metric)
    _check_names(metrics)


def check_method_names(methods: Iterable[str]) -> None:
    """Raise `InputError` if a method has a reserved name."""
    if CEILING in methods:
        raise InputError(
            f"method {CEILING!r}: this name is reserved for the search for the best order; give "
            "the method another one"
        )


def _check_metric(name: str, metric: FaithfulnessMetric) -> None:
    if not isinstance(metric, FaithfulnessMetric):
        raise InputError(
            f"metric {name!r}: expected an instance of bertx.metrics.FaithfulnessMetric, "
            f"got {metric!r}"
        )
    if name in RESERVED:
        raise InputError(
            f"metric {name!r}: expected a name other than {', '.join(sorted(RESERVED))}, which "
            "mean something else in logs and tables"
        )


def _check_names(metrics: Mapping[str, FaithfulnessMetric]) -> None:
    """Refuse metrics that would share a key, and warn of curves that no figure shows."""
    for name in metrics:
        if searched_name(name) in metrics:
            raise InputError(
                f"metric {searched_name(name)!r}: this is also the name of {name!r} over the texts "
                "searched for the ceiling; give one of them another name"
            )
    gains = {gain_name(name): name for name in reversed(list(metrics))}
    drawn: dict[str, str] = {}
    for name, metric in metrics.items():
        key = name if name in gains else gain_name(name)
        if gains[key] != name:
            raise InputError(
                f"metric {name!r}: {key!r} is also the name of the gain of {gains[key]!r} over the "
                "random control; give one of them another name"
            )
        if isinstance(metric, CurveMetric) and drawn.setdefault(metric.kind, name) != name:
            log.warning(
                f"metric {name!r}: its curves are not drawn, because the {metric.kind} figure "
                f"shows the curves of {drawn[metric.kind]!r}"
            )
