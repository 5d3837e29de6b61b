"""Word rank (section 3.2.1): which words speak for and against a class, by each method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from unicodedata import category

import numpy as np
import pyarrow as pa

from bertx.attribution.choices import ALL
from bertx.errors import InputError
from bertx.rendering.intervals import WordBars, word_bars_figure
from bertx.statistics.correlations import Interval, normal_interval
from bertx.studies import paper
from bertx.studies.claims import (
    all_positive,
    below,
    joined,
    leagues,
    open_ones,
    papers_methods,
    texts_would_tell,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import Answer, Cell, Finding, Findings, Picture, Table
from bertx.studies.ranked_words import EVERY, Ranked, WordRankOptions, poles, ranked_words
from bertx.studies.runs_table import accuracies, runs_table
from bertx.studies.scores import Floats, UnitScores, all_explained
from bertx.studies.sentence import sentence_picture
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject, check_alike
from bertx.studies.word_scores import check_words, frequent_words

NAME = "word-rank"
LEAST = 10
"""Fewest words that make a ranking."""

DRAWN = 12
"""Words at either end in a figure."""


def check(subjects: Sequence[Subject], settings: Settings, options: WordRankOptions) -> None:
    """Refuse what cannot be ranked together.

    Raises:
        InputError: If runs do not share classes, tokenizer and texts, a class is unknown, or there
            are too few words.
    """
    check_alike(subjects, NAME, "classes", "tokenizer", "data")
    poles(subjects[0].classes, options)
    words = frequent_words(subjects[0], settings) - set(options.stop_words)
    check_words(words, LEAST, settings, f"in the texts of {subjects[0].source.dataset}")
    if options.lexicon is not None:
        known = [own for word in words if (own := options.lexicon.valences.get(word))]
        if not any(own > 0 for own in known) or not any(own < 0 for own in known):
            raise InputError(
                f"lexicon {options.lexicon.name}: expected positive and negative words among the "
                f"{len(words)} frequent words of {subjects[0].source.dataset}, but of them "
                f"{sum(own > 0 for own in known)} are positive and {sum(own < 0 for own in known)} "
                "negative. Use more texts, a lower minimum_count, or a lexicon of their language."
            )


def word_rank(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: WordRankOptions
) -> Findings:
    """Rank words by their mean scores; those of several runs on the same texts are averaged.

    Args:
        subjects: One model, or several that differ in their seed.
        settings: How texts are explained and scores summed up.
        store: Where unit scores are kept.
        options: The lexicon, and what tables show.
    """
    found = all_explained(subjects, settings, store)
    ranked = [
        own
        for method in settings.methods
        for own in ranked_words(method, subjects, found, settings, options)
    ]
    _, positive = poles(subjects[0].classes, options)
    shown = [own for own in ranked if own.label in (positive, EVERY)] or ranked
    return Findings(
        values=_values(ranked),
        findings=[
            *_words_findings([own for own in shown if settings.explains(own.method)]),
            *_lexicon_findings(shown, settings),
            _paper_finding(shown, settings, len(subjects[0].texts)),
        ],
        numbers={**accuracies(subjects, found), **_numbers(ranked, options.top)},
        tables=[
            runs_table(subjects, found),
            *_lexicon_tables(ranked, options),
            _paper_table(shown),
            *(_words_table(own, options.top) for own in ranked),
        ],
        pictures=_pictures(shown, subjects[0], found[0], settings),
    )


def _values(ranked: Sequence[Ranked]) -> pa.Table:
    def column(name: str) -> Floats:
        return np.concatenate([getattr(own, name) for own in ranked])

    sizes = [len(own.words) for own in ranked]
    scores, reach = column("means"), column("reach")
    return pa.table(
        {
            "method": np.repeat([own.method for own in ranked], sizes),
            "class": np.repeat([own.label for own in ranked], sizes),
            "signed": np.repeat([own.signed for own in ranked], sizes),
            "word": [word for own in ranked for word in own.words],
            "score": scores,
            "low": scores - reach,
            "high": scores + reach,
            "occurrences": column("occurrences").astype(np.int64),
            "texts": column("texts").astype(np.int64),
        }
    )


def _words_findings(shown: Sequence[Ranked]) -> Iterator[Finding]:
    """What stands at the ends of each list."""
    for own in shown:
        order = own.order
        first, last = order[:3], order[::-1][:3]
        evidence = f"Mean scores: {_scores(own, first)}"
        text = f"By {own.method}, {_quoted(own, first)} matter most for {own.label}."
        if own.signed:
            most, least = (
                [place for place in first if own.means[place] > 0],
                [place for place in last if own.means[place] < 0],
            )
            speak = f"{_quoted(own, most)} speak most" if most else "no word speaks"
            against = f"{_quoted(own, least)} most" if least else "none"
            text = f"By {own.method}, {speak} for {own.label}, and {against} against it."
            evidence += f"; {_scores(own, last)}"
        yield Finding(text, f"{evidence}; {len(own.words):,} words.")


def _lexicon_findings(shown: Sequence[Ranked], settings: Settings) -> Iterator[Finding]:
    """Which method the lexicon agrees with most, signed and unsigned ones apart."""
    for league, names in leagues({own.method: own.signed for own in shown}):
        known = [
            (own.agreement, own)
            for own in shown
            if own.agreement is not None and own.method in names
        ]
        ranked = [pair for pair in known if settings.explains(pair[1].method)]
        if not ranked:
            continue
        best = max(ranked, key=lambda pair: pair[0].auc.value)
        what = f"Of the {league} methods, the words of the lexicon stand out most by"
        if not best[0].auc.low > 0.5:
            what = f"By no {league} method are words of the lexicon shown to stand out; nearest is"
        said = ", ".join(f"{own.method} {agreement.auc}" for agreement, own in known)
        yield Finding(
            f"{what} {best[1].method} ({best[1].label}): a word of it has a larger "
            f"absolute score than another word with a probability of {best[0].auc.value:.2f}.",
            f"AUC with 95 % intervals: {said}; {best[0].words} of {len(best[1].words)} words are "
            "in the lexicon.",
        )
        if signs := [(own, agreement.sign) for agreement, own in known if agreement.sign]:
            own, sign = max(signs, key=lambda pair: pair[1].value)
            yield Finding(
                f"By {own.method}, {sign.value:.0%} of the words of the lexicon have the sign of "
                f"their valence (by chance 50 %).",
                "; ".join(f"{other.method} {share}" for other, share in signs)
                + ", the mean of positive and negative words.",
            )


def _paper_finding(shown: Sequence[Ranked], settings: Settings, texts: int) -> Finding:
    """Whether the paper's other methods find words that matter more than LAT does."""
    names, note = papers_methods(settings)
    text = f"Whether the other methods find words that matter, and {paper.LAT} does not, was not "
    text += "tested."
    if paper.LAT not in names or len(names) < 2:
        return Finding(text, note, paper.FINDS_WORDS, "cannot tell")
    known = {own.method: own for own in shown if own.method in names}
    found = {name: own.agreement for name, own in known.items() if own.agreement is not None}
    if not found:
        said = ", ".join(f"{name} {_punctuation(own, 30):.0%}" for name, own in known.items())
        evidence = f"Without a lexicon only this: of the 30 highest, punctuation is {said}. {note}"
        return Finding(text, evidence.strip(), paper.FINDS_WORDS, "cannot tell")
    floor = found[paper.LAT]
    differences = {
        name: normal_interval(
            found[name].auc.value - floor.auc.value, found[name].auc_draws - floor.auc_draws
        )
        for name in names
        if name != paper.LAT
    }
    named = {f"{name} - {paper.LAT}": own for name, own in differences.items()}
    verdict, said = all_positive(named, texts_would_tell(texts))
    evidence = f"Differences of AUC: {said}; {texts:,} texts. {note}"
    return Finding(
        _standing_out(verdict, differences), evidence.strip(), paper.FINDS_WORDS, verdict
    )


