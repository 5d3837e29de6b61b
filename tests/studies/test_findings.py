"""The sentences of findings, for every verdict."""

from dataclasses import replace
from itertools import combinations
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from bertx.attribution import LRP as Lrp
from bertx.attribution import GradientSensitivity, GradientXInput, LayerwiseAttentionTracing
from bertx.statistics.correlations import Interval
from bertx.studies import Settings, seeds, transfer, word_rank
from bertx.studies.claims import seeds_needed
from bertx.studies.paper import GI, GS, LAT, LRP
from bertx.studies.ranked_words import RankedWords
from bertx.studies.seeds import _differences_finding, other_differences
from bertx.studies.similarity import Similarity

METHODS = {GS: GradientSensitivity(), GI: GradientXInput(reduce="squared_norm"), LRP: Lrp(),
           LAT: LayerwiseAttentionTracing()}  # fmt: skip
SETTINGS = Settings("authors", METHODS, signs=False)


def around(value, reach=0.05):
    return Interval(value, value - reach, value + reach)


def subject(name):
    source = SimpleNamespace(dataset=name)
    return SimpleNamespace(name=name, source=source, texts=range(200))


@pytest.mark.parametrize(
    "value, verdict, text",
    [
        (0.5, "agree", "Mean word scores of each pair of data sets are positively correlated by "
         f"{LAT}."),
        (-0.5, "disagree", "Mean word scores of different data sets are negatively correlated by "
         f"{LAT} (one and other)."),
        (0.01, "cannot tell", "It cannot be decided whether mean word scores of different data "
         f"sets are positively correlated by {LAT} (one and other)."),
    ],
)  # fmt: skip
def test_transfer(value, verdict, text):
    pairs = {("one", "other"): around(value)}
    own = SimpleNamespace(method=LAT, measure="Pearson", pairs=pairs)
    found = transfer._paper_finding([subject("one"), subject("other")], [own], 20)
    assert (found.verdict, found.text) == (verdict, text)
    assert ("needed to decide" in found.evidence) == (verdict == "cannot tell")
    alike = transfer._paper_finding([subject("one"), subject("one")], [own], 20)
    assert alike.verdict == "cannot tell" and alike.text.startswith("It was not tested")


def ranked_by(method, **more):
    fields = ("label", "signed", "words", "means", "reach", "occurrences", "texts", "agreement")
    return RankedWords(method, **{**dict.fromkeys(fields), **more})


def ranked(method, value, spread):
    draws = value + spread * np.linspace(-2, 2, 99)
    agreement = SimpleNamespace(auc=around(value), auc_draws=draws)
    return ranked_by(method, agreement=agreement)


@pytest.mark.parametrize(
    "value, spread, verdict, text",
    [
        (0.7, 0.01, "agree", f"Words of the lexicon stand out more with {GS} than with {LAT}."),
        (0.3, 0.01, "disagree", f"Words of the lexicon stand out less with {GS} than with {LAT}."),
        (0.6, 0.2, "cannot tell", "It cannot be decided whether words of the lexicon stand out "
         f"more with {GS} than with {LAT}."),
    ],
)  # fmt: skip
def test_word_rank(value, spread, verdict, text):
    settings = Settings("authors", {name: METHODS[name] for name in (GS, LAT)}, signs=False)
    shown = [ranked(GS, value, spread), ranked(LAT, 0.5, 0.0)]
    found = word_rank._paper_finding(shown, settings, 200)
    assert (found.verdict, found.text) == (verdict, text)


@pytest.mark.parametrize(
    "value, start",
    [
        (0.7, "Of the unsigned methods, words of the lexicon stand out most with "),
        (0.52, "No unsigned method is shown to make lexicon words stand out; "),
    ],
)
def test_a_lexicon_that_stands_out_by_no_method(value, start):
    agreement = SimpleNamespace(auc=around(value), sign=None, words=4)
    own = ranked_by(GS, label="good", signed=False, agreement=agreement, words=tuple("abc"))
    (found,) = word_rank._lexicon_findings([own], Settings())
    assert found.text.startswith(start)


def bars(means):
    words = tuple("abcdef")
    return ranked_by(
        GI, label="good", signed=True, words=words, means=np.asarray(means), reach=np.ones(6),
        occurrences=np.ones(6),
    )  # fmt: skip


def test_words_support_a_class_only_where_their_sign_says_so():
    (both,) = word_rank._words_findings([bars([3, 2, 1, -1, -2, -3])])
    assert both.text == (
        f"By {GI}, “a”, “b” and “c” support good most, and “f”, “e” and “d” oppose it most."
    )
    (none,) = word_rank._words_findings([bars([-1, -2, -3, -4, -5, -6])])
    assert none.text == f"By {GI}, no word supports good, and “f”, “e” and “d” oppose it most."
    (one,) = word_rank._words_findings([bars([6, 0, 0, 0, 0, 0])])
    assert one.text.endswith("“a” supports good most, and no word opposes it.")


def compared(means, spread=0.001, runs=3):
    draw = np.random.default_rng(0)
    pairs = list(combinations("abcdefgh"[:runs], 2))
    return [
        Similarity(
            "words",
            name,
            "Pearson",
            {
                pair: around(mean + spread * noise)
                for pair, noise in zip(pairs, draw.standard_normal(len(pairs)), strict=True)
            },
            mean + 0.001 * draw.standard_normal((len(pairs), 400)),
            around(mean),
            mean + spread * draw.standard_normal(400),
        )
        for name, mean in means.items()
    ]


