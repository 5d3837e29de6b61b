"""Reliability over seeds (section 3.5): do models that differ in their seed alone explain alike?"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from math import inf
from typing import Any

import numpy as np
import pyarrow as pa

from bertx.rendering.intervals import Dot, DotPanel, dots_figure
from bertx.statistics.correlations import Interval, normal_interval, pearson
from bertx.statistics.words import WordSums
from bertx.studies import paper
from bertx.studies.claims import (
    all_positive,
    below,
    highest,
    joined,
    leagues,
    papers_methods,
    seeds_needed,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import Answer, Cell, Finding, Findings, Picture, Table, long_rows, pivot
from bertx.studies.likeness import (
    ALIKE,
    MEASURES,
    TEXTS,
    WORDS,
    Likeness,
    all_measures,
    likeness,
    text_likeness,
    word_likeness,
    word_values,
)
from bertx.studies.scores import (
    Draws,
    Floats,
    UnitScores,
    all_explained,
    check_words,
    draws_of,
    frequent_words,
    model_draws,
    shared_tables,
)
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject

log = logging.getLogger("bertx")

NAME = "seeds"

_COLUMNS = ("level", "run", "other", "method", "measure", "of", "item", "value", "low", "high")

_SEEDS = ("seed_everything", "data.seed")
_LOGGING = "trainer.logger"
_PLACES = ("default_root_dir", "dirpath", "save_dir", "ckpt_path")
"""The last part of the names of settings that say where something is written or gone on with."""

_NO_SETTING = "not set"


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
class Predictions:
    """How far P pairs of models agree in what they predict.

    Attributes:
        classes: Share of texts with the same predicted class.
        probabilities: Pearson's r of the probabilities of all classes and texts, of each pair (P,).
        alike: On which of N texts each pair predicts the same class (P, N).
    """

    classes: Likeness
    probabilities: tuple[float, ...]
    alike: Floats


def check(subjects: Sequence[Subject], settings: Settings, options: SeedsOptions) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: If there are too few words.
    """
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
    scores = all_explained(subjects, settings, store)
    tables = shared_tables(subjects, scores, settings)
    models = model_draws(len(subjects), settings)
    draws = draws_of(subjects, settings)._replace(models=models)
    texts = sorted(set.intersection(*(set(each.texts.tolist()) for each in scores)))
    predictions = _predictions(scores, texts, draws)
    compared: list[Likeness] = []
    for method, words in tables.items():
        compared += word_likeness(method, words, draws, all_measures(options.top_words))
        compared += text_likeness(method, scores, texts, draws, options.top, predictions.alike)
    return Findings(
        values=_values(draws.runs, texts, tables, compared),
        runs=[each.measured for each in scores],
        findings=[
            *differences_finding(other_differences(subjects)),
            *best_findings(compared, settings),
            prediction_finding(predictions, len(scores[0].texts)),
            paper_finding(compared, settings, len(subjects)),
        ],
        numbers={
            "prediction_agreement": predictions.classes.mean.value,
            **{f"{each.of}/{each.measure}/{each.method}": each.mean.value for each in compared},
        },
        tables=[
            means_table(compared, options),
            predictions_table(dict(zip(draws.runs, scores, strict=True)), predictions),
            pairs_table(compared),
        ],
        pictures=pictures(subjects, compared, predictions, options),
    )


def _predictions(scores: Sequence[UnitScores], texts: Sequence[int], draws: Draws) -> Predictions:
    """How far both models of each pair predict alike."""
    places = [np.searchsorted(each.texts, texts) for each in scores]
    predicted, probabilities = (
        [getattr(each, name)[place] for each, place in zip(scores, places, strict=True)]
        for name in ("predicted", "probabilities")
    )
    alike = np.stack([a == b for a, b in combinations(predicted, 2)]).astype(np.float64)
    drawn = draws.texts[0][:, list(texts)]
    again = (alike @ drawn.T) / drawn.sum(1)
    return Predictions(
        likeness("predictions", "", "share", alike.mean(1), again, draws),
        tuple(float(pearson(a.ravel(), b.ravel())) for a, b in combinations(probabilities, 2)),
        alike,
    )


def _values(
    runs: Sequence[str],
    texts: Sequence[int],
    tables: Mapping[str, Sequence[WordSums]],
    compared: Sequence[Likeness],
) -> pa.Table:
    """Scores of words, the value of each pair in each text, and the intervals."""
    parts, items = word_values(_COLUMNS, runs, tables), list(map(str, texts))
    for each in compared:
        of = partial(long_rows, _COLUMNS, method=each.method, measure=each.measure, of=each.of)
        for number, ((a, b), interval) in enumerate(each.pairs.items()):
            pair = partial(of, run=a, other=b)
            parts.append(pair(1, level="pair", **interval._asdict()))
            if each.of == TEXTS and each.texts is not None:
                parts.append(pair(len(items), level="text", item=items, value=each.texts[number]))
        parts.append(of(1, level="mean", **each.mean._asdict()))
    return pa.concat_tables(parts)


