"""What a comparison of seeds comes to: sentences, tables and a figure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from bertx.rendering.intervals import Dot, DotPanel, dots_figure
from bertx.statistics.correlations import Interval, normal_interval
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
from bertx.studies.findings import Answer, Cell, Finding, Picture, Table
from bertx.studies.likeness import ALIKE, MEASURES, TEXTS, WORDS, Likeness, pairs_of
from bertx.studies.scores import UnitScores
from bertx.studies.settings import Settings
from bertx.studies.subjects import Subject

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
    """How far models agree in what they predict.

    Attributes:
        pairs: Share of texts on which the two of each pair predict the same class.
        mean: The mean over pairs, its interval over texts and models.
        probabilities: Pearson's r of the probabilities of all classes and texts, of each pair.
    """

    pairs: tuple[Interval, ...]
    mean: Interval
    probabilities: tuple[float, ...]


def best_findings(compared: Sequence[Likeness], settings: Settings) -> Iterator[Finding]:
    """Which method agrees most over seeds, signed and unsigned ones apart."""
    signed = {name: settings.signed(name) for name in filter(settings.explains, settings.methods)}
    for league, names in leagues(signed):
        for of, what in ((WORDS, "mean scores of words"), (TEXTS, "scores within single texts")):
            known = {
                own.method: own.mean
                for own in compared
                if own.of == of and own.measure == "Spearman" and own.method in names
            }
            if not known:
                continue
            best = highest(known)
            said = ", ".join(f"{name} {interval}" for name, interval in known.items())
            rho = f"Spearman's rho {known[best].value:.2f}"
            yield Finding(
                f"Of the {league} methods, {best} agrees most over seeds in {what} ({rho})."
                if len(known) > 1
                else f"By {best}, {what} agree over seeds with {rho}.",
                f"Means over pairs of models, 95 % intervals over texts and models: {said}.",
            )


def prediction_finding(predictions: Predictions, texts: int) -> Finding:
    """How often models predict alike."""
    likeness = float(np.mean(predictions.probabilities))
    return Finding(
        f"The models predict the same class for {predictions.mean.value:.0%} of the texts, and "
        f"their probabilities correlate with r = {likeness:.2f}: about what can be expected of "
        "explanations that follow the decision.",
        f"Share of {texts:,} texts, mean over pairs of models: {predictions.mean}.",
    )


def paper_finding(compared: Sequence[Likeness], settings: Settings, models: int) -> Finding:
    """Whether the order of the methods is that of the paper, of those that have no sign as there.

    Args:
        compared: What was compared.
        settings: The methods.
        models: How many models there are.
    """
    known = {one.method: one for one in compared if one.of == WORDS and one.measure == "Pearson"}
    names, note = papers_methods(settings)
    order = ((paper.GS, paper.LRP), (paper.GI, paper.LRP), (paper.LRP, paper.LAT))
    above = [pair for pair in order if set(pair) <= set(names)]
    if not above:
        text = "Whether methods agree over seeds in the paper's order was not tested."
        return Finding(text, note, paper.CONSISTENT, "cannot tell")
    differences = {f"{a} - {b}": _difference(known[a], known[b]) for a, b in above}
    verdict, said = all_positive(differences, _seeds_would_tell(known, models))
    apart = ""
    if {paper.GS, paper.GI} <= set(names):
        equal = _difference(known[paper.GS], known[paper.GI])
        said += f"; {paper.GS} - {paper.GI} {equal}"
        if not -_NEAR < equal.value < _NEAR:
            apart = f"{paper.GS} and {paper.GI} are {abs(equal.value):.2f} apart"
            verdict = "disagree" if verdict == "agree" else verdict
    values = ", ".join(f"{name} {known[name].mean}" for name in names)
    evidence = f"Pearson's r: {values}. Differences: {said}. {note}"
    text = _order(verdict, {name: known[name].mean.value for name in names}, differences, apart)
    return Finding(text, evidence.strip(), paper.CONSISTENT, verdict)


def _order(
    verdict: Answer, values: Mapping[str, float], differences: Mapping[str, Interval], apart: str
) -> str:
    """What was found of the paper's order, and in which one the methods come here."""
    here = joined(sorted(values, key=lambda name: -values[name]))
    if verdict == "agree":
        return f"Mean scores of words agree over seeds in the paper's order: most by {here}."
    if verdict == "cannot tell":
        return (
            "It cannot be told whether mean scores of words agree over seeds in the paper's "
            f"order; here they agree most by {here}, in this order."
        )
    turned = [name.split(" - ") for name in below(differences)]
    said = [f"less by {high} than by {low}" for high, low in turned]
    reasons = "; ".join([*([f"they agree {joined(said)}"] if said else []), *filter(None, [apart])])
    return f"Mean scores of words do not agree over seeds in the paper's order: {reasons}."


