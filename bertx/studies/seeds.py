"""Reliability over seeds (section 3.5): do models that differ only in their seed explain alike?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from math import inf

import numpy as np
import pyarrow as pa

from bertx.rendering.intervals import Dot, DotPanel, dots_figure
from bertx.statistics.correlations import Interval, normal_interval, pearson
from bertx.statistics.spread import Array
from bertx.statistics.words import WordSums
from bertx.studies import paper
from bertx.studies.claims import (
    all_positive,
    highest,
    joined,
    leagues,
    listed,
    negative,
    papers_methods,
    seeds_needed,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import (
    Cell,
    ClaimVerdict,
    Finding,
    Findings,
    Picture,
    Table,
    long_rows,
    pivot,
)
from bertx.studies.scores import (
    Draws,
    UnitScores,
    all_explained,
    check_words,
    draws_with_models,
    frequent_words,
    shared_tables,
)
from bertx.studies.settings import Settings, authors, flattened
from bertx.studies.similarity import (
    ALIKE,
    MEASURES,
    TEXTS,
    WORDS,
    Similarity,
    all_measures,
    similarity,
    text_similarity,
    word_similarity,
    word_values,
)
from bertx.studies.store import Store
from bertx.studies.subjects import Subject

log = logging.getLogger("bertx")

NAME = "seeds"

_COLUMNS = ("level", "run", "other", "method", "measure", "of", "item", "value", "low", "high")

_SEEDS = ("seed_everything", "data.seed")
_LOGGING = "trainer.logger"
_PLACES = {"default_root_dir", "dirpath", "save_dir", "ckpt_path"}
"""The last part of the names of settings that hold folders or the checkpoint to continue from."""

_NOT_SET = "not set"

_NEAR = 0.03  # correlations that differ by less count as equal


@dataclass(frozen=True)
class SeedsOptions:
    """The options specific to this study.

    Attributes:
        top: The number of highest units of a text that top-k overlap compares.
        top_words: The number of highest words that top-k overlap compares.
    """

    top: int = 3
    top_words: int = 30


@dataclass(frozen=True)
class Predictions:
    """How far P pairs of models agree in their predictions.

    Attributes:
        classes: The share of texts with the same predicted class.
        probabilities: Pearson's r of the probabilities of all classes and texts, of each pair (P,).
        alike: 1 for texts for which both models of a pair predict the same class, else 0 (P, N).
    """

    classes: Similarity
    probabilities: tuple[float, ...]
    alike: Array


def check(subjects: Sequence[Subject], settings: Settings, options: SeedsOptions) -> None:
    """Check the number of words, and warn if runs differ in more than their seed.

    Raises:
        InputError: If there are too few words.
    """
    words = frequent_words(subjects[0], settings)
    check_words(words, options.top_words + 1, settings, f"in {subjects[0].source.dataset}")
    if differences := other_differences(subjects):
        log.warning(f"these runs differ not only in their seed, but in {', '.join(differences)}")


def seeds(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: SeedsOptions
) -> Findings:
    """Compare the explanations of each pair of models, by text and by word.

    Args:
        subjects: The models, on the same texts.
        settings: The settings of the study.
        store: Where unit scores are stored.
        options: The options of the study.
    """
    scores = all_explained(subjects, settings, store)
    tables = shared_tables(subjects, scores, settings)
    draws = draws_with_models(subjects, settings)
    texts = sorted(set.intersection(*(set(each.texts.tolist()) for each in scores)))
    predictions = _predictions(scores, texts, draws)
    compared: list[Similarity] = []
    for method, words in tables.items():
        compared += word_similarity(method, words, draws, all_measures(options.top_words))
        compared += text_similarity(method, scores, texts, draws, options.top, predictions.alike)
    return Findings(
        values=_values(draws.runs, texts, tables, compared),
        runs=[each.run_accuracy for each in scores],
        findings=[
            *_differences_finding(other_differences(subjects)),
            *_best_findings(compared, settings),
            _prediction_finding(predictions, len(scores[0].texts)),
            _paper_finding(compared, settings, len(subjects)),
        ],
        numbers={
            "prediction_agreement": predictions.classes.mean.value,
            **{f"{each.of}/{each.measure}/{each.method}": each.mean.value for each in compared},
        },
        tables=[
            _means_table(compared, options),
            _predictions_table(dict(zip(draws.runs, scores, strict=True)), predictions),
            _pairs_table(compared),
        ],
        pictures=_pictures(subjects, compared, predictions, options),
    )


def _predictions(scores: Sequence[UnitScores], texts: Sequence[int], draws: Draws) -> Predictions:
    """Compare the predictions of each pair of models on the texts that all have scores for."""
    rows = [np.searchsorted(each.texts, texts) for each in scores]
    predicted = [each.predicted[row] for each, row in zip(scores, rows, strict=True)]
    probabilities = [each.probabilities[row] for each, row in zip(scores, rows, strict=True)]
    alike = np.stack([a == b for a, b in combinations(predicted, 2)]).astype(np.float64)
    drawn = draws.texts[0][:, list(texts)]
    drawn_shares = (alike @ drawn.T) / drawn.sum(1)
    return Predictions(
        similarity("predictions", "", "share", alike.mean(1), drawn_shares, draws),
        tuple(float(pearson(a.ravel(), b.ravel())) for a, b in combinations(probabilities, 2)),
        alike,
    )


def _values(
    runs: Sequence[str],
    texts: Sequence[int],
    tables: Mapping[str, Sequence[WordSums]],
    compared: Sequence[Similarity],
) -> pa.Table:
    """Return the scores of words, the value of each pair in each text, and the intervals."""
    parts, items = word_values(_COLUMNS, runs, tables), list(map(str, texts))
    for each in compared:
        rows = partial(long_rows, _COLUMNS, method=each.method, measure=each.measure, of=each.of)
        for number, ((a, b), interval) in enumerate(each.pairs.items()):
            of_pair = partial(rows, run=a, other=b)
            parts.append(of_pair(1, level="pair", **interval._asdict()))
            if each.of == TEXTS and each.texts is not None:
                values = each.texts[number]
                parts.append(of_pair(len(items), level="text", item=items, value=values))
        parts.append(rows(1, level="mean", **each.mean._asdict()))
    return pa.concat_tables(parts)


def other_differences(subjects: Sequence[Subject]) -> list[str]:
    """Return the settings in which runs differ, with their values.

    Seeds, loggers, and folders may differ and are left out.

    Args:
        subjects: The runs; a run whose training is unknown is left out.
    """
    settings = {
        subject.name: flattened(subject.source.training)
        for subject in subjects
        if subject.source.training
    }
    differences = []
    for name in dict.fromkeys(chain.from_iterable(settings.values())):
        values = {run: of_run.get(name, _NOT_SET) for run, of_run in settings.items()}
        first, *others = values.values()
        if not _may_differ(name) and any(other != first for other in others):
            listed_values = ", ".join(f"{run}: {value}" for run, value in values.items())
            differences.append(f"{name} ({listed_values})")
    return differences


def _may_differ(name: str) -> bool:
    prefixes = (*_SEEDS, _LOGGING)
    inside = any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    return inside or not _PLACES.isdisjoint(name.split("."))


def _differences_finding(differences: Sequence[str]) -> Iterator[Finding]:
    """Say in which settings other than their seed runs differ, if they do."""
    if differences:
        yield Finding(
            f"These runs differ not only in their seed, but also in {', '.join(differences)}, so "
            "their agreement does not show the effect of seeds alone.",
            "Settings in their config.yaml, except seeds, loggers, and folders.",
        )


def _best_findings(compared: Sequence[Similarity], settings: Settings) -> Iterator[Finding]:
    """Which method agrees most over seeds, among signed and among unsigned methods."""
    for league, names in leagues(filter(settings.explains, settings.methods), settings):
        for of, what in ((WORDS, "mean word scores"), (TEXTS, "scores within single texts")):
            means = {
                each.method: each.mean
                for each in compared
                if each.of == of and each.measure == "Spearman" and each.method in names
            }
            if not means:
                continue
            best = highest(means)
            rho = f"Spearman's rho {means[best].value:.2f}"
            yield Finding(
                f"Of the {league} methods, {best} agrees most across seeds in {what} ({rho})."
                if len(means) > 1
                else f"By {best}, {what} agree across seeds with {rho}.",
                "Means over pairs of models, 95 % intervals over texts and models: "
                f"{listed(means)}.",
            )


def _prediction_finding(predictions: Predictions, texts: int) -> Finding:
    """How often models predict the same class."""
    mean, r = predictions.classes.mean, np.mean(predictions.probabilities)
    return Finding(
        f"The models predict the same class for {mean.value:.0%} of the texts, and "
        f"their probabilities correlate with r = {r:.2f}; explanations that follow the decision "
        "can be expected to agree about as much.",
        f"Share of {texts:,} texts, mean over pairs of models: {mean}.",
    )


def _paper_finding(compared: Sequence[Similarity], settings: Settings, models: int) -> Finding:
    """Whether the paper's methods, where they have no sign, agree over seeds in the paper's order.

    Args:
        compared: The similarities of all methods.
        settings: The settings of the study.
        models: The number of models.
    """
    of_words = {each.method: each for each in compared
                if each.of == WORDS and each.measure == "Pearson"}  # fmt: skip
    names, note = papers_methods(settings)
    order = ((paper.GS, paper.LRP), (paper.GI, paper.LRP), (paper.LRP, paper.LAT))
    pairs = {f"{a} - {b}": (a, b) for a, b in order if a in names and b in names}
    if not pairs:
        text = "It was not tested whether methods agree across seeds in the paper's order."
        return Finding(text, note, paper.CONSISTENT, "cannot tell")

    def needed(name: str, difference: Interval) -> str:
        a, b = pairs[name]
        return f"{name}: {_seeds_to_decide(of_words[a], of_words[b], models)}"

    differences = {name: _difference(of_words[a], of_words[b]) for name, (a, b) in pairs.items()}
    verdict, evidence = all_positive(differences, needed)
    apart = []
    if paper.GS in names and paper.GI in names:
        equal = _difference(of_words[paper.GS], of_words[paper.GI])
        evidence += f"; {paper.GS} - {paper.GI} {equal}"
        if not -_NEAR < equal.value < _NEAR:
            apart = [f"{paper.GS} and {paper.GI} differ by {abs(equal.value):.2f}"]
            verdict = "disagree" if verdict == "agree" else verdict
    means = {name: of_words[name].mean for name in names}
    evidence = f"Pearson's r: {listed(means)}. Differences: {evidence}. {note}"
    text = _order(verdict, means, [pairs[name] for name in negative(differences)], apart)
    return Finding(text, evidence.strip(), paper.CONSISTENT, verdict)


def _order(
    verdict: ClaimVerdict,
    means: Mapping[str, Interval],
    reversed_pairs: Sequence[tuple[str, str]],
    apart: Sequence[str],
) -> str:
    """Say whether methods agree in the paper's order, and which order they have here."""
    here = f"{joined(sorted(means, key=lambda name: -means[name].value))}, from highest to lowest"
    agreement = "the agreement of mean word scores across seeds"
    if verdict == "agree":
        return f"T{agreement[1:]} is in the paper's order: {here}."
    if verdict == "cannot tell":
        return (
            f"It cannot be decided whether {agreement} is in the paper's order; here the order is "
            f"{here}."
        )
    reasons = list(apart)
    if reversed_pairs:
        lower = joined([f"lower for {first} than for {second}" for first, second in reversed_pairs])
        reasons.insert(0, f"it is {lower}")
    return f"T{agreement[1:]} is not in the paper's order: {'; '.join(reasons)}."


