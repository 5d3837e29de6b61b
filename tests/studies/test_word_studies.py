"""Word rank, seeds and transfer against loops over single sentences."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bertx
from bertx.attribution import (
    LRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.statistics.words import word_sums
from bertx.studies import Parts, Settings, Store, authors, explained, paper
from bertx.studies.lexicon import read_lexicon
from bertx.studies.ranked_words import WordRankOptions
from bertx.studies.scores import Draws, draws_of, normalized
from bertx.studies.seeds import STUDY as SEEDS
from bertx.studies.seeds import SeedsOptions, seeds
from bertx.studies.similarity import TEXTS, similarity
from bertx.studies.transfer import STUDY as TRANSFER
from bertx.studies.transfer import TransferOptions, transfer
from bertx.studies.word_rank import STUDY as WORD_RANK
from bertx.studies.word_rank import word_rank
from tests.studies.oracles import auc, correlation, of_class, unit_scores, word_means
from tests.studies.runs import LEXICON, save_lexicon
from tests.studies.subjects import subject, texts

METHODS = {"gi": GradientXInput(), "gs": GradientSensitivity()}
SETTINGS = Settings(methods=METHODS, resamples=100, minimum_count=3)
CLOSE = {"rtol": 1e-8, "atol": 1e-10}
MEASURES = ("Pearson", "Spearman", "Kendall", "top-k")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Leave out figures, which take most of the time and are tested elsewhere."""
    for name in ("word_rank._pictures", "seeds._pictures", "transfer._picture"):
        monkeypatch.setattr(f"bertx.studies.{name}", lambda *_: [])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "study", {})


def rows(findings, **wanted):
    """Return the rows of the long table with these values."""
    return [
        row
        for row in findings.values.to_pylist()
        if all(row[name] == value for name, value in wanted.items())
    ]


def value(findings, **wanted):
    (row,) = rows(findings, **wanted)
    return row["value"]


@pytest.fixture(scope="module")
def three():
    return [subject(f"m{seed}", seed, SETTINGS, count=21) for seed in range(3)]


def test_word_rank_of_all_classes_and_runs(three, store, tmp_path):
    lexicon = read_lexicon(Path(save_lexicon(tmp_path / "lexicon.txt")))
    settings = Settings(methods=METHODS, resamples=100, minimum_count=3, target="all")
    found = word_rank(three[:2], settings, store, WordRankOptions(lexicon, top=5))
    for method, signed in (("gi", True), ("gs", False)):
        runs = [list(unit_scores(one, settings, method, "all")) for one in three[:2]]
        for number, label in enumerate(three[0].classes):
            means = [word_means(of_class(own, number), settings) for own in runs]
            expected = {word: (means[0][word][0] + means[1][word][0]) / 2 for word in means[0]}
            ours = {row["word"]: row for row in rows(found, method=method, **{"class": label})}
            assert set(ours) == set(expected) and {r["signed"] for r in ours.values()} == {signed}
            for word, row in ours.items():
                np.testing.assert_allclose(row["score"], expected[word], **CLOSE)
                assert row["occurrences"] == means[0][word][1]
            sizes, known = [abs(s) for s in expected.values()], [w in LEXICON for w in expected]
            np.testing.assert_allclose(
                found.numbers[f"auc/{method}/{label}"], auc(sizes, known), **CLOSE
            )
    first = next(own.text for own in found.findings if own.text.startswith("By gi, "))
    positive = three[0].classes[-1]
    assert f" {positive} most, and " in first
    assert not any(f" {other} most, and " in own.text for own in found.findings
                   for other in three[0].classes if other != positive)  # fmt: skip
    highest = sorted(expected, key=expected.get, reverse=True)
    table = next(t for t in found.tables if t.name == f"words-gs-{label}")
    assert [row[1] for row in table.rows] == highest[:5]
    assert [row[5] for row in table.rows] == highest[::-1][:5]


