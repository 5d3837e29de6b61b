"""Words ranked by their mean scores, and how far a lexicon agrees with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bertx.attribution.choices import ALL, GOLD, PREDICTED
from bertx.errors import InputError
from bertx.statistics.correlations import Interval, auc, normal_interval
from bertx.statistics.spread import Z95
from bertx.statistics.words import WordSums, in_common, sign_agreement
from bertx.studies.lexicon import Lexicon
from bertx.studies.scores import Floats, UnitScores
from bertx.studies.settings import LAST, Settings
from bertx.studies.subjects import Subject
from bertx.studies.word_scores import draws_of, model_draws, word_tables

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


@dataclass(frozen=True)
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
    found: Sequence[UnitScores],
    settings: Settings,
    options: WordRankOptions,
) -> Iterator[Ranked]:
    """The words of a method, for each class that was explained.

    Args:
        method: The method.
        subjects: One model, or several that differ in their seed.
        found: Their unit scores.
        settings: How they are summed up.
        options: What else decides.
    """
    tables = [
        word_tables(one, own, settings, method) for one, own in zip(subjects, found, strict=True)
    ]
    labels = _explained_classes(subjects[0], settings)
    if len(labels) > 1 and all(_blind(own.scores[method]) for own in found):
        labels = [EVERY]
    texts = draws_of(subjects, settings)
    for number, label in enumerate(labels):
        words = [own[number] for own in tables]
        yield _ranked(method, label, words, texts, subjects, settings, options)


def _explained_classes(subject: Subject, settings: Settings) -> list[str]:
    if settings.target == ALL:
        return list(subject.classes)
    known = {LAST: subject.classes[-1], PREDICTED: "predicted class", GOLD: "gold class"}
    return [known[settings.target]]


def _blind(scores: Floats) -> bool:
    """Whether scores (K, U) are the same for all classes."""
    return bool((scores == scores[:1]).all())


def _ranked(
    method: str,
    label: str,
    tables: Sequence[WordSums],
    texts: Sequence[Floats],
    subjects: Sequence[Subject],
    settings: Settings,
    options: WordRankOptions,
) -> Ranked:
    """The mean over runs, with draws over texts and, where there are several, over runs."""
    left_out = set(options.stop_words)
    # A text that a model could not explain is missing in its table alone.
    words = [word for word in in_common(tables) if word not in left_out]
    kept = [own.of(words) for own in tables]
    means = np.mean([own.means() for own in kept], 0)
    shares = model_draws(len(subjects), settings) / len(subjects)
    draws = np.zeros((settings.resamples, len(words)))
    for number, (own, drawn) in enumerate(zip(kept, texts, strict=True)):
        draws += shares[:, [number]] * own.drawn_means(drawn)
    signed = settings.signed(method)
    return Ranked(
        method=method,
        label=label,
        signed=signed,
        words=tuple(words),
        means=means,
        reach=Z95 * np.nanstd(draws, axis=0, ddof=1),
        occurrences=kept[0].occurrences,
        texts=kept[0].texts,
        agreement=_agreement(words, means, draws, signed, label, subjects[0].classes, options),
    )


def _agreement(
    words: Sequence[str],
    means: Floats,
    draws: Floats,
    signed: bool,
    label: str,
    classes: Sequence[str],
    options: WordRankOptions,
) -> Agreement | None:
    if options.lexicon is None:
        return None
    valences = np.asarray([options.lexicon.valences.get(word, 0.0) for word in words])
    drawn = auc(np.abs(draws), valences != 0)
    negative, positive = poles(classes, options)
    side = {positive: 1, negative: -1}.get(label, 0)
    sign = None
    if signed and side:
        sign = normal_interval(
            float(sign_agreement(side * means, valences)),
            sign_agreement(side * draws, valences),
            0.0,
            1.0,
        )
    return Agreement(
        normal_interval(float(auc(np.abs(means), valences != 0)), drawn, 0.0, 1.0),
        drawn,
        sign,
        int((valences != 0).sum()),
    )
