"""Reliability over seeds (section 3.5): do models that differ in their seed alone explain alike?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bertx.choices import ALL
from bertx.errors import InputError
from bertx.report.dots import Dot, DotPanel, dots_figure
from bertx.statistics.correlations import (
    Interval,
    fisher_interval,
    normal_interval,
    over_pairs,
    pearson,
)
from bertx.studies import paper
from bertx.studies.conducting import Study
from bertx.studies.findings import Cell, Finding, Findings, Picture, Table
from bertx.studies.likeness import MEASURES, Likeness, pairs_of, text_likeness, word_likeness
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import Floats, UnitScores, explained
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike, check_several
from bertx.studies.verdicts import all_positive
from bertx.studies.word_scores import (
    check_words,
    draws_of,
    frequent_words,
    model_draws,
    shared_tables,
)

NAME = "seeds"
WORDS, TEXTS, ALIKE = "words", "texts", "texts, same prediction"
"""What is compared: mean scores of words, units of each text, those of texts on which both models
predict the same class."""

_NEAR = 0.03  # correlations that differ by less are called equal


@dataclass(frozen=True)
class SeedsOptions:
    """What this study alone is told.

    Attributes:
        top: How many of the highest units of a text are compared by top-k overlap.
        top_words: How many of the highest words.
    """

    top: int = 3
    top_words: int = 30


@dataclass(frozen=True)
class Compared:
    """What all pairs of models come to by one method and measure.

    Attributes:
        of: What is compared.
        likeness: What the measure says of each pair.
        pairs: The same with their intervals, over texts.
        mean: The mean over pairs with its interval, over texts and models.
        draws: The mean in draws of the bootstrap (R,).
    """

    of: str
    likeness: Likeness
    pairs: tuple[Interval, ...]
    mean: Interval
    draws: Floats


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
    found = [
        explained(one, settings, settings.target, store.scores, f"{number} of {len(subjects)}")
        for number, one in enumerate(subjects, 1)
    ]
    compared = [
        own
        for method in settings.methods
        for own in _of_method(method, subjects, found, settings, options)
    ]
    predictions = _predictions(subjects, found, settings)
    return Findings(
        values=_values(subjects, found, compared, settings),
        findings=[
            *_best_findings(compared, settings),
            _prediction_finding(predictions, len(found[0].texts)),
            _paper_finding(compared, len(subjects[0].texts)),
        ],
        numbers={
            **accuracies(subjects, found),
            "prediction_agreement": predictions.mean.value,
            **{
                f"{own.of}/{own.likeness.measure}/{own.likeness.method}": own.mean.value
                for own in compared
            },
        },
        tables=[
            runs_table(subjects, found),
            _means_table(compared, options),
            _predictions_table(subjects, found, predictions),
            _pairs_table(subjects, compared),
        ],
        pictures=_pictures(subjects, compared, predictions, options),
    )


def _of_method(
    method: str,
    subjects: Sequence[Subject],
    found: Sequence[UnitScores],
    settings: Settings,
    options: SeedsOptions,
) -> Iterator[Compared]:
    draws, models = draws_of(subjects, settings), model_draws(len(subjects), settings)
    tables = shared_tables(subjects, found, settings, method)
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


@dataclass(frozen=True)
class Predictions:
    """How far models agree in what they predict.

    Attributes:
        pairs: Share of texts on which the two of each pair predict the same class.
        mean: The mean over pairs, its interval over texts and models.
        probabilities: Pearson's r of the probabilities of all classes and texts, of each pair.
    """

    pairs: tuple[Interval, ...]
    mean: Interval
    probabilities: tuple[float, ...]


def _predictions(
    subjects: Sequence[Subject], found: Sequence[UnitScores], settings: Settings
) -> Predictions:
    texts = _common(found)
    alike = _same_prediction(found, texts)
    draws = draws_of(subjects, settings)[0][:, texts]
    again = (alike @ draws.T) / draws.sum(1)
    mean = over_pairs(again, pairs_of(len(found)), model_draws(len(found), settings))
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
    compared: Sequence[Compared],
    settings: Settings,
) -> pa.Table:
    """Scores of words, what each pair comes to in each text, and the intervals."""
    names, texts = [subject.name for subject in subjects], _common(found)
    parts = [
        _rows("word", table.words, table.means(), run=subject.name, method=method)
        for method in settings.methods
        for subject, table in zip(
            subjects, shared_tables(subjects, found, settings, method), strict=True
        )
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


def _best_findings(compared: Sequence[Compared], settings: Settings) -> Iterator[Finding]:
    """Which method agrees most over seeds, signed and unsigned ones apart."""
    for signed, league in ((True, "signed"), (False, "unsigned")):
        names = [name for name in settings.methods if settings.signed(name) == signed]
        for of, what in ((WORDS, "mean scores of words"), (TEXTS, "scores within single texts")):
            known = {
                own.likeness.method: own.mean
                for own in compared
                if own.of == of
                and own.likeness.measure == "Spearman"
                and own.likeness.method in names
            }
            if not known:
                continue
            best = max(known, key=lambda name: np.nan_to_num(known[name].value, nan=-2.0))
            said = ", ".join(f"{name} {interval}" for name, interval in known.items())
            yield Finding(
                f"Of the {league} methods, {best} agrees most over seeds in {what} (Spearman's "
                f"rho {known[best].value:.2f}).",
                f"Means over pairs of models, 95 % intervals over texts and models: {said}.",
            )


def _prediction_finding(predictions: Predictions, texts: int) -> Finding:
    return Finding(
        f"The models predict the same class of {predictions.mean.value:.0%} of the texts: "
        "explanations of what they predict can hardly agree more.",
        f"Share of {texts:,} texts, mean over {len(predictions.pairs)} pairs: {predictions.mean}.",
    )


def _paper_finding(compared: Sequence[Compared], texts: int) -> Finding:
    """Whether the order of the methods is that of the paper."""
    text = "Mean scores of words are most alike over seeds by GS and GI, then LRP, then LAT."
    known = {
        own.likeness.method: own
        for own in compared
        if own.of == WORDS and own.likeness.measure == "Pearson"
    }
    if missing := [name for name in paper.METHODS if name not in known]:
        evidence = f"Not computed: {', '.join(missing)}."
        return Finding(text, evidence, paper.CONSISTENT, "cannot tell")
    above = [(paper.GS, paper.LRP), (paper.GI, paper.LRP), (paper.LRP, paper.LAT)]
    differences = {f"{a} - {b}": _difference(known[a], known[b]) for a, b in above}
    verdict, said = all_positive(differences, texts)
    equal = _difference(known[paper.GS], known[paper.GI])
    if verdict == "agree" and not -_NEAR < equal.value < _NEAR:
        verdict = "disagree"
    values = ", ".join(f"{name} {known[name].mean}" for name in paper.METHODS)
    evidence = f"Pearson's r: {values}. Differences: {said}; {paper.GS} - {paper.GI} {equal}."
    return Finding(text, evidence, paper.CONSISTENT, verdict)


def _difference(one: Compared, other: Compared) -> Interval:
    return normal_interval(one.mean.value - other.mean.value, one.draws - other.draws)


def _means_table(compared: Sequence[Compared], options: SeedsOptions) -> Table:
    """A row for each method and what is compared, a column for each measure."""
    rows: dict[tuple[str, str], list[Cell]] = {}
    for own in compared:
        row = rows.setdefault((own.likeness.method, own.of), [own.likeness.method, own.of])
        row.append(_rounded(own.mean))
    for (method, of), row in rows.items():
        row.append(paper.SEEDS.get(method) if of == WORDS else None)
    columns = ["method", "compared", *MEASURES, "paper's Pearson (words)"]
    note = (
        "Means over pairs of models with 95 % intervals over texts and models. top-k: share of the "
        f"{options.top_words} highest words, or of the {options.top} highest units of a text, that "
        "both have. The paper: SST-5, two models."
    )
    return Table("agreement", "Agreement over seeds", columns, list(rows.values()), note)


def _rounded(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _predictions_table(
    subjects: Sequence[Subject], found: Sequence[UnitScores], predictions: Predictions
) -> Table:
    rows: list[list[Cell]] = [
        [
            subjects[i].name,
            subjects[j].name,
            _rounded(predictions.pairs[number]),
            predictions.probabilities[number],
            found[i].accuracy - found[j].accuracy,
        ]
        for number, (i, j) in enumerate(pairs_of(len(subjects)))
    ]
    columns = ["run", "other", "same prediction", "Pearson of probabilities", "accuracy apart"]
    note = (
        "What models predict is what they are explained for: the agreement of predictions is the "
        "most that could be expected. Accuracies of the paper's two models: "
        f"{' and '.join(map(str, paper.SEED_ACCURACIES))}."
    )
    return Table("predictions", "Agreement of predictions", columns, rows, note)


def _pairs_table(subjects: Sequence[Subject], compared: Sequence[Compared]) -> Table:
    rows = [
        [
            own.likeness.method,
            own.of,
            own.likeness.measure,
            subjects[i].name,
            subjects[j].name,
            _rounded(own.pairs[number]),
        ]
        for own in compared
        for number, (i, j) in enumerate(pairs_of(len(subjects)))
    ]
    columns = ["method", "compared", "measure", "run", "other", "value"]
    return Table("pairs", "Each pair of models", columns, rows, "95 % intervals over texts.")


def _pictures(
    subjects: Sequence[Subject],
    compared: Sequence[Compared],
    predictions: Predictions,
    options: SeedsOptions,
) -> list[Picture]:
    titles = {
        "top-k": f"top {options.top_words} words, top {options.top} of a text",
        "Kendall": "Kendall's tau",
        "Spearman": "Spearman's rho",
        "Pearson": "Pearson's r",
    }
    panels = [
        DotPanel(
            titles[measure],
            [_dot(own) for own in compared if own.likeness.measure == measure and own.of != ALIKE],
            tuple(paper.SEEDS.items()) if measure == "Pearson" else (),
        )
        for measure in MEASURES
    ]
    source = subjects[0].source
    subtitle = (
        f"{source.dataset}, {len(subjects)} models, {len(subjects[0].texts):,} texts; the models "
        f"predict the same class of {predictions.mean.value:.0%} of them"
    )
    figure = dots_figure(panels, "Agreement of explanations over seeds", subtitle)
    spoken = ", ".join(
        f"{own.likeness.method} {own.mean.value:.2f}"
        for own in compared
        if own.of == WORDS and own.likeness.measure == "Pearson"
    )
    alt = (
        "How far explanations of models of different seeds agree, by four measures, of mean scores "
        f"of words and within texts. Pearson's r of words: {spoken}."
    )
    return [Picture("agreement", "Agreement of explanations over seeds", alt, figure)]


def _dot(own: Compared) -> Dot:
    series = {WORDS: "mean scores of words", TEXTS: "units of each text"}[own.of]
    single = tuple(own.likeness.values) if len(own.likeness.values) > 1 else ()
    return Dot(own.likeness.method, series, own.mean.value, own.mean.low, own.mean.high, single)


STUDY = Study(
    name=NAME,
    title="Reliability over seeds",
    presets={"default": Settings(), "authors": authors(2001)},
    options=SeedsOptions(),
    run=seeds,
    check=check,
)