def other_differences(subjects: Sequence[Subject]) -> list[str]:
    """The settings other than seeds and places in which runs differ, with their values.

    Args:
        subjects: The runs; those that do not say how they were trained are left out.
    """
    settings = {
        one.name: dict(_flat(one.source.training)) for one in subjects if one.source.training
    }
    names = dict.fromkeys(chain.from_iterable(settings.values()))
    values = {
        name: {run: own.get(name, _NO_SETTING) for run, own in settings.items()} for name in names
    }
    return [
        f"{name} ({', '.join(f'{run}: {value}' for run, value in of_runs.items())})"
        for name, of_runs in values.items()
        if any(value != next(iter(of_runs.values())) for value in of_runs.values())
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


def best_findings(compared: Sequence[Likeness], settings: Settings) -> Iterator[Finding]:
    """Which method agrees most over seeds, signed and unsigned ones apart."""
    signed = {name: settings.signed(name) for name in filter(settings.explains, settings.methods)}
    for league, names in leagues(signed):
        for of, what in ((WORDS, "mean scores of words"), (TEXTS, "scores within single texts")):
            means = {
                each.method: each.mean
                for each in compared
                if each.of == of and each.measure == "Spearman" and each.method in names
            }
            if not means:
                continue
            best = highest(means)
            evidence = ", ".join(f"{name} {mean}" for name, mean in means.items())
            rho = f"Spearman's rho {means[best].value:.2f}"
            yield Finding(
                f"Of the {league} methods, {best} agrees most over seeds in {what} ({rho})."
                if len(means) > 1
                else f"By {best}, {what} agree over seeds with {rho}.",
                f"Means over pairs of models, 95 % intervals over texts and models: {evidence}.",
            )


def prediction_finding(predictions: Predictions, texts: int) -> Finding:
    """How often models predict alike."""
    mean, r = predictions.classes.mean, np.mean(predictions.probabilities)
    return Finding(
        f"The models predict the same class for {mean.value:.0%} of the texts, and "
        f"their probabilities correlate with r = {r:.2f}: about what can be expected of "
        "explanations that follow the decision.",
        f"Share of {texts:,} texts, mean over pairs of models: {mean}.",
    )


def paper_finding(compared: Sequence[Likeness], settings: Settings, models: int) -> Finding:
    """Whether the order of the methods is that of the paper, of those that have no sign as there.

    Args:
        compared: What was compared.
        settings: The methods.
        models: How many models there are.
    """
    of_words = {each.method: each for each in compared
                if each.of == WORDS and each.measure == "Pearson"}  # fmt: skip
    names, note = papers_methods(settings)
    order = ((paper.GS, paper.LRP), (paper.GI, paper.LRP), (paper.LRP, paper.LAT))
    above = [pair for pair in order if set(pair) <= set(names)]
    if not above:
        text = "Whether methods agree over seeds in the paper's order was not tested."
        return Finding(text, note, paper.CONSISTENT, "cannot tell")
    differences = {f"{a} - {b}": _difference(of_words[a], of_words[b]) for a, b in above}
    verdict, evidence = all_positive(differences, _seeds_would_tell(of_words, models))
    apart = []
    if {paper.GS, paper.GI} <= set(names):
        equal = _difference(of_words[paper.GS], of_words[paper.GI])
        evidence += f"; {paper.GS} - {paper.GI} {equal}"
        if not -_NEAR < equal.value < _NEAR:
            apart = [f"{paper.GS} and {paper.GI} are {abs(equal.value):.2f} apart"]
            verdict = "disagree" if verdict == "agree" else verdict
    means = {name: of_words[name].mean for name in names}
    values = ", ".join(f"{name} {mean}" for name, mean in means.items())
    evidence = f"Pearson's r: {values}. Differences: {evidence}. {note}"
    text = _order(verdict, means, below(differences), apart)
    return Finding(text, evidence.strip(), paper.CONSISTENT, verdict)


def _order(
    verdict: Answer, means: Mapping[str, Interval], turned: Sequence[str], apart: Sequence[str]
) -> str:
    """Whether methods agree in the paper's order, and which order they have here."""
    here = joined(sorted(means, key=lambda name: -means[name].value))
    less = [f"less by {high} than by {low}" for high, low in (name.split(" - ") for name in turned)]
    reasons = "; ".join([*([f"they agree {joined(less)}"] if less else []), *apart])
    what = "ean scores of words agree over seeds in the paper's order"
    return {
        "agree": f"M{what}: most by {here}.",
        "cannot tell": f"It cannot be told whether m{what}; here they agree most by {here}, in "
        "this order.",
        "disagree": "Mean scores of words do not agree over seeds in the paper's order: "
        f"{reasons}.",
    }[verdict]


def _seeds_would_tell(
    of_words: Mapping[str, Likeness], models: int
) -> Callable[[str, Interval], str]:
    """Says how many seeds would tell the difference of two methods."""

    def would_tell(name: str, difference: Interval) -> str:
        one, other = (of_words[method] for method in name.split(" - "))
        draws = (one.draws - other.draws).mean(0)
        needed = seeds_needed(one.values - other.values, draws, models)
        if needed is None:
            pairs = "one pair" if models == 2 else f"{len(one.values)} pairs"
            return (
                f"{name}: how many seeds would tell cannot be known from {pairs} of {models} "
                "models; four are the fewest that show it"
            )
        if needed == inf:
            return f"{name}: no number of seeds would tell with so many texts"
        return f"{name}: about {needed:,.0f} seeds would tell"

    return would_tell


def _difference(one: Likeness, other: Likeness) -> Interval:
    return normal_interval(one.mean.value - other.mean.value, one.mean_draws - other.mean_draws)


def means_table(compared: Sequence[Likeness], options: SeedsOptions) -> Table:
    """A row for each method and what is compared, a column for each measure."""
    cells = [((each.method, each.of), each.measure, f"{each.mean:.3f}") for each in compared]
    published = [
        ((method, WORDS), "paper's Pearson (words)", paper.SEEDS.get(method))
        for method in dict.fromkeys(each.method for each in compared)
    ]
    note = (
        "Means over pairs of models with 95 % intervals over texts and models. top-k: share of the "
        f"{options.top_words} highest words, or of the {options.top} highest units of a text, that "
        "both have. The paper: SST-5, two models."
    )
    heads = ["method", "compared"]
    return pivot("agreement", "Agreement over seeds", heads, [*cells, *published], note)


def predictions_table(scores: Mapping[str, UnitScores], predictions: Predictions) -> Table:
    """A row for each pair of models: how far they predict alike."""
    pairs = predictions.classes.pairs.items()
    rows: list[list[Cell]] = [
        [a, b, f"{share:.3f}", r, scores[a].measured.accuracy - scores[b].measured.accuracy]
        for ((a, b), share), r in zip(pairs, predictions.probabilities, strict=True)
    ]
    columns = ["run", "other", "same prediction", "Pearson of probabilities", "accuracy apart"]
    note = (
        "Explanations that follow the decision can hardly agree more than the decisions; those "
        "that do not look at the class may. Accuracies of the paper's two models: "
        f"{' and '.join(map(str, paper.SEED_ACCURACIES))}."
    )
    return Table("predictions", "Agreement of predictions", columns, rows, note)


def pairs_table(compared: Sequence[Likeness]) -> Table:
    """A row for each pair of models, method and measure."""
    rows = [
        [each.method, each.of, each.measure, *pair, f"{interval:.3f}"]
        for each in compared
        for pair, interval in each.pairs.items()
    ]
    columns = ["method", "compared", "measure", "run", "other", "value"]
    return Table("pairs", "Each pair of models", columns, rows, "95 % intervals over texts.")


def pictures(
    subjects: Sequence[Subject],
    compared: Sequence[Likeness],
    predictions: Predictions,
    options: SeedsOptions,
) -> list[Picture]:
    """All measures side by side, a row for each method."""
    titles = {
        "top-k": f"top {options.top_words} words, top {options.top} of a text",
        "Kendall": "Kendall's tau",
        "Spearman": "Spearman's rho",
        "Pearson": "Pearson's r",
    }
    panels = [
        DotPanel(
            titles[measure],
            [_dot(each) for each in compared if each.measure == measure and each.of != ALIKE],
            tuple(paper.SEEDS.items()) if measure == "Pearson" else (),
        )
        for measure in MEASURES
    ]
    source = subjects[0].source
    subtitle = (
        f"{source.dataset}, {len(subjects)} models, {len(subjects[0].texts):,} texts; the models "
        f"predict the same class of {predictions.classes.mean.value:.0%} of them"
    )
    figure = dots_figure(panels, "Agreement of explanations over seeds", subtitle)
    spoken = ", ".join(
        f"{each.method} {each.mean.value:.2f}"
        for each in compared
        if each.of == WORDS and each.measure == "Pearson"
    )
    alt = (
        "How far explanations of models of different seeds agree, by four measures, of mean scores "
        f"of words and within texts. Pearson's r of words: {spoken}."
    )
    return [Picture("agreement", "Agreement of explanations over seeds", alt, figure)]


def _dot(likeness: Likeness) -> Dot:
    series = {WORDS: "mean scores of words", TEXTS: "units of each text"}[likeness.of]
    single = tuple(likeness.values) if len(likeness.pairs) > 1 else ()
    return Dot(likeness.method, series, *likeness.mean, single)


STUDY = Study(
    name=NAME,
    title="Reliability over seeds",
    presets={"default": Settings(), "authors": authors(2001)},
    options=SeedsOptions(),
    run=seeds,
    check=check,
    least=2,
    alike=("classes", "tokenizer", "data"),
)
