"""From unit scores to the mean scores of words, for the studies that look at words."""

from collections.abc import Sequence

import numpy as np

from bertx.errors import InputError
from bertx.statistics.words import Scale, WordSums, in_common, scaled, text_draws, word_sums
from bertx.studies.scores import Floats, UnitScores
from bertx.studies.settings import Settings
from bertx.studies.subjects import Subject


def normalized(scores: UnitScores, settings: Settings, method: str) -> Floats:
    """Scores of a method that compare between texts (K, U); without a sign unless they keep it."""
    values = scores.scores[method]
    scale: Scale = settings.scale
    return scaled(values if settings.signed(method) else np.abs(values), scores.starts, scale)


def word_tables(
    subject: Subject, scores: UnitScores, settings: Settings, method: str
) -> list[WordSums]:
    """The frequent words of a subject's texts with their scores, for each of K classes."""
    count = len(subject.texts)
    return [
        word_sums(scores.units, scores.numbers, values, count).frequent(settings.minimum_count)
        for values in normalized(scores, settings, method)
    ]


def shared_tables(
    subjects: Sequence[Subject], scores: Sequence[UnitScores], settings: Settings
) -> dict[str, list[WordSums]]:
    """By each method the same words of all subjects, frequent in each, of one explained class."""
    shared = {}
    for method in settings.methods:
        tables = [
            word_tables(subject, each, settings, method)[0]
            for subject, each in zip(subjects, scores, strict=True)
        ]
        words = in_common(tables)
        shared[method] = [table.of(words) for table in tables]
    return shared


def frequent_words(subject: Subject, settings: Settings) -> set[str]:
    """The words whose mean score is looked at; known before anything is explained."""
    names, counts = np.unique(
        np.asarray([name for units in subject.units for name in units], dtype=str),
        return_counts=True,
    )
    return set(names[counts >= settings.minimum_count].tolist()) - {""}


def check_words(words: set[str], least: int, settings: Settings, what: str) -> None:
    """Refuse too few words.

    Args:
        words: The words.
        least: How many there have to be.
        settings: What decides which they are.
        what: Whose they are, for the message.

    Raises:
        InputError: If there are fewer.
    """
    if len(words) < least:
        raise InputError(
            f"expected at least {least} words that occur {settings.minimum_count} times or more "
            f"{what}, but there are {len(words)}. Use more texts, or a lower minimum_count."
        )


def draws_of(subjects: Sequence[Subject], settings: Settings) -> list[Floats]:
    """Which texts are drawn again, for each subject; the same for those of the same texts."""
    draws: dict[str, Floats] = {}
    for subject in subjects:
        if subject.data not in draws:
            seed = (settings.seed, int(subject.data, 16))
            draws[subject.data] = text_draws(len(subject.texts), settings.resamples, seed)
    return [draws[subject.data] for subject in subjects]


def model_draws(count: int, settings: Settings) -> Floats:
    """How often each of S models is drawn in each draw (R, S)."""
    return text_draws(count, settings.resamples, (settings.seed, 1))