def test_signs_agree_with_the_valence_towards_the_positive_class(three, store, tmp_path):
    lexicon = read_lexicon(Path(save_lexicon(tmp_path / "lexicon.txt")))
    settings = Settings(methods=METHODS, resamples=100, minimum_count=3, target="all")
    found = word_rank(three[:1], settings, store, WordRankOptions(lexicon))
    runs = list(unit_scores(three[0], settings, "gi", "all"))
    for number, side in ((0, -1), (2, 1)):
        means = word_means(of_class(runs, number), settings)
        label = three[0].classes[number]
        shares = [
            np.mean([np.sign(means[w][0]) == np.sign(v * side) for w, v in LEXICON.items()
                     if w in means and v * kind > 0])
            for kind in (1, -1)
        ]  # fmt: skip
        np.testing.assert_allclose(found.numbers[f"sign/gi/{label}"], np.mean(shares), **CLOSE)
    assert f"sign/gi/{three[0].classes[1]}" not in found.numbers
    assert not [key for key in found.numbers if key.startswith("sign/gs")]


def test_seeds_word_by_word_and_text_by_text(three, store):
    found = seeds(three, SETTINGS, store, SeedsOptions(top=2, top_words=5))
    for method in METHODS:
        runs = [list(unit_scores(one, SETTINGS, method, "predicted")) for one in three]
        means = [word_means(of_class(own), SETTINGS) for own in runs]
        words = sorted(means[0])
        for measure in MEASURES:
            of_words, of_texts, alike = [], [], []
            for i, j in ((0, 1), (0, 2), (1, 2)):
                pair = {"method": method, "measure": measure, "run": f"m{i}", "other": f"m{j}"}
                a, b = ([means[k][word][0] for word in words] for k in (i, j))
                of_words.append(correlation(measure, a, b, 5))
                ours = value(found, level="pair", of="words", **pair)
                np.testing.assert_allclose(ours, of_words[-1], **CLOSE)
                each = [
                    correlation(measure, one[1][0], other[1][0], 2)
                    for one, other in zip(runs[i], runs[j], strict=True)
                ]
                ours = [row["value"] for row in rows(found, level="text", **pair)]
                np.testing.assert_allclose(np.asarray(ours, float), each, **CLOSE)
                of_texts.append(np.nanmean(each))
                same = [a[2] == b[2] for a, b in zip(runs[i], runs[j], strict=True)]
                alike.append(np.nanmean(np.asarray(each)[same]))
            for of, expected in (
                ("words", of_words), ("texts", of_texts), ("texts, same prediction", alike),
            ):  # fmt: skip
                key = f"{of}/{measure}/{method}"
                np.testing.assert_allclose(found.numbers[key], np.mean(expected), **CLOSE)
    predicted = [[row[2] for row in own] for own in runs]
    same = [np.mean(np.equal(predicted[i], predicted[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found.numbers["prediction_agreement"], np.mean(same), **CLOSE)


def test_what_is_no_word_is_not_frequent():
    table = word_sums(["", "so", "", "so"], [0, 0, 1, 1], [1.0] * 4, 2)
    assert table.frequent(2).words == ("so",)


def test_transfer_of_common_words(three, store):
    elsewhere = subject("e", 3, SETTINGS, count=24, labels=3, texts_seed=1)
    both = [three[0], elsewhere]
    found = transfer(both, SETTINGS, store, TransferOptions(10))
    for method in METHODS:
        means = [
            word_means(of_class(unit_scores(one, SETTINGS, method, "predicted")), SETTINGS)
            for one in both
        ]
        common = sorted(set(means[0]) & set(means[1]))
        assert found.numbers["common_words"] == len(common)
        a, b = ([own[word][0] for word in common] for own in means)
        for measure in ("Pearson", "Spearman"):
            ours = value(found, level="pair", method=method, measure=measure)
            np.testing.assert_allclose(ours, correlation(measure, a, b, 0), **CLOSE)


def test_nothing_is_found_out_about_the_random_control(three, store, tmp_path):
    """It agrees with itself for any models; as a floor it is part of the evidence."""
    lexicon = read_lexicon(Path(save_lexicon(tmp_path / "lexicon.txt")))
    settings = replace(SETTINGS, methods={"gs": GradientSensitivity(), "floor": Random()})
    studies = (
        word_rank(three[:1], settings, store, WordRankOptions(lexicon, top=5)),
        seeds(three[:2], settings, store, SeedsOptions()),
        transfer(three[:2], settings, store, TransferOptions(minimum_common=3)),
    )
    for found in studies:
        texts = [finding.text for finding in found.findings]
        assert not [text for text in texts if "floor" in text]
        assert [text for text in texts if "gs" in text]
    assert "floor 0." in next(f.evidence for f in studies[0].findings if "lexicon" in f.text)


def test_transfer_explains_one_class_so_that_signs_mean_the_same():
    assert TRANSFER.presets["default"].target == TRANSFER.presets["authors"].target == "last"


def test_intervals_hold_the_value_and_follow_from_the_seed(three, tmp_path):
    options = SeedsOptions(top_words=5)

    def found(name, seed=0):
        settings = replace(SETTINGS, methods={"gs": GradientSensitivity()}, seed=seed)
        return seeds(three[:2], settings, Store(tmp_path / name, {}, tmp_path / "scores"), options)

    one, again, other = found("a"), found("b"), found("c", seed=1)
    assert one.values.equals(again.values) and not one.values.equals(other.values)
    assert one.numbers == other.numbers
    for row in rows(one, level="mean") + rows(one, level="pair"):
        assert row["low"] <= row["value"] <= row["high"] and row["low"] < row["high"]


def test_the_mean_over_pairs_has_an_interval_of_its_own():
    values, noise = np.array([0.2, 0.5, 0.8]), np.random.default_rng(0).normal(0, 0.1, (3, 400))
    draws = Draws("abc", [noise.T] * 3)
    found = similarity(TEXTS, "gs", "Pearson", values, values[:, None] + noise, draws)
    half = 1.96 * noise.mean(0).std(ddof=1)
    assert found.mean == pytest.approx((0.5, 0.5 - half, 0.5 + half), rel=1e-3)


def test_what_cannot_be_compared_is_refused(three):
    alone, twins = three[:1], [three[0], subject("twin", 0, SETTINGS, count=21)]
    elsewhere = subject("e", 3, SETTINGS, count=24, texts_seed=1)
    with pytest.raises(InputError, match="seeds: expected 2 runs or more to compare, got 1"):
        SEEDS.validate(alone, SETTINGS, SeedsOptions())
    for study in (SEEDS, TRANSFER, WORD_RANK):
        with pytest.raises(InputError, match="m0 and twin are the same model on the same texts"):
            study.validate(twins, SETTINGS, study.options)
    with pytest.raises(InputError, match="seeds needs runs with the same texts, but m0 has 21"):
        SEEDS.validate([three[0], elsewhere], SETTINGS, SeedsOptions())
    with pytest.raises(InputError, match=r"at least 99 words.* in the texts of each of m0, e, but"):
        TRANSFER.validate([three[0], elsewhere], SETTINGS, TransferOptions(99))
    every = Settings(methods=METHODS, target="all")
    for study in (SEEDS, TRANSFER):
        with pytest.raises(InputError, match=r"target all: .* Expected predicted, gold or last"):
            study.validate(three, every, study.options)


def test_a_word_without_a_valence_is_in_no_lexicon(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("good\t2\nbad\t-1\nso\t1\nso\t-1\n")
    lexicon = read_lexicon(path)
    assert set(lexicon.valences) == {"good", "bad"} and lexicon.size == 2


@pytest.mark.parametrize(
    ("name", "least"),
    {"texts": 1, "shortest": 1, "max_length": 3, "minimum_count": 1, "resamples": 100}.items(),
)
def test_numbers_that_are_too_small_are_refused(name, least):
    Settings(**{name: least})
    with pytest.raises(InputError, match=f"{name}: expected at least {least}, got {least - 1}"):
        Settings(**{name: least - 1})


def test_a_lexicon_of_other_words_is_refused(three, tmp_path):
    lexicon = read_lexicon(Path(save_lexicon(tmp_path / "l.txt", {"gut": 2.0, "schlecht": -2.0})))
    with pytest.raises(InputError, match=r"of them 0 are positive and 0 negative"):
        WORD_RANK.validate(three[:1], SETTINGS, WordRankOptions(lexicon))


def test_words_that_are_left_out_are_in_no_table(three, store):
    found = word_rank(three[:1], SETTINGS, store, WordRankOptions(stop_words=("the", "film")))
    assert not {"the", "film"} & {row["word"] for row in rows(found)}


def test_leagues_are_not_compared_for_the_paper(three, tmp_path):
    """Signed gradient × input is not the paper's, and a note says that it is left out."""
    lexicon = read_lexicon(Path(save_lexicon(tmp_path / "lexicon.txt")))
    store, gs, gi = Store(tmp_path / "s", {}), GradientSensitivity(), GradientXInput()
    methods = {"GradientSensitivity": gs, "GradientXInput": gi, "LRP": LRP(),
               "LayerwiseAttentionTracing": LayerwiseAttentionTracing()}  # fmt: skip
    settings = Settings(methods=methods, resamples=100, minimum_count=3)
    ranked = word_rank(three[:1], settings, store, WordRankOptions(lexicon)).findings[-1]
    compared = seeds(three[:2], settings, store, SeedsOptions(top_words=5)).findings[-1]
    for finding in (ranked, compared):
        assert finding.verdict in ("agree", "disagree", "cannot tell") and finding.paper
        assert "Not compared, because signed here but not in the paper: GradientXInput" in (
            finding.evidence
        )
        assert "LRP - LayerwiseAttentionTracing" in finding.evidence
        assert "GradientXInput -" not in finding.evidence


def test_the_authors_take_the_first_texts_pieces_and_the_last_class(store):
    """Absolute scores of word pieces for the last class, in texts of ten or more pieces."""
    settings = replace(authors(12), resamples=100, minimum_count=2)
    one = subject("a", 3, settings, own=[Text(f"{text.text} unbelievable", text.label)
                                           for text in texts(20)])  # fmt: skip
    model, tokenizer = one.open()
    first = [f"{text.text} unbelievable" for text in texts(20)][:12]
    kept = [text for text in first if len(tokenizer.tokenize(text)) >= 10]
    assert [text.text for text in one.texts] == kept and 0 < len(kept) < 12
    found = word_rank([one], settings, store, WordRankOptions())
    rows_of, predicted = defaultdict(list), set()
    for text in kept:
        told = bertx.explain(model, tokenizer, [text], settings.methods, 2, "token")[0]
        predicted.add(told.predicted)
        for method, scores in told.scores.items():
            rows_of[method].append((tokenizer.tokenize(text), np.abs(scores)))
    assert set(rows_of) == set(paper.METHODS) and len(predicted) > 1
    for method, own in rows_of.items():
        expected = word_means(own, settings)
        ours = {row["word"]: row["score"] for row in rows(found, method=method)}
        assert "##able" in ours and set(ours) == set(expected)
        for word, (mean, _) in expected.items():
            np.testing.assert_allclose(ours[word], mean, **CLOSE)


def test_models_on_the_same_texts_share_the_draws_and_others_have_their_own(three):
    elsewhere = subject("e", 3, SETTINGS, count=21, texts_seed=1)
    one, other, apart = draws_of([three[0], three[1], elsewhere], SETTINGS).texts
    assert np.array_equal(one, other) and not np.array_equal(one, apart)
    assert np.array_equal(
        draws_of([elsewhere], SETTINGS).texts[0], apart
    )  # whatever comes before it
    assert one.shape == apart.shape == (100, 21)


def test_scores_lose_their_sign_where_that_is_asked_for(three, tmp_path):
    found = explained(three[0], SETTINGS, "predicted", Parts(tmp_path))
    plain = normalized(found, replace(SETTINGS, scale="none"), "gi")
    bare = normalized(found, replace(SETTINGS, scale="none", signs=False), "gi")
    assert (plain < 0).any() and np.array_equal(bare, abs(plain))
