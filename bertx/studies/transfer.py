"""Transfer of semantics (section 3.4): do words mean the same to models of different data sets?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from bertx.rendering.correlations import pair_grid_figure
from bertx.statistics.correlations import Interval, pearson, spearman
from bertx.statistics.words import WordSums
from bertx.studies import paper
from bertx.studies.claims import (
    all_positive,
    highest,
    joined,
    leagues,
    listed,
    negative,
    texts_to_decide,
    undecided,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import Finding, Findings, Picture, Table, long_rows, pivot
from bertx.studies.scores import all_explained, check_words, draws_of, frequent_words, shared_tables
from bertx.studies.settings import LAST, Settings, authors
from bertx.studies.similarity import Compare, Measure, Similarity, word_similarity, word_values
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike

NAME = "transfer"
MEASURES: Mapping[Measure, Compare] = {"Pearson": pearson, "Spearman": spearman}

_COLUMNS = (
    "level", "method", "run", "other", "measure", "item", "value", "low", "high", "count",
)  # fmt: skip


@dataclass(frozen=True)
class TransferOptions:
    """The options specific to this study.

    Attributes:
        minimum_common: The least number of frequent words that all runs have in common.
    """

    minimum_common: int = 20


def check(subjects: Sequence[Subject], settings: Settings, options: TransferOptions) -> None:
    """Check that the words of the runs can be compared.

    Raises:
        InputError: If units are tokens of different tokenizers, or the runs have too few words in
            common.
    """
    if settings.unit == "token":
        check_alike(subjects, f"{NAME} of tokens", "tokenizer")
    words = [frequent_words(subject, settings) for subject in subjects]
    names = ", ".join(subject.name for subject in subjects)
    what = f"in the texts of each of {names}"
    check_words(set.intersection(*words), options.minimum_common, settings, what)


def transfer(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: TransferOptions
) -> Findings:
    """Correlate the mean scores of the words that all runs have in common.

    Args:
        subjects: The models, each with its own texts.
        settings: The settings of the study.
        store: Where unit scores are stored.
        options: The options of the study.
    """
    scores = all_explained(subjects, settings, store)
    draws = draws_of(subjects, settings)
    tables = shared_tables(subjects, scores, settings)
    compared = {name: word_similarity(name, of, draws, MEASURES) for name, of in tables.items()}
    every = [each for of_method in compared.values() for each in of_method]
    common, runs = len(next(iter(tables.values()))[0].words), draws.runs
    return Findings(
        values=pa.concat_tables(
            [part for name in tables for part in _values(runs, name, tables, compared, common)]
        ),
        runs=[each.run_accuracy for each in scores],
        findings=[
            *_best_findings(every, settings, common),
            _paper_finding(subjects, every, common),
        ],
        numbers=_numbers(every, common),
        tables=[
            _means_table(every, settings, common),
            *(_matrix(runs, each, common) for each in every),
        ],
        pictures=[_picture(runs, tables[name], compared[name]) for name in tables],
    )


def _values(
    runs: Sequence[str],
    method: str,
    tables: Mapping[str, Sequence[WordSums]],
    compared: Mapping[str, Sequence[Similarity]],
    common: int,
) -> Iterator[pa.Table]:
    """Yield the mean score of each word by each run, and the correlation of each pair."""
    yield from word_values(_COLUMNS, runs, {method: tables[method]})
    for each in compared[method]:
        for (a, b), interval in each.pairs.items():
            yield long_rows(
                _COLUMNS, 1, level="pair", method=method, run=a, other=b, measure=each.measure,
                count=common, **interval._asdict(),
            )  # fmt: skip


def _best_findings(
    every: Sequence[Similarity], settings: Settings, common: int
) -> Iterator[Finding]:
    """Which method's word scores transfer best, among signed and among unsigned methods."""
    by_method = {
        each.method: each
        for each in every
        if each.measure == "Spearman" and settings.explains(each.method)
    }
    for league, names in leagues(by_method, settings):
        means = {name: by_method[name].mean for name in names}
        best = highest(means)
        pairs = by_method[best].pairs
        lowest = min(pairs, key=lambda pair: pairs[pair].value)
        several = len(pairs) > 1
        over = f"over {len(pairs)} pairs of runs" if several else f"between {joined(lowest)}"
        least = f", lowest between {joined(lowest)}: {pairs[lowest].value:.2f}" if several else ""
        rho = f"Spearman's rho {means[best].value:.2f} {over}{least}"
        yield Finding(
            f"Of the {league} methods, {best} gives the most similar mean word scores in different "
            f"runs ({rho})."
            if len(names) > 1
            else f"By {best}, mean word scores correlate with {rho}.",
            f"Means over pairs, 95 % intervals over texts: {listed(means)}; {common:,} common "
            "words.",
        )


