"""Word rank (section 3.2.1): which words support and which oppose a class, by each method."""

from collections.abc import Iterator, Sequence
from functools import partial
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
    highest,
    joined,
    leagues,
    listed,
    negative,
    papers_methods,
    texts_to_decide,
    undecided,
)
from bertx.studies.conducting import Study
from bertx.studies.findings import Cell, Finding, Findings, Picture, Table, grid_rows
from bertx.studies.ranked_words import EVERY, RankedWords, WordRankOptions, poles, ranked_words
from bertx.studies.scores import UnitScores, all_explained, check_words, frequent_words
from bertx.studies.sentence import sentence_picture
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Store
from bertx.studies.subjects import Subject

NAME = "word-rank"
_LEAST = 10
"""The least number of words to rank."""

_DRAWN = 12
"""The number of highest and of lowest words in a figure."""


def check(subjects: Sequence[Subject], settings: Settings, options: WordRankOptions) -> None:
    """Check the classes of the lexicon, and that there are enough words.

    Raises:
        InputError: If a class is unknown, there are too few words, or too few are in the lexicon.
    """
    poles(subjects[0].classes, options)
    words = frequent_words(subjects[0], settings) - set(options.stop_words)
    check_words(words, _LEAST, settings, f"in the texts of {subjects[0].source.dataset}")
    if options.lexicon is not None:
        valences = [options.lexicon.valences.get(word, 0.0) for word in words]
        good, bad = sum(v > 0 for v in valences), sum(v < 0 for v in valences)
        if not good or not bad:
            raise InputError(
                f"lexicon {options.lexicon.name}: expected positive and negative words among the "
                f"{len(words)} frequent words of {subjects[0].source.dataset}, but of them {good} "
                f"are positive and {bad} negative. Use more texts, a lower minimum_count, or a "
                "lexicon of their language."
            )


def word_rank(
    subjects: Sequence[Subject], settings: Settings, store: Store, options: WordRankOptions
) -> Findings:
    """Rank words by their mean scores, averaged over runs on the same texts.

    Args:
        subjects: One model, or several that differ in their seed.
        settings: The settings of the study.
        store: Where unit scores are stored.
        options: The options of the study.
    """
    scores = all_explained(subjects, settings, store)
    ranked = [
        each
        for method in settings.methods
        for each in ranked_words(method, subjects, scores, settings, options)
    ]
    _, positive = poles(subjects[0].classes, options)
    shown = [each for each in ranked if each.label in (positive, EVERY)] or ranked
    return Findings(
        values=_values(ranked),
        runs=[each.run_accuracy for each in scores],
        findings=[
            *_words_findings([each for each in shown if settings.explains(each.method)]),
            *_lexicon_findings(shown, settings),
            _paper_finding(shown, settings, len(subjects[0].texts)),
        ],
        numbers=_numbers(ranked, options.top),
        tables=[
            *_lexicon_tables(ranked, options),
            _paper_table(shown),
            *(_words_table(each, options.top) for each in ranked),
        ],
        pictures=_pictures(shown, subjects[0], scores[0], settings),
    )


def _values(ranked: Sequence[RankedWords]) -> pa.Table:
    return pa.concat_tables(
        pa.table(
            {
                **grid_rows(
                    {"method": [each.method], "class": [each.label], "signed": [each.signed]},
                    {"word": each.words},
                ),
                "score": each.means,
                "low": each.means - each.reach,
                "high": each.means + each.reach,
                "occurrences": each.occurrences.astype(np.int64),
                "texts": each.texts.astype(np.int64),
            }
        )
        for each in ranked
    )


def _words_findings(shown: Sequence[RankedWords]) -> Iterator[Finding]:
    """Which words are at the ends of each ranking."""
    for each in shown:
        first, last = each.order[:3], each.order[::-1][:3]
        evidence = f"Mean scores: {_scores(each, first)}"
        text = f"By {each.method}, {_quoted(each, first)} matter most for {each.label}."
        if each.signed:
            most = [index for index in first if each.means[index] > 0]
            least = [index for index in last if each.means[index] < 0]
            support = _clause(each, most, "support", each.label)
            text = f"By {each.method}, {support}, and {_clause(each, least, 'oppose', 'it')}."
            evidence += f"; {_scores(each, last)}"
        yield Finding(text, f"{evidence}; {len(each.words):,} words.")


def _clause(ranked: RankedWords, indices: Sequence[int], verb: str, label: str) -> str:
    """Say which words support or oppose a class most."""
    if not indices:
        return f"no word {verb}s {label}"
    return f"{_quoted(ranked, indices)} {verb}{'s' if len(indices) == 1 else ''} {label} most"


