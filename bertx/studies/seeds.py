"""Reliability over seeds (section 3.5): do models that differ in their seed alone explain alike?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bertx.attribution.choices import ALL
from bertx.errors import InputError
from bertx.statistics.correlations import (
    Interval,
    fisher_interval,
    normal_interval,
    over_pairs,
    pearson,
)
from bertx.statistics.words import WordSums
from bertx.studies.conducting import Study
from bertx.studies.findings import Findings
from bertx.studies.likeness import Likeness, pairs_of, text_likeness, word_likeness
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import Floats, UnitScores, all_explained
from bertx.studies.seeds_findings import (
    ALIKE,
    TEXTS,
    WORDS,
    Compared,
    Predictions,
    SeedsOptions,
    best_findings,
    means_table,
    pairs_table,
    paper_finding,
    pictures,
    prediction_finding,
    predictions_table,
)
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike, check_several
from bertx.studies.training import differences_finding, other_differences
from bertx.studies.word_scores import (
    check_words,
    draws_of,
    frequent_words,
    model_draws,
    shared_tables,
)

log = logging.getLogger("bertx")

NAME = "seeds"


def check(subjects: Sequence[Subject], settings: Settings, options: SeedsOptions) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: If there is one run alone, runs do not share classes, tokenizer and texts, all
            classes are asked for, or there are too few words.
    """
    check_several(subjects, NAME)
    check_alike(subjects, NAME, "classes", "tokenizer", "data")
    if settings.target == ALL:
        raise InputError(
            f"target all: {NAME} compares the explanations of one class of each text. Expected "
            "predicted, gold or last."
        )
    words = frequent_words(subjects[0], settings)
    check_words(words, options.top_words + 1, settings, f"in {subjects[0].source.dataset}")
    if differences := other_differences(subjects):
        log.warning(f"these runs differ not in their seed alone, but in {', '.join(differences)}")


def seeds(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: SeedsOptions
) -> Findings:
    """Compare the explanations of each two models, text by text and word by word.

    Args:
        subjects: The models, on the same texts.
        settings: How texts are explained and scores summed up.
        store: Where unit scores are kept.
        options: How many units and words are looked at by top-k overlap.
    """
    found = all_explained(subjects, settings, store)
    tables = {
        method: shared_tables(subjects, found, settings, method) for method in settings.methods
    }
    draws, models = draws_of(subjects, settings), model_draws(len(subjects), settings)
    compared = [
        own
        for method, words in tables.items()
        for own in _of_method(method, words, found, (draws, models), options)
    ]
    predictions = _predictions(found, draws[0], models)
    return Findings(
        values=_values(subjects, found, tables, compared),
        findings=[
            *differences_finding(other_differences(subjects)),
            *best_findings(compared, settings),
            prediction_finding(predictions, len(found[0].texts)),
            paper_finding(compared, settings, len(subjects)),
        ],
        numbers={**accuracies(subjects, found), **_numbers(compared, predictions)},
        tables=[
            runs_table(subjects, found),
            means_table(compared, options),
            predictions_table(subjects, found, predictions),
            pairs_table(subjects, compared),
        ],
        pictures=pictures(subjects, compared, predictions, options),
    )


def _numbers(compared: Sequence[Compared], predictions: Predictions) -> dict[str, float]:
    means = {
        f"{own.of}/{own.likeness.measure}/{own.likeness.method}": own.mean.value for own in compared
    }
    return {"prediction_agreement": predictions.mean.value, **means}


def _of_method(
    method: str,
    tables: Sequence[WordSums],
    found: Sequence[UnitScores],
    drawn: tuple[Sequence[Floats], Floats],
    options: SeedsOptions,
) -> Iterator[Compared]:
    draws, models = drawn
    texts = _common(found)
    alike = _same_prediction(found, texts)
    parts = {
        WORDS: word_likeness(method, tables, draws, options.top_words),
        TEXTS: text_likeness(method, found, texts, draws[0], options.top),
        ALIKE: text_likeness(method, found, texts, draws[0], options.top, alike),
    }
    for of, likenesses in parts.items():
        yield from (_compared(of, own, models) for own in likenesses)