def _paper_finding(
    subjects: Sequence[Subject], every: Sequence[Similarity], common: int
) -> Finding:
    """Whether mean scores correlate between all runs, by each method of the paper."""
    text = "It was not tested whether mean word scores transfer between data sets."
    of_paper = [each for each in every if each.measure == "Pearson"
                and each.method in paper.METHODS]  # fmt: skip
    if not of_paper:
        reason = "None of the paper's methods was computed."
        return Finding(text, reason, paper.TRANSFERS, "cannot tell")
    datasets = [subject.source.dataset for subject in subjects]
    if len(set(datasets)) < len(datasets):
        reason = f"Some runs have the same data set: {', '.join(datasets)}."
        return Finding(text, reason, paper.TRANSFERS, "cannot tell")
    correlations = {
        f"{each.method} ({joined(pair)})": interval
        for each in of_paper
        for pair, interval in each.pairs.items()
    }
    texts = min(len(subject.texts) for subject in subjects)
    verdict, evidence = all_positive(correlations, partial(texts_to_decide, texts))
    text = {
        "agree": "Mean word scores of each pair of data sets are positively correlated by "
        f"{joined([each.method for each in of_paper])}.",
        "disagree": "Mean word scores of different data sets are negatively correlated by "
        f"{joined(negative(correlations))}.",
        "cannot tell": "It cannot be decided whether mean word scores of different data sets are "
        f"positively correlated by {joined(undecided(correlations))}.",
    }[verdict]
    evidence = f"Pearson's r: {evidence}; {common:,} common words."
    return Finding(text, evidence, paper.TRANSFERS, verdict)


def _numbers(every: Sequence[Similarity], common: int) -> dict[str, float]:
    numbers = {"common_words": float(common)}
    for each in every:
        name = f"{each.measure}/{each.method}"
        numbers[name] = each.mean.value
        for (a, b), interval in each.pairs.items():
            numbers[f"{name}/{a}/{b}"] = interval.value
    return numbers


def _means_table(every: Sequence[Similarity], settings: Settings, common: int) -> Table:
    kinds = {True: "signed", False: "unsigned"}
    keys = {name: (name, kinds[settings.signed(name)]) for name in settings.methods}
    cells = [(keys[each.method], each.measure, f"{each.mean:.3f}") for each in every]
    counts = [(key, "common words", common) for key in keys.values()]
    note = "Means over all pairs of runs, with 95 % intervals over texts."
    return pivot("means", "Transfer by method", ["method", "scores"], [*cells, *counts], note)


def _matrix(runs: Sequence[str], each: Similarity, common: int) -> Table:
    correlations = {**each.pairs, **{(b, a): interval for (a, b), interval in each.pairs.items()}}
    cells = [((a,), b, None if a == b else f"{correlations[a, b]:.3f}") for a in runs for b in runs]
    note = f"Mean scores of {common:,} common words, 95 % intervals over texts."
    name, title = f"{each.measure.lower()}-{each.method}", f"{each.method}: {each.measure}"
    return pivot(name, title, ["run"], cells, note)


def _picture(
    runs: Sequence[str], tables: Sequence[WordSums], compared: Sequence[Similarity]
) -> Picture:
    values = {name: table.means().tolist() for name, table in zip(runs, tables, strict=True)}
    pearsons, spearmans = (each.pairs for each in compared)
    cells = {
        pair: (interval.value, _cell_text(interval, spearmans[pair]))
        for pair, interval in pearsons.items()
    }
    title = f"{compared[0].method}: the same words in different data"
    subtitle = f"mean scores of {len(tables[0].words):,} common words; Pearson's r above"
    figure = pair_grid_figure(values, cells, title, subtitle)
    values_in_words = "; ".join(f"{joined(pair)} {r:.2f}" for pair, (r, _) in cells.items())
    alt = (
        "Mean word scores of each pair of runs against each other, with their distributions. "
        f"Pearson's r: {values_in_words}."
    )
    return Picture(f"pairs-{compared[0].method}", title, alt, figure)


def _cell_text(pearsons: Interval, spearmans: Interval) -> str:
    bounds = f"[{pearsons.low:.2f}, {pearsons.high:.2f}]\nSpearman {spearmans.value:.2f}"
    return bounds.replace("-", "−")


STUDY = Study(
    name=NAME,
    title="Transfer of semantics",
    # For the predicted class, the sign of a word's score would mean another class in each text.
    presets={"default": Settings(target=LAST), "authors": authors(2001)},
    options=TransferOptions(),
    run=transfer,
    check=check,
    least=2,
)
