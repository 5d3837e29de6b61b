"""Words ranked by their mean scores, and how far a lexicon agrees with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bertx.attribution.choices import ALL, GOLD, PREDICTED
from bertx.errors import InputError
from bertx.statistics.correlations import Interval, auc, normal_interval
from bertx.statistics.spread import Z95
from bertx.statistics.words import WordSums, common_words, sign_agreement
from bertx.studies.lexicon import Lexicon
from bertx.studies.scores import Floats, UnitScores, draws_of, model_draws, word_tables
from bertx.studies.settings import LAST, Settings
from bertx.studies.subjects import Subject

EVERY = "every class"
"""Stands for the class of a method that does not look at it."""


@dataclass(frozen=True)
class WordRankOptions:
    """What this study alone is told.

    Attributes:
        lexicon: Words with their valence.
        negative: The class that words of negative valence speak for; None for the first.
        positive: The same for positive valence; None for the last.
        top: How many words a table has at either end.
        stop_words: Words that are left out.
    """

    lexicon: Lexicon | None = None
    negative: str | None = None
    positive: str | None = None
    top: int = 30
    stop_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How far the words of a method agree with a lexicon.

    Attributes:
        auc: Probability that a word of the lexicon has a larger absolute score than another word.
        auc_draws: The same in draws of the bootstrap (R,).
        sign: Share of words whose sign is that of their valence, the mean of that of positive and
            that of negative ones; None where signs have no meaning.
        words: How many of the words are in the lexicon.
    """

    auc: Interval
    auc_draws: Floats
    sign: Interval | None
    words: int


@dataclass(frozen=True, eq=False)
class Ranked:
    """The mean scores of W words by one method for one class.

    Attributes:
        method: The method.
        label: The class.
        signed: Whether positive scores speak for it and negative ones against it.
        words: The words (W,).
        means: Their mean scores, of runs too (W,).
        reach: Half of the width of their 95 % intervals (W,).
        occurrences: How often they occur (W,).
        texts: In how many texts (W,).
        agreement: How far a lexicon agrees, if there is one.
    """

    method: str
    label: str
    signed: bool
    words: tuple[str, ...]
    means: Floats
    reach: Floats
    occurrences: Floats
    texts: Floats
    agreement: Agreement | None

    @property
    def order(self) -> list[int]:
        """Places of the words, the highest mean first; of equal ones the more frequent first."""
        return np.lexsort((np.asarray(self.words), -self.occurrences, -self.means)).tolist()


def poles(classes: Sequence[str], options: WordRankOptions) -> tuple[str, str]:
    """The classes that words of negative and of positive valence speak for.

    Raises:
        InputError: If there is no such class, or both are the same.
    """
    given = {"negative": options.negative, "positive": options.positive}
    for name, label in given.items():
        if label is not None and label not in classes:
            raise InputError(f"{name} {label!r}: expected a class: {', '.join(classes)}")
    negative, positive = given["negative"] or classes[0], given["positive"] or classes[-1]
    if negative == positive:
        raise InputError(f"negative and positive are both {positive!r}: expected two classes")
    return negative, positive


def ranked_words(
    method: str,
    subjects: Sequence[Subject],
    scores: Sequence[UnitScores],
    settings: Settings,
    options: WordRankOptions,
) -> Iterator[Ranked]:
    """The words of a method, for each class that was explained.

    Args:
        method: The method.
        subjects: One model, or several that differ in their seed.
        scores: Their unit scores.
        settings: How they are summed up.
        options: What else decides.
    """
    tables = [
        word_tables(subject, each, settings, method)
        for subject, each in zip(subjects, scores, strict=True)
    ]
    classes = subjects[0].classes
    of_target = {LAST: classes[-1], PREDICTED: "predicted class", GOLD: "gold class"}
    labels = classes if settings.target == ALL else (of_target[settings.target],)
    if len(labels) > 1 and all(_blind(each.scores[method]) for each in scores):
        labels = (EVERY,)
    texts = draws_of(subjects, settings).texts
    models = model_draws(len(subjects), settings)
    for number, label in enumerate(labels):
        of_class = [each[number] for each in tables]
        yield _ranked(
            method, label, of_class, texts, models, settings.signed(method), classes, options
        )


def _blind(scores: Floats) -> bool:
    """Whether scores (K, U) are the same for all classes."""
    return bool((scores == scores[:1]).all())


def _ranked(
    method: str,
    label: str,
    tables: Sequence[WordSums],
    texts: Sequence[Floats],
    models: Floats,
    signed: bool,
    classes: Sequence[str],
    options: WordRankOptions,
) -> Ranked:
    """The mean over runs, with draws over texts and, where there are several, over runs."""
    # A text that a model could not explain is missing in its table alone.
    words = tuple(word for word in common_words(tables) if word not in options.stop_words)
    kept = [table.select(words) for table in tables]
    shares = (models / len(tables)).T[..., None]
    drawn = np.zeros((len(models), len(words)))
    for share, table, of_run in zip(shares, kept, texts, strict=True):
        drawn += share * table.drawn_means(of_run)
    means = np.mean([table.means() for table in kept], 0)
    return Ranked(
        method=method,
        label=label,
        signed=signed,
        words=words,
        means=means,
        reach=Z95 * np.nanstd(drawn, axis=0, ddof=1),
        occurrences=kept[0].occurrences,
        texts=kept[0].texts,
        agreement=_agreement(words, np.vstack([means, drawn]), signed, label, classes, options),
    )


def _agreement(
    words: Sequence[str],
    means: Floats,
    signed: bool,
    label: str,
    classes: Sequence[str],
    options: WordRankOptions,
) -> Agreement | None:
    """How far a lexicon agrees with means, and with those of draws below them (1 + R, W)."""
    if options.lexicon is None:
        return None
    valences = np.asarray([options.lexicon.valences.get(word, 0.0) for word in words])
    negative, positive = poles(classes, options)
    side = {positive: 1, negative: -1}.get(label, 0) * signed
    value, *drawn = auc(np.abs(means), valences != 0)
    share, *shares = sign_agreement(side * means, valences)
    return Agreement(
        normal_interval(float(value), drawn, 0.0, 1.0),
        np.asarray(drawn),
        normal_interval(float(share), shares, 0.0, 1.0) if side else None,
        int((valences != 0).sum()),
    )
