"""Reliability over seeds (section 3.5): do models that differ in their seed alone explain alike?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from bertx.statistics.correlations import normal_interval, over_pairs, pearson
from bertx.statistics.words import WordSums
from bertx.studies.conducting import Study
from bertx.studies.findings import Finding, Findings, long_rows
from bertx.studies.likeness import (
    TEXTS,
    Likeness,
    all_measures,
    pairs_of,
    text_likeness,
    word_likeness,
)
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import Floats, UnitScores, all_explained
from bertx.studies.seeds_findings import (
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
from bertx.studies.subjects import Subject, check_alike, check_one_class, check_several
from bertx.studies.word_scores import (
    check_words,
    draws_of,
    frequent_words,
    model_draws,
    shared_tables,
)

log = logging.getLogger("bertx")

NAME = "seeds"

_COLUMNS = ("level", "run", "other", "method", "measure", "of", "item", "value", "low", "high")

_SEEDS = ("seed_everything", "data.seed")
_LOGGING = "trainer.logger"
_PLACES = ("default_root_dir", "dirpath", "save_dir", "ckpt_path")
"""The last part of the names of settings that say where something is written or gone on with."""

_NO_SETTING = "not set"


def check(subjects: Sequence[Subject], settings: Settings, options: SeedsOptions) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: If there is one run alone, runs do not share classes, tokenizer and texts, all
            classes are asked for, or there are too few words.
    """
    check_several(subjects, NAME)
    check_alike(subjects, NAME, "classes", "tokenizer", "data")
    check_one_class(settings, NAME)
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
    texts = _common(found)
    same = _same_prediction(found, texts)
    compared: list[Likeness] = []
    for method, words in tables.items():
        measures = all_measures(options.top_words)
        compared += word_likeness(method, words, draws, measures, models)
        compared += text_likeness(method, found, texts, (draws[0], models), options.top, same)
    predictions = _predictions(found, texts, same, draws[0], models)
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


def _numbers(compared: Sequence[Likeness], predictions: Predictions) -> dict[str, float]:
    means = {f"{own.of}/{own.measure}/{own.method}": own.mean.value for own in compared}
    return {"prediction_agreement": predictions.mean.value, **means}


def _common(found: Sequence[UnitScores]) -> list[int]:
    """The texts that all models could be explained on."""
    shared = set(found[0].texts.tolist()).intersection(*(one.texts.tolist() for one in found[1:]))
    return sorted(shared)


def _same_prediction(found: Sequence[UnitScores], texts: Sequence[int]) -> Floats:
    """Whether both models of each pair predict the same class of each text (P, N)."""
    said = [one.predicted[np.searchsorted(one.texts, texts)] for one in found]
    return np.stack([(said[i] == said[j]).astype(np.float64) for i, j in pairs_of(len(found))])


def _predictions(
    found: Sequence[UnitScores],
    texts: Sequence[int],
    alike: Floats,
    draws: Floats,
    models: Floats,
) -> Predictions:
    own = draws[:, list(texts)]
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
    compared: Sequence[Likeness],
) -> pa.Table:
    """Scores of words, what each pair comes to in each text, and the intervals."""
    names, texts = [subject.name for subject in subjects], list(map(str, _common(found)))
    rows = partial(long_rows, _COLUMNS)
    parts = [
        rows(
            len(table.words), level="word", run=subject.name, method=method, item=table.words,
            value=table.means(),
        )
        for method, words in tables.items()
        for subject, table in zip(subjects, words, strict=True)
    ]  # fmt: skip
    for own in compared:
        of = partial(rows, method=own.method, measure=own.measure, of=own.of)
        for number, (i, j) in enumerate(pairs_of(len(subjects))):
            pair = partial(of, run=names[i], other=names[j])
            parts.append(pair(1, level="pair", **own.pairs[number]._asdict()))
            if own.of == TEXTS and own.texts is not None:
                parts.append(pair(len(texts), level="text", item=texts, value=own.texts[number]))
        parts.append(of(1, level="mean", **own.mean._asdict()))
    return pa.concat_tables(parts)


def other_differences(subjects: Sequence[Subject]) -> list[str]:
    """The settings other than seeds and places in which runs differ, with their values.

    Args:
        subjects: The runs; those that do not say how they were trained are left out.
    """
    known = {one.name: dict(_flat(one.source.training)) for one in subjects if one.source.training}
    names = dict.fromkeys(chain.from_iterable(known.values()))
    found = {
        name: {run: own.get(name, _NO_SETTING) for run, own in known.items()} for name in names
    }
    return [
        f"{name} ({', '.join(f'{run}: {value}' for run, value in values.items())})"
        for name, values in found.items()
        if any(value != next(iter(values.values())) for value in values.values())
    ]


def differences_finding(differences: Sequence[str]) -> Iterator[Finding]:
    """That runs differ in more than their seed, if they do."""
    if differences:
        yield Finding(
            f"These runs differ not in their seed alone, but also in {', '.join(differences)}: how "
            "far they agree does not tell of seeds alone.",
            "Settings in their config.yaml, without seeds, loggers, and folders.",
        )


def _flat(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names with dots; without those that may differ."""
    if name in (*_SEEDS, _LOGGING) or name.rpartition(".")[2] in _PLACES:
        return
    parts = dict(enumerate(settings)) if isinstance(settings, list) else settings
    if not isinstance(parts, Mapping) or not parts:
        yield name, settings
        return
    for key, value in parts.items():
        yield from _flat(value, f"{name}.{key}".strip("."))


STUDY = Study(
    name=NAME,
    title="Reliability over seeds",
    presets={"default": Settings(), "authors": authors(2001)},
    options=SeedsOptions(),
    run=seeds,
    check=check,
)
