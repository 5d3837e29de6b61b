"""Words ranked by their mean scores, and how far a lexicon agrees with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bertx.attribution.choices import ALL, GOLD, PREDICTED
from bertx.errors import InputError
from bertx.statistics.correlations import Interval, auc, normal_interval
from bertx.statistics.spread import Z95, Array
from bertx.statistics.words import WordSums, common_words, sign_agreement
from bertx.studies.lexicon import Lexicon
from bertx.studies.scores import Draws, UnitScores, draws_with_models, word_tables
from bertx.studies.settings import LAST, Settings
from bertx.studies.subjects import Subject

EVERY = "every class"
"""The label of a method whose scores are the same for all classes."""


@dataclass(frozen=True)
class WordRankOptions:
    """The options specific to this study.

    Attributes:
        lexicon: Words with their valence.
        negative: The class that words of negative valence support; None for the first.
        positive: The class that words of positive valence support; None for the last.
        top: The number of highest and lowest words in each table.
        stop_words: Words to leave out.
    """

    lexicon: Lexicon | None = None
    negative: str | None = None
    positive: str | None = None
    top: int = 30
    stop_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class LexiconAgreement:
    """How far the mean scores of words agree with a lexicon.

    Attributes:
        auc: The probability that a word of the lexicon has a larger absolute score than another
            word.
        auc_draws: The AUC in draws of the bootstrap (R,).
        sign: The share of words whose score has the sign of their valence, the mean of the shares
            of positive and of negative words; None where signs have no meaning.
        words: The number of words that are in the lexicon.
    """

    auc: Interval
    auc_draws: Array
    sign: Interval | None
    words: int


@dataclass(frozen=True, eq=False)
class RankedWords:
    """The mean scores of W words by one method for one class.

    Attributes:
        method: The method.
        label: The class.
        signed: Whether positive scores support the class and negative scores oppose it.
        words: The words (W,).
        means: Their mean scores, over runs as well (W,).
        reach: Half the width of the 95 % intervals of the means (W,).
        occurrences: The number of their occurrences (W,).
        texts: The number of texts they occur in (W,).
        agreement: How far a lexicon agrees with the means, if there is one.
    """

    method: str
    label: str
    signed: bool
    words: tuple[str, ...]
    means: Array
    reach: Array
    occurrences: Array
    texts: Array
    agreement: LexiconAgreement | None

    @property
    def order(self) -> list[int]:
        """The indices of the words by falling mean; of equal means the more frequent word first."""
        return np.lexsort((np.asarray(self.words), -self.occurrences, -self.means)).tolist()


def poles(classes: Sequence[str], options: WordRankOptions) -> tuple[str, str]:
    """Return the classes that words of negative and of positive valence support.

    Raises:
        InputError: If one is not a class of the model, or both are the same.
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
) -> Iterator[RankedWords]:
    """Yield the words ranked by a method, for each explained class.

    Args:
        method: The method.
        subjects: One model, or several that differ in their seed; scores are averaged over them.
        scores: The unit scores of each model.
        settings: The settings of the study.
        options: The options of the study.
    """
    by_run = [
        word_tables(subject, each, settings, method)
        for subject, each in zip(subjects, scores, strict=True)
    ]
    classes, draws = subjects[0].classes, draws_with_models(subjects, settings)
    for number, label in enumerate(_labels(method, classes, scores, settings)):
        tables = [of_classes[number] for of_classes in by_run]
        # A text that one model cannot explain is missing from that model's table alone.
        words = tuple(word for word in common_words(tables) if word not in options.stop_words)
        tables = [table.select(words) for table in tables]
        means, drawn = _mean_over_runs(tables, draws)
        signed = settings.signed(method)
        negative, positive = poles(classes, options)
        side = {positive: 1, negative: -1}.get(label, 0) if signed else 0
        yield RankedWords(
            method=method,
            label=label,
            signed=signed,
            words=words,
            means=means,
            reach=Z95 * np.nanstd(drawn, axis=0, ddof=1),
            occurrences=tables[0].occurrences,
            texts=tables[0].texts,
            agreement=_agreement(words, np.vstack([means, drawn]), side, options.lexicon),
        )


def _labels(
    method: str, classes: Sequence[str], scores: Sequence[UnitScores], settings: Settings
) -> Sequence[str]:
    """Return the names of the explained classes of a method."""
    if settings.target == ALL:
        every = [each.scores[method] for each in scores]  # (C, U) for each run
        independent = all((of_run == of_run[:1]).all() for of_run in every)
        return (EVERY,) if independent else classes
    of_target = {LAST: classes[-1], PREDICTED: "predicted class", GOLD: "gold class"}
    return (of_target[settings.target],)


def _mean_over_runs(tables: Sequence[WordSums], draws: Draws) -> tuple[Array, Array]:
    """Return the mean scores of words over S runs (W,), and the same in each draw (R, W)."""
    assert draws.models is not None
    drawn = np.zeros((len(draws.models), len(tables[0].words)))
    for counts, table, texts in zip(draws.models.T, tables, draws.texts, strict=True):
        drawn += (counts / len(tables))[:, None] * table.drawn_means(texts)
    return np.mean([table.means() for table in tables], 0), drawn


def _agreement(
    words: Sequence[str], means: Array, side: int, lexicon: Lexicon | None
) -> LexiconAgreement | None:
    """Return how far a lexicon agrees with mean scores.

    Args:
        words: The words (W,).
        means: Their mean scores, and below them those in each draw (1 + R, W).
        side: 1 if positive scores support the positive class, -1 if for the negative class, 0
            for any other class or scores without a sign.
        lexicon: The lexicon, if there is one.
    """
    if lexicon is None:
        return None
    valences = np.asarray([lexicon.valences.get(word, 0.0) for word in words])
    value, *drawn = auc(np.abs(means), valences != 0)
    share, *shares = sign_agreement(side * means, valences)
    return LexiconAgreement(
        normal_interval(float(value), drawn, 0.0, 1.0),
        np.asarray(drawn),
        normal_interval(float(share), shares, 0.0, 1.0) if side else None,
        int((valences != 0).sum()),
    )
