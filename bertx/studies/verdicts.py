"""What follows from intervals for a claim, and how many texts would tell where they do not."""

from collections.abc import Mapping
from math import ceil, isfinite

from bertx.statistics.correlations import Interval
from bertx.studies import paper
from bertx.studies.findings import Answer
from bertx.studies.settings import Settings

_LIKELY = (1.959963984540054 + 0.8416212335729143) / 1.959963984540054
"""A difference that is shown with a probability of 80 %, by the reach of its 95 % interval."""


def texts_needed(difference: Interval, texts: int) -> int | None:
    """How many texts are likely to show a true difference as large as the one observed.

    Args:
        difference: The difference with its interval, which narrows with the root of their number.
        texts: How many there were.

    Returns:
        The number; None if none is enough, because the difference is 0 or unknown.

    Examples:
        >>> texts_needed(Interval(0.1, -0.1, 0.3), 100)
        817
    """
    reach = (difference.high - difference.low) / 2
    if not isfinite(reach) or difference.value == 0:
        return None
    return ceil(texts * (_LIKELY * reach / abs(difference.value)) ** 2)


def all_positive(differences: Mapping[str, Interval], texts: int) -> tuple[Answer, str]:
    """Whether differences are all above 0.

    Args:
        differences: Differences with their intervals, by what they are called.
        texts: How many texts they rest on.

    Returns:
        The answer, and the differences in words; with how many texts it could be told, if not.
    """
    said = "; ".join(f"{name} {own}" for name, own in differences.items())
    if all(own.low > 0 for own in differences.values()):
        return "agree", said
    if any(own.high < 0 for own in differences.values()):
        return "disagree", said
    return "cannot tell", f"{said}. {_how_many(differences, texts)}"


def _how_many(differences: Mapping[str, Interval], texts: int) -> str:
    open_ones = {name: own for name, own in differences.items() if own.low <= 0 <= own.high}
    needed = {name: texts_needed(own, texts) for name, own in open_ones.items()}
    parts = [
        f"{name}: about {count:,} texts would tell"
        if count is not None
        else f"{name}: no number of texts would tell"
        for name, count in needed.items()
    ]
    return "; ".join(parts)


def papers_methods(settings: Settings) -> tuple[list[str], str]:
    """The paper's methods that are computed as there: without a sign.

    Methods with a sign and methods without one are never compared.

    Args:
        settings: The methods of a study.

    Returns:
        Their names, and what has to be said of the others.
    """
    missing = [name for name in paper.METHODS if name not in settings.methods]
    signed = [name for name in paper.METHODS if name in settings.methods and settings.signed(name)]
    notes = []
    if missing:
        notes.append(f"Not computed: {', '.join(missing)}.")
    if signed:
        notes.append(
            f"Not compared, as it has a sign here and none in the paper: {', '.join(signed)}."
        )
    left = {*missing, *signed}
    return [name for name in paper.METHODS if name not in left], " ".join(notes)
