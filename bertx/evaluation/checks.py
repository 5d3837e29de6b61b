"""What cannot be judged is refused before anything is explained."""

import logging
from collections.abc import Iterable, Mapping

from bertx.errors import InputError
from bertx.evaluation.estimates import searched_name
from bertx.evaluation.table import CEILING, EMPTY
from bertx.metrics import CurveMetric, FaithfulnessMetric
from bertx.rendering import gain_name

log = logging.getLogger("bertx")

TAKEN = frozenset(
    (CEILING, EMPTY, "cost", "count", "epoch", "method", "operator", "signed", "step")
)
"""Names that mean something else in logs and tables, so that no metric can have them."""


def check_asked(
    methods: Iterable[str],
    metrics: Mapping[str, FaithfulnessMetric],
    ceiling_examples: int | None,
) -> None:
    """Refuse what cannot be asked, and warn of curves that are not drawn.

    Args:
        methods: Names of the methods.
        metrics: The metrics by name.
        ceiling_examples: How many texts are searched for the best order, None for all.

    Raises:
        InputError: If a metric is none, two metrics or a method have a name that is taken, or the
            number is negative.
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
    """Raise `InputError` if a method has a name that is taken."""
    if CEILING in methods:
        raise InputError(
            f"method {CEILING!r}: that is the name of what a search for the best order reaches; "
            "give the method another one"
        )


def _check_metric(name: str, metric: FaithfulnessMetric) -> None:
    if not isinstance(metric, FaithfulnessMetric):
        raise InputError(
            f"metric {name!r}: expected an instance of bertx.metrics.FaithfulnessMetric, "
            f"got {metric!r}"
        )
    if name in TAKEN:
        raise InputError(
            f"metric {name!r}: expected a name other than {', '.join(sorted(TAKEN))}, which "
            "mean something else in logs and tables"
        )


def _check_names(metrics: Mapping[str, FaithfulnessMetric]) -> None:
    """Refuse keys that two numbers would share, and tell which curves a figure leaves out."""
    for name in metrics:
        if searched_name(name) in metrics:
            raise InputError(
                f"metric {searched_name(name)!r}: that is also what {name!r} is called over the "
                "texts that were searched for the ceiling; give one of them another name"
            )
    gains = {gain_name(name): name for name in reversed(list(metrics))}
    drawn: dict[str, str] = {}
    for name, metric in metrics.items():
        key = name if name in gains else gain_name(name)
        if gains[key] != name:
            raise InputError(
                f"metric {name!r}: {key!r} is also what the gain of {gains[key]!r} over the random "
                "control is called; give one of them another name"
            )
        if isinstance(metric, CurveMetric) and drawn.setdefault(metric.kind, name) != name:
            log.warning(
                f"metric {name!r}: its curves are not drawn, because the figure of {metric.kind} "
                f"shows those of {drawn[metric.kind]!r}"
            )