def _lexicon_findings(shown: Sequence[RankedWords], settings: Settings) -> Iterator[Finding]:
    """Which method the lexicon agrees with most, among signed and among unsigned methods."""
    ranked = {each.method: each for each in shown}
    agreements = {name: each.agreement for name, each in ranked.items() if each.agreement}
    for league, names in leagues(agreements, settings):
        explaining = list(filter(settings.explains, names))
        if not explaining:
            continue
        areas = {name: agreements[name].auc for name in names}
        best = highest({name: areas[name] for name in explaining})
        what = f"Of the {league} methods, words of the lexicon stand out most with"
        if not areas[best].low > 0.5:
            what = f"No {league} method is shown to make lexicon words stand out; the closest is"
        yield Finding(
            f"{what} {best} ({ranked[best].label}): with a probability of {areas[best].value:.2f}, "
            "a word of the lexicon has a larger absolute score than another word.",
            f"AUC with 95 % intervals: {listed(areas)}; {agreements[best].words} of "
            f"{len(ranked[best].words)} words are in the lexicon.",
        )
        signs = {name: sign for name in names if (sign := agreements[name].sign)}
        if signs:
            best = highest(signs)
            yield Finding(
                f"By {best}, {signs[best].value:.0%} of the words of the lexicon have the sign of "
                "their valence (50 % by chance).",
                f"{listed(signs, '; ')}, averaged over positive and negative words.",
            )


def _paper_finding(shown: Sequence[RankedWords], settings: Settings, texts: int) -> Finding:
    """Whether the paper's other methods find words that matter more than LAT does."""
    names, note = papers_methods(settings)
    text = f"It was not tested whether other methods, unlike {paper.LAT}, find words that matter."
    if paper.LAT not in names or len(names) < 2:
        return Finding(text, note, paper.FINDS_WORDS, "cannot tell")
    ranked = {each.method: each for each in shown if each.method in names}
    agreements = {name: each.agreement for name, each in ranked.items() if each.agreement}
    if not agreements:
        shares = ", ".join(f"{name} {_punctuation(each, 30):.0%}" for name, each in ranked.items())
        evidence = f"Without a lexicon, only the punctuation in the top 30 is compared: {shares}."
        return Finding(text, f"{evidence} {note}".strip(), paper.FINDS_WORDS, "cannot tell")
    floor = agreements.pop(paper.LAT)
    differences = {
        name: normal_interval(each.auc.value - floor.auc.value, each.auc_draws - floor.auc_draws)
        for name, each in agreements.items()
    }
    against = {f"{name} - {paper.LAT}": interval for name, interval in differences.items()}
    verdict, evidence = all_positive(against, partial(texts_to_decide, texts))
    evidence = f"Differences in AUC: {evidence}; {texts:,} texts. {note}".strip()
    than = f"than with {paper.LAT}"
    text = {
        "agree": f"Words of the lexicon stand out more with {joined(list(differences))} {than}.",
        "disagree": "Words of the lexicon stand out less with "
        f"{joined(negative(differences))} {than}.",
        "cannot tell": "It cannot be decided whether words of the lexicon stand out more with "
        f"{joined(undecided(differences))} {than}.",
    }[verdict]
    return Finding(text, evidence, paper.FINDS_WORDS, verdict)


def _punctuation(ranked: RankedWords, top: int) -> float:
    """Return the share of punctuation among the ``top`` highest words."""
    first = [ranked.words[index] for index in ranked.order[:top]]
    return sum(all(category(c)[0] in "PS" for c in word) for word in first) / max(len(first), 1)


def _numbers(ranked: Sequence[RankedWords], top: int) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for each in ranked:
        key = f"{each.method}/{each.label}"
        numbers[f"punctuation/{key}"] = _punctuation(each, top)
        if each.agreement is not None:
            numbers[f"auc/{key}"] = each.agreement.auc.value
            if each.agreement.sign is not None:
                numbers[f"sign/{key}"] = each.agreement.sign.value
    return numbers