def _compared(of: str, likeness: Likeness, models: Floats) -> Compared:
    """Means over pairs, with intervals: Fisher's where the correlation of many words is one."""
    # Draws of Kendall's tau are fewer than those of models.
    draws = over_pairs(likeness.draws, pairs_of(models.shape[1]), models)
    interval = _interval(of, likeness.measure)
    return Compared(
        of,
        likeness,
        tuple(interval(float(v), d) for v, d in zip(likeness.values, likeness.draws, strict=True)),
        interval(_mean(likeness.values), draws),
        draws,
    )


def _mean(values: Floats) -> float:
    """Of what is known; NaN if nothing is, as where no two models predict alike."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _interval(of: str, measure: str) -> Any:
    if measure == "top-k":
        return lambda value, draws: normal_interval(value, draws, 0.0, 1.0)
    return fisher_interval if of == WORDS else normal_interval


def _common(found: Sequence[UnitScores]) -> list[int]:
    """The texts that all models could be explained on."""
    shared = set(found[0].texts.tolist()).intersection(*(one.texts.tolist() for one in found[1:]))
    return sorted(shared)


def _same_prediction(found: Sequence[UnitScores], texts: Sequence[int]) -> Floats:
    """Whether both models of each pair predict the same class of each text (P, N)."""
    said = [one.predicted[np.searchsorted(one.texts, texts)] for one in found]
    return np.stack([(said[i] == said[j]).astype(np.float64) for i, j in pairs_of(len(found))])


def _predictions(found: Sequence[UnitScores], draws: Floats, models: Floats) -> Predictions:
    texts = _common(found)
    alike = _same_prediction(found, texts)
    own = draws[:, texts]
    again = (alike @ own.T) / own.sum(1)
    mean = over_pairs(again, pairs_of(len(found)), models)
    values = alike.mean(1)
    said = [one.probabilities[np.searchsorted(one.texts, texts)].ravel() for one in found]
    return Predictions(
        tuple(normal_interval(float(v), d, 0.0, 1.0) for v, d in zip(values, again, strict=True)),
        normal_interval(float(values.mean()), mean, 0.0, 1.0),
        tuple(float(pearson(said[i], said[j])) for i, j in pairs_of(len(found))),
    )


def _values(
    subjects: Sequence[Subject],
    found: Sequence[UnitScores],
    tables: Mapping[str, Sequence[WordSums]],
    compared: Sequence[Compared],
) -> pa.Table:
    """Scores of words, what each pair comes to in each text, and the intervals."""
    names, texts = [subject.name for subject in subjects], _common(found)
    parts = [
        _rows("word", table.words, table.means(), run=subject.name, method=method)
        for method, words in tables.items()
        for subject, table in zip(subjects, words, strict=True)
    ]
    for own in compared:
        said = {"method": own.likeness.method, "measure": own.likeness.measure, "of": own.of}
        for number, (i, j) in enumerate(pairs_of(len(subjects))):
            pair = {"run": names[i], "other": names[j], **said}
            parts.append(_interval_row("pair", own.pairs[number], **pair))
            if own.of == TEXTS and own.likeness.texts is not None:
                parts.append(
                    _rows("text", list(map(str, texts)), own.likeness.texts[number], **pair)
                )
        parts.append(_interval_row("mean", own.mean, **said))
    return pa.concat_tables(parts)


_LABELS = ("run", "other", "method", "measure", "of")


def _rows(level: str, items: Sequence[str], values: Floats, **labels: str) -> pa.Table:
    count = len(items)
    nothing = pa.nulls(count, pa.float64())
    return pa.table(
        {
            "level": pa.array([level] * count),
            **{name: pa.array([labels.get(name, "")] * count) for name in _LABELS},
            "item": pa.array(items, pa.string()),
            "value": pa.array(values, pa.float64(), from_pandas=True),
            "low": nothing,
            "high": nothing,
        }
    )


def _interval_row(level: str, interval: Interval, **labels: str) -> pa.Table:
    row = _rows(level, [""], np.asarray([interval.value]), **labels)
    for name, bound in (("low", interval.low), ("high", interval.high)):
        column = pa.array([bound], pa.float64(), from_pandas=True)
        row = row.set_column(row.schema.get_field_index(name), name, column)
    return row


STUDY = Study(
    name=NAME,
    title="Reliability over seeds",
    presets={"default": Settings(), "authors": authors(2001)},
    options=SeedsOptions(),
    run=seeds,
    check=check,
)