def _standing_out(verdict: Answer, differences: Mapping[str, Interval]) -> str:
    """What was found of the paper's methods against LAT."""
    more = f"words of the lexicon stand out more by {{}} than by {paper.LAT}".format
    less = f"Words of the lexicon stand out less by {{}} than by {paper.LAT}".format
    if verdict == "agree":
        return f"W{more(joined([*differences]))[1:]}."
    if verdict == "disagree":
        return f"{less(joined(below(differences)))}."
    return f"It cannot be told whether {more(joined(open_ones(differences)))}."


def _punctuation(ranked: Ranked, top: int) -> float:
    """Share of the highest words that have neither letter nor digit."""
    first = [ranked.words[place] for place in ranked.order[:top]]
    return sum(all(category(c)[0] in "PS" for c in word) for word in first) / max(len(first), 1)


def _numbers(ranked: Sequence[Ranked], top: int) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for own in ranked:
        key = f"{own.method}/{own.label}"
        numbers[f"punctuation/{key}"] = _punctuation(own, top)
        if own.agreement is not None:
            numbers[f"auc/{key}"] = own.agreement.auc.value
            if own.agreement.sign is not None:
                numbers[f"sign/{key}"] = own.agreement.sign.value
    return numbers


def _lexicon_tables(ranked: Sequence[Ranked], options: WordRankOptions) -> Iterator[Table]:
    if options.lexicon is None:
        return
    rows = [
        [own.method, own.label, "signed" if own.signed else "unsigned", *_agreement_cells(own)]
        for own in ranked
    ]
    columns = [
        "method", "class", "scores", "AUC of |score|", "95 % interval", "sign agreement",
        "95 % interval of it", "words in the lexicon", "words",
    ]  # fmt: skip
    yield Table(
        "lexicon", f"Agreement with {options.lexicon.name}", columns, rows,
        "AUC: the probability that a word of the lexicon has a larger absolute score than another "
        "word, 0.5 by chance. Sign agreement: the share of its words whose score has the sign of "
        "their valence, the mean of that of positive and of negative words, 0.5 by chance.",
    )  # fmt: skip