def _lexicon_tables(ranked: Sequence[RankedWords], options: WordRankOptions) -> Iterator[Table]:
    if options.lexicon is None:
        return
    rows: list[list[Cell]] = [
        [
            each.method, each.label, "signed" if each.signed else "unsigned",
            *_bounds(each.agreement.auc), *_bounds(each.agreement.sign), each.agreement.words,
            len(each.words),
        ]
        for each in ranked
        if each.agreement is not None
    ]  # fmt: skip
    columns = [
        "method", "class", "scores", "AUC of |score|", "95 % interval", "sign agreement",
        "95 % interval of it", "words in the lexicon", "words",
    ]  # fmt: skip
    yield Table(
        "lexicon", f"Agreement with {options.lexicon.name}", columns, rows,
        "AUC: the probability that a word of the lexicon has a larger absolute score than another "
        "word; 0.5 by chance. Sign agreement: the share of lexicon words whose score has the sign "
        "of their valence, averaged over positive and negative words; 0.5 by chance.",
    )  # fmt: skip


def _bounds(interval: Interval | None) -> list[Cell]:
    if interval is None:
        return [None, None]
    return [interval.value, f"{interval.low:.3f} to {interval.high:.3f}"]


def _words_table(ranked: RankedWords, top: int) -> Table:
    """Return the highest and the lowest words side by side, as the paper prints them."""
    ends = ("for it", "against it") if ranked.signed else ("highest", "lowest")
    rows: list[list[Cell]] = [
        [number, *_word_cells(ranked, high), *_word_cells(ranked, low)]
        for number, high, low in zip(
            range(1, top + 1), ranked.order[:top], ranked.order[::-1], strict=False
        )
    ]
    columns = ["#"]
    for end in ends:
        columns += [end, f"score ({end})", f"± ({end})", f"times ({end})"]
    which = "words for and against it" if ranked.signed else "highest and lowest words"
    title = f"{ranked.method}, {ranked.label}: {which}"
    note = "Mean scores; ± is half the width of the 95 % interval over texts (and runs)."
    return Table(f"words-{ranked.method}-{ranked.label}", title, columns, rows, note)


def _word_cells(ranked: RankedWords, index: int) -> list[Cell]:
    return [*_bar(ranked, index), int(ranked.occurrences[index])]


def _paper_table(shown: Sequence[RankedWords]) -> Table:
    """Return the words that the paper prints, with the paper's scores and ours."""
    rows: list[list[Cell]] = []
    for each in shown:
        words = [each.words[index] for index in each.order]
        for word, score in paper.TOP_WORDS.get(each.method, {}).items():
            ours: list[Cell] = [None, None]
            if word in words:
                rank = words.index(word)
                ours = [float(each.means[each.order[rank]]), rank + 1]
            rows.append([each.method, word, score, *ours, len(each.words)])
    columns = ["method", "word", "paper's score", "score", "rank", "of"]
    note = "The paper: SST-5, last class, absolute scores of word pieces. Empty: not frequent here."
    return Table("paper", "Words listed in the paper", columns, rows, note)


def _pictures(
    shown: Sequence[RankedWords], subject: Subject, scores: UnitScores, settings: Settings
) -> list[Picture]:
    bars = [
        WordBars(
            each.method,
            each.signed,
            [_bar(each, index) for index in each.order[:_DRAWN]],
            [_bar(each, index) for index in each.order[-_DRAWN:]] if each.signed else [],
        )
        for each in shown
    ]
    signed = any(each.signed for each in shown)
    title = f"Words for and against {shown[0].label}" if signed else "Highest words"
    subtitle = f"{subject.source.dataset}, {len(subject.texts):,} texts"
    alt = "Mean scores of words, one panel for each method. " + " ".join(
        f"{each.method}: {_quoted(each, each.order[:5])} are highest." for each in shown
    )
    words = Picture("words", title, alt, word_bars_figure(bars, title, subtitle))
    return [words, sentence_picture(subject, scores, settings)]


def _bar(ranked: RankedWords, index: int) -> tuple[str, float, float]:
    return ranked.words[index], float(ranked.means[index]), float(ranked.reach[index])


def _quoted(ranked: RankedWords, indices: Sequence[int]) -> str:
    return joined([f"“{ranked.words[index]}”" for index in indices])


def _scores(ranked: RankedWords, indices: Sequence[int]) -> str:
    return ", ".join(
        f"“{ranked.words[index]}” {ranked.means[index]:.2f} ± {ranked.reach[index]:.2f} "
        f"({ranked.occurrences[index]:.0f} times)"
        for index in indices
    )


STUDY = Study(
    name=NAME,
    title="Word rank",
    presets={"default": Settings(target=ALL), "authors": authors(2001)},
    options=WordRankOptions(),
    run=word_rank,
    check=check,
    alike=("classes", "tokenizer", "data"),
    one_class=False,
)
