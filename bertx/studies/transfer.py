"""Transfer of semantics (section 3.4): do words mean the same to models of different data sets?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pyarrow as pa

from bertx.rendering.correlations import pair_grid_figure
from bertx.statistics.correlations import Interval, pearson, spearman
from bertx.statistics.words import WordSums
from bertx.studies import paper
from bertx.studies.claims import (
    all_positive,
    below,
    highest,
    joined,
    leagues,
    open_ones,
    texts_would_tell,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import Cell, Finding, Findings, Picture, Table, long_rows
from bertx.studies.likeness import Compare, Likeness, Measure, pairs_of, word_likeness
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import all_explained
from bertx.studies.settings import LAST, Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike, check_one_class, check_several
from bertx.studies.word_scores import check_words, draws_of, frequent_words, shared_tables

NAME = "transfer"
MEASURES: Mapping[Measure, Compare] = {"Pearson": pearson, "Spearman": spearman}

_COLUMNS = (
    "level", "method", "run", "other", "measure", "item", "value", "low", "high", "count",
)  # fmt: skip


@dataclass(frozen=True)
class TransferOptions:
    """What this study alone is told.

    Attributes:
        minimum_common: Fewest words that all runs have in common.
    """

    minimum_common: int = 20


def check(subjects: Sequence[Subject], settings: Settings, options: TransferOptions) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: If there is one run alone, tokens of different tokenizers would be compared, all
            classes are asked for, or the runs have too few words in common.
    """
    check_several(subjects, NAME)
    if settings.unit == "token":
        check_alike(subjects, f"{NAME} of tokens", "tokenizer")
    check_one_class(settings, NAME)
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
        settings: How texts are explained and scores summed up.
        store: Where unit scores are kept.
        options: How many words are enough.
    """
    found = all_explained(subjects, settings, store)
    texts = draws_of(subjects, settings)
    tables = {
        method: shared_tables(subjects, found, settings, method) for method in settings.methods
    }
    every = [
        likeness
        for name, words in tables.items()
        for likeness in word_likeness(name, words, texts, MEASURES)
    ]
    common = len(next(iter(tables.values()))[0].words)
    return Findings(
        values=_values(subjects, tables, every),
        findings=[
            *_best_findings(subjects, every, settings, common),
            _paper_finding(subjects, every, common),
        ],
        numbers={**accuracies(subjects, found), **_numbers(subjects, every, common)},
        tables=[
            runs_table(subjects, found),
            _means_table(every, settings, common),
            *(_matrix(subjects, likeness, common) for likeness in every),
        ],
        pictures=[
            _picture(subjects, words, [one for one in every if one.method == name])
            for name, words in tables.items()
        ],
    )


def _values(
    subjects: Sequence[Subject],
    tables: Mapping[str, Sequence[WordSums]],
    every: Sequence[Likeness],
) -> pa.Table:
    """The mean score of each word by each run, and the correlation of each pair."""
    rows = partial(long_rows, _COLUMNS)
    parts = []
    for method, words in tables.items():
        parts += [
            rows(
                len(table.words), level="word", method=method, run=subject.name, item=table.words,
                value=table.means(), count=table.occurrences.astype(np.int64),
            )
            for subject, table in zip(subjects, words, strict=True)
        ]  # fmt: skip
        parts += [
            rows(
                1, level="pair", method=method, run=a.name, other=b.name, measure=own.measure,
                count=len(words[0].words), **interval._asdict(),
            )
            for own in every
            if own.method == method
            for (a, b), interval in zip(combinations(subjects, 2), own.pairs, strict=True)
        ]  # fmt: skip
    return pa.concat_tables(parts)


def _best_findings(
    subjects: Sequence[Subject], every: Sequence[Likeness], settings: Settings, common: int
) -> Iterator[Finding]:
    """Which method's word scores transfer best, signed and unsigned ones apart."""
    found = {
        own.method: own
        for own in every
        if own.measure == "Spearman" and settings.explains(own.method)
    }
    for league, names in leagues({name: settings.signed(name) for name in found}):
        means = {name: found[name].mean for name in names}
        best = highest(means)
        said = ", ".join(f"{name} {mean}" for name, mean in means.items())
        pairs = list(zip(combinations(subjects, 2), found[best].pairs, strict=True))
        (a, b), low = min(pairs, key=lambda pair: pair[1].value)
        pair = f"{a.name} and {b.name}"
        over = f"over {len(pairs)} pairs of runs" if len(pairs) > 1 else f"between {pair}"
        least = f"; least between {pair} ({low.value:.2f})" if len(pairs) > 1 else ""
        rho = f"Spearman's rho {means[best].value:.2f} {over}"
        yield Finding(
            f"Of the {league} methods, mean scores of words are most alike between runs by {best} "
            f"({rho}){least}."
            if len(names) > 1
            else f"By {best}, mean scores of words of two runs correlate with {rho}{least}.",
            f"Means over pairs, 95 % intervals over texts: {said}; {common:,} common words.",
        )