def _seeds_would_tell(known: Mapping[str, Likeness], models: int) -> Callable[[str, Interval], str]:
    """Says of the difference of two methods how many seeds would tell it."""

    def told(name: str, difference: Interval) -> str:
        one, other = (known[method] for method in name.split(" - "))
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

    return told


def _difference(one: Likeness, other: Likeness) -> Interval:
    return normal_interval(one.mean.value - other.mean.value, one.mean_draws - other.mean_draws)


def means_table(compared: Sequence[Likeness], options: SeedsOptions) -> Table:
    """A row for each method and what is compared, a column for each measure."""
    rows: dict[tuple[str, str], list[Cell]] = {}
    for own in compared:
        row = rows.setdefault((own.method, own.of), [own.method, own.of])
        row.append(f"{own.mean:.3f}")
    for (method, of), row in rows.items():
        row.append(paper.SEEDS.get(method) if of == WORDS else None)
    columns = ["method", "compared", *MEASURES, "paper's Pearson (words)"]
    note = (
        "Means over pairs of models with 95 % intervals over texts and models. top-k: share of the "
        f"{options.top_words} highest words, or of the {options.top} highest units of a text, that "
        "both have. The paper: SST-5, two models."
    )
    return Table("agreement", "Agreement over seeds", columns, list(rows.values()), note)


def predictions_table(
    subjects: Sequence[Subject], found: Sequence[UnitScores], predictions: Predictions
) -> Table:
    """A row for each pair of models: how far they predict alike."""
    rows: list[list[Cell]] = [
        [
            subjects[i].name,
            subjects[j].name,
            f"{predictions.pairs[number]:.3f}",
            predictions.probabilities[number],
            found[i].accuracy - found[j].accuracy,
        ]
        for number, (i, j) in enumerate(pairs_of(len(subjects)))
    ]
    columns = ["run", "other", "same prediction", "Pearson of probabilities", "accuracy apart"]
    note = (
        "Explanations that follow the decision can hardly agree more than the decisions; those "
        "that do not look at the class may. Accuracies of the paper's two models: "
        f"{' and '.join(map(str, paper.SEED_ACCURACIES))}."
    )
    return Table("predictions", "Agreement of predictions", columns, rows, note)


def pairs_table(subjects: Sequence[Subject], compared: Sequence[Likeness]) -> Table:
    """A row for each pair of models, method and measure."""
    rows = [
        [
            own.method,
            own.of,
            own.measure,
            subjects[i].name,
            subjects[j].name,
            f"{own.pairs[number]:.3f}",
        ]
        for own in compared
        for number, (i, j) in enumerate(pairs_of(len(subjects)))
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
            [_dot(own) for own in compared if own.measure == measure and own.of != ALIKE],
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
        f"{own.method} {own.mean.value:.2f}"
        for own in compared
        if own.of == WORDS and own.measure == "Pearson"
    )
    alt = (
        "How far explanations of models of different seeds agree, by four measures, of mean scores "
        f"of words and within texts. Pearson's r of words: {spoken}."
    )
    return [Picture("agreement", "Agreement of explanations over seeds", alt, figure)]


def _dot(own: Likeness) -> Dot:
    series = {WORDS: "mean scores of words", TEXTS: "units of each text"}[own.of]
    single = tuple(own.values) if len(own.values) > 1 else ()
    return Dot(own.method, series, own.mean.value, own.mean.low, own.mean.high, single)