@pytest.mark.parametrize(
    "means, spread, verdict, text",
    [
        ((0.9, 0.9, 0.8, 0.7), 0.001, "agree", "The agreement of mean word scores across "
         f"seeds is in the paper's order: {GS}, {GI}, {LRP} and {LAT}, from highest to lowest."),
        ((0.9, 0.9, 0.7, 0.8), 0.001, "disagree", "The agreement of mean word scores across "
         f"seeds is not in the paper's order: it is lower for {LRP} than for {LAT}."),
        ((0.95, 0.9, 0.8, 0.7), 0.001, "disagree", "The agreement of mean word scores across "
         f"seeds is not in the paper's order: {GS} and {GI} differ by 0.05."),
        ((0.9, 0.89, 0.8, 0.81), 0.5, "cannot tell", "It cannot be decided whether the agreement "
         "of mean word scores across seeds is in the paper's order; here the order is "
         f"{GS}, {GI}, {LAT} and {LRP}, from highest to lowest."),
    ],
)  # fmt: skip
def test_seeds(means, spread, verdict, text):
    own = compared(dict(zip(METHODS, means, strict=True)), spread)
    found = seeds._paper_finding(own, SETTINGS, 3)
    assert (found.verdict, found.text) == (verdict, text)


def test_how_many_seeds_are_needed():
    """As many as bring the error over models and texts down enough; unknown below four models."""
    effects, runs = np.array([0.3, -0.2, 0.1, -0.2, 0.0]), 5
    pairs = np.array([0.1 + effects[i] + effects[j] for i, j in combinations(range(runs), 2)])
    texts = np.random.default_rng(0).normal(0.1, 0.01, 20_000)
    power = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    # a mean over pairs of sums of two effects has four times the variance of their mean
    needed = 4 * effects.var(ddof=1) / ((0.1 / power) ** 2 - texts.var(ddof=1))
    assert seeds_needed(pairs, texts, runs) == np.ceil(needed)
    assert seeds_needed(pairs, 10 * texts, runs) == inf
    assert seeds_needed(pairs[:3], texts, 3) is None


@pytest.mark.parametrize(
    "runs, told",
    [
        (2, "cannot be estimated from 2 models; at least four models are needed"),
        (3, "cannot be estimated from 3 models; at least four models are needed"),
        (5, ": about "),
    ],
)
def test_a_claim_about_seeds_says_how_many_are_needed(runs, told):
    own = compared(dict(zip(METHODS, (0.9, 0.89, 0.8, 0.7), strict=True)), 0.5, runs)
    found = seeds._paper_finding(own, SETTINGS, runs)
    assert found.verdict == "cannot tell" and told in found.evidence
    assert "texts would be needed" not in found.evidence


def trained(name, **changes):
    training = {
        "seed_everything": changes.pop("seed", 0),
        "model": {"learning_rate": 2e-5},
        "data": {"path": "data", "seed": len(changes)},
        "trainer": {"logger": {"save_dir": name}, "default_root_dir": name, "max_epochs": 3},
        "checkpoint": {"dirpath": name, "monitor": "val/loss"},
        **changes,
    }
    return SimpleNamespace(name=name, source=SimpleNamespace(training=training))


def test_runs_that_differ_in_more_than_their_seed_are_named():
    unknown = SimpleNamespace(name="hub", source=SimpleNamespace(training=None))
    assert not other_differences([trained("a"), trained("b", seed=1), unknown])
    assert not [*_differences_finding([])]
    differences = other_differences(
        [trained("a"), trained("b", seed=1, model={"learning_rate": 1e-3, "freeze": [0]}), unknown]
    )
    assert differences == [
        "model.learning_rate (a: 2e-05, b: 0.001)", "model.freeze.0 (a: not set, b: 0)"
    ]  # fmt: skip
    (found,) = _differences_finding(differences)
    assert "not only in their seed, but also in model.learning_rate (a: 2e-05" in found.text


def test_one_method_alone_is_not_the_best_of_any():
    own = [
        SimpleNamespace(
            method=name,
            measure="Spearman",
            pairs={("one", "other"): around(0.4)},
            mean=around(0.4),
        )
        for name in (GS, LRP)
    ]
    (alone,) = transfer._best_findings(own[:1], SETTINGS, 20)
    assert alone.text == (
        f"By {GS}, mean word scores correlate with Spearman's rho 0.40 between one and other."
    )
    (best,) = transfer._best_findings(own, SETTINGS, 20)
    assert best.text.startswith(f"Of the unsigned methods, {GS} gives the most similar mean word")
    spearman = [replace(one, measure="Spearman") for one in compared({GS: 0.9, LRP: 0.8})]
    (alone,) = seeds._best_findings(spearman[:1], SETTINGS)
    assert alone.text == f"By {GS}, mean word scores agree across seeds with Spearman's rho 0.90."
    (best,) = seeds._best_findings(spearman, SETTINGS)
    assert best.text.startswith(f"Of the unsigned methods, {GS} agrees most across seeds in mean")