def _paper_finding(subjects: Sequence[Subject], every: Sequence[Likeness], common: int) -> Finding:
    """Whether mean scores correlate between all runs, by each method of the paper."""
    text = "Whether mean scores of words transfer between data sets was not tested."
    known = [one for one in every if one.measure == "Pearson" and one.method in paper.METHODS]
    if not known:
        why = "None of the paper's methods was computed."
        return Finding(text, why, paper.TRANSFERS, "cannot tell")
    sources = [subject.source.dataset for subject in subjects]
    if len(set(sources)) < len(sources):
        why = f"Not all runs are of different data sets: {', '.join(sources)}."
        return Finding(text, why, paper.TRANSFERS, "cannot tell")
    found = {
        f"{own.method} ({a.name} and {b.name})": interval
        for own in known
        for (a, b), interval in zip(combinations(subjects, 2), own.pairs, strict=True)
    }
    texts = min(len(subject.texts) for subject in subjects)
    verdict, said = all_positive(found, texts_would_tell(texts))
    by = joined([own.method for own in known])
    what = "mean scores of words of different data sets are positively correlated"
    text = {
        "agree": f"{what[0].upper()}{what[1:]}: each two of them, by {by}.",
        "disagree": "Mean scores of words of different data sets are negatively correlated by "
        f"{joined(below(found))}.",
        "cannot tell": f"It cannot be told whether {what} by {joined(open_ones(found))}.",
    }[verdict]
    evidence = f"Pearson's r: {said}; {common:,} common words."
    return Finding(text, evidence, paper.TRANSFERS, verdict)


def _numbers(
    subjects: Sequence[Subject], every: Sequence[Likeness], common: int
) -> dict[str, float]:
    numbers = {"common_words": float(common)}
    for own in every:
        name = f"{own.measure}/{own.method}"
        numbers[name] = own.mean.value
        for (a, b), interval in zip(combinations(subjects, 2), own.pairs, strict=True):
            numbers[f"{name}/{a.name}/{b.name}"] = interval.value
    return numbers


def _means_table(every: Sequence[Likeness], settings: Settings, common: int) -> Table:
    rows = [
        [
            name,
            "signed" if settings.signed(name) else "unsigned",
            *(f"{own.mean:.3f}" for own in every if own.method == name),
            common,
        ]
        for name in settings.methods
    ]
    columns = ["method", "scores", *MEASURES, "common words"]
    note = "Means over all pairs of runs, with 95 % intervals over texts."
    return Table("means", "Transfer by method", columns, rows, note)


def _matrix(subjects: Sequence[Subject], own: Likeness, common: int) -> Table:
    names = [subject.name for subject in subjects]
    found = dict(zip(pairs_of(len(names)), own.pairs, strict=True))
    rows: list[list[Cell]] = [
        [name, *(_cell(found, i, j) for j in range(len(names)))] for i, name in enumerate(names)
    ]
    note = f"Mean scores of {common:,} common words, 95 % intervals over texts."
    title = f"{own.method}: {own.measure}"
    return Table(f"{own.measure.lower()}-{own.method}", title, ["run", *names], rows, note)


def _cell(found: Mapping[tuple[int, int], Interval], i: int, j: int) -> Cell:
    return None if i == j else f"{found[min(i, j), max(i, j)]:.3f}"


def _picture(
    subjects: Sequence[Subject], tables: Sequence[WordSums], found: Sequence[Likeness]
) -> Picture:
    names = [subject.name for subject in subjects]
    values = {name: table.means().tolist() for name, table in zip(names, tables, strict=True)}
    own, other = found
    cells = {
        pair: (one.value, _below(one, also))
        for pair, one, also in zip(combinations(names, 2), own.pairs, other.pairs, strict=True)
    }
    title = f"{own.method}: the same words in different data"
    subtitle = f"mean scores of {len(tables[0].words):,} common words; Pearson's r above"
    figure = pair_grid_figure(values, cells, title, subtitle)
    spoken = "; ".join(f"{a} and {b} {value:.2f}" for (a, b), (value, _) in cells.items())
    alt = (
        "Mean scores of words of each two runs against each other, with their distributions. "
        f"Pearson's r: {spoken}."
    )
    return Picture(f"pairs-{own.method}", title, alt, figure)


def _below(interval: Interval, other: Interval) -> str:
    bounds = f"[{interval.low:.2f}, {interval.high:.2f}]".replace("-", "−")
    return f"{bounds}\nSpearman {other.value:.2f}".replace("-", "−")


STUDY = Study(
    name=NAME,
    title="Transfer of semantics",
    # Of the predicted class, a word's sign would mean one class here and another one there.
    presets={"default": Settings(target=LAST), "authors": authors(2001)},
    options=TransferOptions(),
    run=transfer,
    check=check,
)