def _seeds_to_decide(one: Similarity, other: Similarity, models: int) -> str:
    """Say how many seeds would decide the difference of two methods."""
    draws = (one.draws - other.draws).mean(0)
    needed = seeds_needed(one.values - other.values, draws, models)
    if needed is None:
        return (
            f"the number of seeds needed to decide cannot be estimated from {models} models; at "
            "least four models are needed"
        )
    if needed == inf:
        return "cannot be decided with this many texts, whatever the number of seeds"
    return f"about {needed:,.0f} seeds would be needed to decide"


def _difference(one: Similarity, other: Similarity) -> Interval:
    return normal_interval(one.mean.value - other.mean.value, one.mean_draws - other.mean_draws)


def _means_table(compared: Sequence[Similarity], options: SeedsOptions) -> Table:
    """Return a row for each method and what is compared, and a column for each measure."""
    cells = [((each.method, each.of), each.measure, f"{each.mean:.3f}") for each in compared]
    published = [
        ((method, WORDS), "paper's Pearson (words)", paper.SEEDS.get(method))
        for method in dict.fromkeys(each.method for each in compared)
    ]
    note = (
        "Means over pairs of models with 95 % intervals over texts and models. top-k: the share of "
        f"the {options.top_words} highest words, or of the {options.top} highest units of a text, "
        "that both models have in common. The paper: SST-5, two models."
    )
    heads = ["method", "compared"]
    return pivot("agreement", "Agreement across seeds", heads, [*cells, *published], note)


