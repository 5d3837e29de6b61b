"""Transfer of semantics (section 3.4): do words mean the same to models of different data sets?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from bertx.attribution.choices import ALL
from bertx.errors import InputError
from bertx.rendering.correlations import pair_grid_figure
from bertx.statistics.correlations import Interval, fisher_interval, pearson, spearman
from bertx.statistics.words import WordSums
from bertx.studies import paper
from bertx.studies.claims import all_positive, below, joined, open_ones, texts_would_tell
from bertx.studies.conducting import Study
from bertx.studies.findings import Cell, Finding, Findings, Picture, Table
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import Floats, UnitScores, all_explained
from bertx.studies.settings import LAST, Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike, check_several
from bertx.studies.word_scores import check_words, draws_of, frequent_words, shared_tables

NAME = "transfer"
MEASURES = {"Pearson": pearson, "Spearman": spearman}


@dataclass(frozen=True)
class TransferOptions:
    """What this study alone is told.

    Attributes:
        minimum_common: Fewest words that all runs have in common.
    """

    minimum_common: int = 20


@dataclass(frozen=True)
class Transferred:
    """The common words of all runs by one method.

    Attributes:
        method: The method.
        signed: Whether its scores have a sign.
        tables: The scores of the words by each run.
        correlations: For each measure and pair of runs the correlation of their mean scores.
        draws: The same in draws of the bootstrap, by measure and pair (R,).
    """

    method: str
    signed: bool
    tables: Sequence[WordSums]
    correlations: Mapping[str, Mapping[tuple[int, int], Interval]]
    draws: Mapping[str, Mapping[tuple[int, int], Floats]]

    def mean(self, measure: str) -> Interval:
        """The mean over pairs."""
        values = [own.value for own in self.correlations[measure].values()]
        draws = np.mean(list(self.draws[measure].values()), 0)
        return fisher_interval(float(np.mean(values)), draws)


def check(subjects: Sequence[Subject], settings: Settings, options: TransferOptions) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: If there is one run alone, tokens of different tokenizers would be compared, all
            classes are asked for, or the runs have too few words in common.
    """
    check_several(subjects, NAME)
    if settings.unit == "token":
        check_alike(subjects, f"{NAME} of tokens", "tokenizer")
    if settings.target == ALL:
        raise InputError(
            f"target all: {NAME} compares the explanations of one class of each text. Expected "
            "predicted, gold or last."
        )
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
    every = [_transferred(method, subjects, found, texts, settings) for method in settings.methods]
    return Findings(
        values=_values(subjects, every),
        findings=[
            *_best_findings(subjects, [own for own in every if settings.explains(own.method)]),
            _paper_finding(subjects, every),
        ],
        numbers={**accuracies(subjects, found), **_numbers(subjects, every)},
        tables=[
            runs_table(subjects, found),
            _means_table(every),
            *(_matrix(subjects, own, measure) for own in every for measure in MEASURES),
        ],
        pictures=[_picture(subjects, own) for own in every],
    )


def _transferred(
    method: str,
    subjects: Sequence[Subject],
    found: Sequence[UnitScores],
    texts: Sequence[Floats],
    settings: Settings,
) -> Transferred:
    tables = shared_tables(subjects, found, settings, method)
    means = [table.means() for table in tables]
    drawn = [table.drawn_means(own) for table, own in zip(tables, texts, strict=True)]
    pairs = list(combinations(range(len(subjects)), 2))
    draws = {
        measure: {(i, j): compare(drawn[i], drawn[j]) for i, j in pairs}
        for measure, compare in MEASURES.items()
    }
    correlations = {
        measure: {
            (i, j): fisher_interval(float(compare(means[i], means[j])), draws[measure][i, j])
            for i, j in pairs
        }
        for measure, compare in MEASURES.items()
    }
    return Transferred(method, settings.signed(method), tables, correlations, draws)