def _agreement_cells(own: Ranked) -> list[Cell]:
    found = own.agreement
    if found is None:
        return []
    signs: list[Cell] = [None, None]
    if found.sign is not None:
        signs = [found.sign.value, _bounds(found.sign)]
    return [found.auc.value, _bounds(found.auc), *signs, found.words, len(own.words)]


def _bounds(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _words_table(own: Ranked, top: int) -> Table:
    """The highest words and the lowest, as the paper has them."""
    order = own.order
    ends = ("for it", "against it") if own.signed else ("highest", "lowest")
    rows = [
        [number + 1, *_word_cells(own, high), *_word_cells(own, low)]
        for number, (high, low) in enumerate(zip(order[:top], order[::-1][:top], strict=True))
    ]
    columns = ["#"]
    for end in ends:
        columns += [end, f"score ({end})", f"± ({end})", f"times ({end})"]
    title = f"{own.method}, {own.label}: words {ends[0]} and {ends[1]}"
    note = "Mean scores; ± is half of the 95 % interval over texts (and runs)."
    return Table(f"words-{own.method}-{own.label}", title, columns, rows, note)


def _word_cells(own: Ranked, place: int) -> list[Cell]:
    return [
        own.words[place],
        float(own.means[place]),
        float(own.reach[place]),
        int(own.occurrences[place]),
    ]


def _paper_table(shown: Sequence[Ranked]) -> Table:
    """The words that the paper prints, with their scores there and here."""
    rows: list[list[Cell]] = []
    for own in shown:
        places = {word: place for place, word in enumerate(own.words)}
        ranks = {place: rank for rank, place in enumerate(own.order, 1)}
        for word, score in paper.TOP_WORDS.get(own.method, {}).items():
            place = places.get(word)
            here = [None, None] if place is None else [float(own.means[place]), ranks[place]]
            rows.append([own.method, word, score, *here, len(own.words)])
    columns = ["method", "word", "paper's score", "score", "rank", "of"]
    note = "The paper: SST-5, the last class, absolute scores of word pieces. Empty: not frequent."
    return Table("paper", "Words that the paper prints", columns, rows, note)


def _pictures(
    shown: Sequence[Ranked], subject: Subject, found: UnitScores, settings: Settings
) -> list[Picture]:
    bars = [
        WordBars(
            own.method,
            own.signed,
            [_bar(own, place) for place in own.order[:DRAWN]],
            [_bar(own, place) for place in own.order[::-1][:DRAWN][::-1]] if own.signed else [],
        )
        for own in shown
    ]
    label = shown[0].label
    title = f"Words for and against {label}" if any(b.signed for b in bars) else "Highest words"
    figure = word_bars_figure(
        bars, title, f"{subject.source.dataset}, {len(subject.texts):,} texts"
    )
    alt = "Mean scores of words, one panel for each method. " + " ".join(
        f"{own.method}: {_quoted(own, own.order[:5])} are highest." for own in shown
    )
    text = sentence_picture(subject, found, settings)
    return [Picture("words", title, alt, figure), text]


def _bar(own: Ranked, place: int) -> tuple[str, float, float]:
    return own.words[place], float(own.means[place]), float(own.reach[place])


def _quoted(own: Ranked, places: Sequence[int]) -> str:
    *first, last = [f"“{own.words[place]}”" for place in places]
    return f"{', '.join(first)} and {last}" if first else last


def _scores(own: Ranked, places: Sequence[int]) -> str:
    return ", ".join(
        f"“{own.words[place]}” {own.means[place]:.2f} ± {own.reach[place]:.2f} "
        f"({own.occurrences[place]:.0f} times)"
        for place in places
    )


STUDY = Study(
    name=NAME,
    title="Word rank",
    presets={
        "default": replace(Settings(), target=ALL),
        "authors": authors(2001),
    },
    options=WordRankOptions(),
    run=word_rank,
    check=check,
)