def _predictions_table(scores: Mapping[str, UnitScores], predictions: Predictions) -> Table:
    """Return a row for each pair of models: how far their predictions agree."""
    pairs = predictions.classes.pairs.items()
    rows: list[list[Cell]] = [
        [a, b, f"{share:.3f}", r, scores[a].run_accuracy.accuracy - scores[b].run_accuracy.accuracy]
        for ((a, b), share), r in zip(pairs, predictions.probabilities, strict=True)
    ]
    columns = ["run", "other", "same prediction", "Pearson of probabilities", "accuracy apart"]
    note = (
        "Explanations that follow the decision can hardly agree more than the decisions do; "
        "explanations that do not depend on the class can. Accuracies of the paper's two models: "
        f"{' and '.join(map(str, paper.SEED_ACCURACIES))}."
    )
    return Table("predictions", "Agreement of predictions", columns, rows, note)


def _pairs_table(compared: Sequence[Similarity]) -> Table:
    """Return a row for each pair of models, method and measure."""
    rows = [
        [each.method, each.of, each.measure, *pair, f"{interval:.3f}"]
        for each in compared
        for pair, interval in each.pairs.items()
    ]
    columns = ["method", "compared", "measure", "run", "other", "value"]
    return Table("pairs", "Each pair of models", columns, rows, "95 % intervals over texts.")


def _pictures(
    subjects: Sequence[Subject],
    compared: Sequence[Similarity],
    predictions: Predictions,
    options: SeedsOptions,
) -> list[Picture]:
    """Draw all measures side by side, with a row for each method."""
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
        f"predict the same class for {predictions.classes.mean.value:.0%} of them"
    )
    figure = dots_figure(panels, "Agreement of explanations across seeds", subtitle)
    in_words = ", ".join(
        f"{each.method} {each.mean.value:.2f}"
        for each in compared
        if each.of == WORDS and each.measure == "Pearson"
    )
    alt = (
        "Agreement of the explanations of models that differ in their seed, by four measures, for "
        f"mean word scores and within texts. Pearson's r of mean word scores: {in_words}."
    )
    return [Picture("agreement", "Agreement of explanations across seeds", alt, figure)]


def _dot(compared: Similarity) -> Dot:
    series = {WORDS: "mean scores of words", TEXTS: "units of each text"}[compared.of]
    pairs = tuple(compared.values) if len(compared.pairs) > 1 else ()
    return Dot(compared.method, series, compared.mean, pairs)


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