def _values(subjects: Sequence[Subject], every: Sequence[Transferred]) -> pa.Table:
    """The mean score of each word by each run, and the correlation of each pair."""
    rows: list[dict[str, Cell]] = []
    for own in every:
        for subject, table in zip(subjects, own.tables, strict=True):
            words = zip(table.words, table.means(), table.occurrences, strict=True)
            rows += [
                _row("word", own.method, subject.name, item=word, value=value, count=int(count))
                for word, value, count in words
            ]
        for measure, found in own.correlations.items():
            for (i, j), interval in found.items():
                rows.append(
                    _row(
                        "pair",
                        own.method,
                        subjects[i].name,
                        other=subjects[j].name,
                        measure=measure,
                        value=interval.value,
                        low=interval.low,
                        high=interval.high,
                        count=len(own.tables[0].words),
                    )
                )
    kinds = [
        ("level", pa.string()), ("method", pa.string()), ("run", pa.string()),
        ("other", pa.string()), ("measure", pa.string()), ("item", pa.string()),
        ("value", pa.float64()), ("low", pa.float64()), ("high", pa.float64()),
        ("count", pa.int64()),
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def _row(level: str, method: str, run: str, **more: Cell) -> dict[str, Cell]:
    return {"level": level, "method": method, "run": run, "other": "", "measure": "", "item": "",
            **more}  # fmt: skip


def _best_findings(subjects: Sequence[Subject], every: Sequence[Transferred]) -> Iterator[Finding]:
    """Which method's word scores transfer best, signed and unsigned ones apart."""
    for signed, league in ((True, "signed"), (False, "unsigned")):
        known = {own.method: own for own in every if own.signed == signed}
        if not known:
            continue
        means = {name: own.mean("Spearman") for name, own in known.items()}
        best = max(means, key=lambda name: np.nan_to_num(means[name].value, nan=-2.0))
        said = ", ".join(f"{name} {mean}" for name, mean in means.items())
        found = known[best].correlations["Spearman"]
        (i, j), low = min(found.items(), key=lambda pair: pair[1].value)
        pair = f"{subjects[i].name} and {subjects[j].name}"
        over = f"over {len(found)} pairs of runs" if len(found) > 1 else f"between {pair}"
        least = f"; least between {pair} ({low.value:.2f})" if len(found) > 1 else ""
        rho = f"Spearman's rho {means[best].value:.2f} {over}"
        yield Finding(
            f"Of the {league} methods, mean scores of words are most alike between runs by {best} "
            f"({rho}){least}."
            if len(known) > 1
            else f"By {best}, mean scores of words of two runs correlate with {rho}{least}.",
            f"Means over pairs, 95 % intervals over texts: {said}; "
            f"{len(known[best].tables[0].words):,} common words.",
        )


def _paper_finding(subjects: Sequence[Subject], every: Sequence[Transferred]) -> Finding:
    """Whether mean scores correlate between all runs, by each method of the paper."""
    text = "Whether mean scores of words transfer between data sets was not tested."
    known = [own for own in every if own.method in paper.METHODS]
    if not known:
        why = "None of the paper's methods was computed."
        return Finding(text, why, paper.TRANSFERS, "cannot tell")
    sources = [subject.source.dataset for subject in subjects]
    if len(set(sources)) < len(sources):
        why = f"Not all runs are of different data sets: {', '.join(sources)}."
        return Finding(text, why, paper.TRANSFERS, "cannot tell")
    found = {
        f"{own.method} ({subjects[i].name} and {subjects[j].name})": interval
        for own in known
        for (i, j), interval in own.correlations["Pearson"].items()
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
    evidence = f"Pearson's r: {said}; {len(known[0].tables[0].words):,} common words."
    return Finding(text, evidence, paper.TRANSFERS, verdict)


def _numbers(subjects: Sequence[Subject], every: Sequence[Transferred]) -> dict[str, float]:
    numbers = {"common_words": float(len(every[0].tables[0].words))}
    for own in every:
        for measure, found in own.correlations.items():
            numbers[f"{measure}/{own.method}"] = own.mean(measure).value
            for (i, j), interval in found.items():
                pair = f"{subjects[i].name}/{subjects[j].name}"
                numbers[f"{measure}/{own.method}/{pair}"] = interval.value
    return numbers


def _means_table(every: Sequence[Transferred]) -> Table:
    rows = [
        [
            own.method,
            "signed" if own.signed else "unsigned",
            *(f"{own.mean(measure):.3f}" for measure in MEASURES),
            len(own.tables[0].words),
        ]
        for own in every
    ]
    columns = ["method", "scores", *MEASURES, "common words"]
    note = "Means over all pairs of runs, with 95 % intervals over texts."
    return Table("means", "Transfer by method", columns, rows, note)


def _matrix(subjects: Sequence[Subject], own: Transferred, measure: str) -> Table:
    names = [subject.name for subject in subjects]
    found = own.correlations[measure]
    rows: list[list[Cell]] = [
        [name, *(_cell(found, i, j) for j in range(len(names)))] for i, name in enumerate(names)
    ]
    note = f"Mean scores of {len(own.tables[0].words):,} common words, 95 % intervals over texts."
    title = f"{own.method}: {measure}"
    return Table(f"{measure.lower()}-{own.method}", title, ["run", *names], rows, note)


def _cell(found: Mapping[tuple[int, int], Interval], i: int, j: int) -> Cell:
    return None if i == j else f"{found[min(i, j), max(i, j)]:.3f}"


def _picture(subjects: Sequence[Subject], own: Transferred) -> Picture:
    names = [subject.name for subject in subjects]
    values = {name: table.means().tolist() for name, table in zip(names, own.tables, strict=True)}
    cells = {
        (names[i], names[j]): (interval.value, _below(interval, own.correlations["Spearman"][i, j]))
        for (i, j), interval in own.correlations["Pearson"].items()
    }
    title = f"{own.method}: the same words in different data"
    subtitle = f"mean scores of {len(own.tables[0].words):,} common words; Pearson's r above"
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
