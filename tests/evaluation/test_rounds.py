"""Asking until it is decided: whom, how many texts, and that what is measured stays the same."""

import logging
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from bertx.attribution import GradientXInput, Occlusion, Random
from bertx.errors import InputError
from bertx.evaluation import judge
from bertx.evaluation.rounds import Rounds
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue
from bertx.metrics import Comprehensiveness, DeletionCurve, LogOdds
from bertx.statistics import MINIMUM, compare_in_order
from bertx.statistics.sequential import chance_of_verdict
from tests.tiny import tiny_model, tiny_tokenizer

WORDS = "the film was great a good book but never really dull plot acting movie awful and".split()
TEXTS = [
    " ".join(WORDS[(3 * n + 5 * k) % len(WORDS)] for k in range(3 + n % 6)) for n in range(130)
]


class Reversed(Occlusion):
    """Ranks the words that matter least first."""

    def scores(self, trace):
        return -super().scores(trace)


METHODS = {"best": Occlusion(), "again": Occlusion(), "worst": Reversed(), "chance": Random()}
METRICS = {"deletion_auc": DeletionCurve(), "comp": Comprehensiveness()}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def decided(model):
    call = partial(judge, model, tiny_tokenizer(), TEXTS, METHODS, METRICS)
    return call(confidence=0.9, relevant=1e-7, ceiling_examples=2)


def asked(verdicts, metric):
    """How many texts each method was asked about."""
    return Counter(v.method for v in verdicts.values if v.metric == metric)


def verdicts_of(verdicts):
    [board, _] = verdicts.leaderboards(1e-7)
    return {frozenset((v.better, v.worse)): v for v in board.signed.verdicts}


def test_what_is_clear_stops_early_and_is_right(decided):
    found = verdicts_of(decided)
    clear = found[frozenset(("best", "worst"))]
    assert (clear.better, clear.verdict) == ("best", "beats")
    assert MINIMUM <= clear.count < len(TEXTS) and clear.low > 0
    assert max(asked(decided, "deletion_auc").values()) < len(TEXTS)


def test_everything_is_asked_of_the_first_portion_and_the_rest_in_the_same_order(decided):
    rows = [v for v in decided.values if v.metric == "deletion_auc" and v.role != "ceiling"]
    texts = list(dict.fromkeys(v.example for v in rows))
    assert texts == Rounds(0.9).shuffled(range(len(TEXTS)))[: len(texts)]
    for method, count in asked(decided, "deletion_auc").items():
        if method != "ceiling":
            assert [v.example for v in rows if v.method == method] == texts[:count]
    searched = [v.example for v in decided.values if v.role == "ceiling"]
    assert set(searched) == set(texts[:2])


def test_values_are_those_of_all_texts(model, decided):
    whole = judge(model, tiny_tokenizer(), TEXTS, METHODS, METRICS, ceiling_examples=0)
    every = {(v.metric, v.method, v.example): v.value for v in whole.values}
    for value in decided.values:
        if value.role == "method":
            expected = every[value.metric, value.method, value.example]
            assert value.value == pytest.approx(expected, abs=1e-12)
    assert len(decided.values) < len(whole.values)


def test_means_and_counts_are_of_what_was_asked(decided):
    estimates = decided.estimates["mask"]
    for metric in METRICS:
        for method, count in asked(decided, metric).items():
            if method != "ceiling":
                own = [v.value for v in decided.values if (v.metric, v.method) == (metric, method)]
                estimate = estimates.means[metric][method]
                assert estimate.value_count == count == len(own)
                assert float(estimate.value) == pytest.approx(sum(own) / count)
    rows = {row.method: row.count for row in estimates.results(decided.signed)}
    counts = [asked(decided, metric) for metric in METRICS]
    assert rows == {name: max(count[name] for count in counts) for name in METHODS}


def test_equal_methods_have_no_relevant_difference(model):
    methods = {"best": Occlusion(), "again": Occlusion(), "chance": Random()}
    found = judge(model, tiny_tokenizer(), TEXTS, methods, METRICS, confidence=0.9, relevant=0.9,
                  ceiling_examples=30)  # fmt: skip
    pair = found.leaderboards(0.9)[0].signed.verdicts[0]
    assert {pair.better, pair.worse} == {"best", "again"}
    assert pair.verdict == "no relevant difference" and pair.count == MINIMUM
    assert asked(found, "comp") == dict.fromkeys([*methods, "ceiling"], 30)  # all with a ceiling
    text = found.markdown()
    assert "90% confidence" in text and "bootstrap" not in text


class Counted(Occlusion):
    """Counts the texts that it explains."""

    def __init__(self, sign):
        super().__init__()
        self.sign, self.texts = sign, 0

    def scores(self, trace):
        self.texts += len(trace.inputs)
        return self.sign * super().scores(trace)


def test_each_portion_is_asked_what_those_before_it_leave_open(model, monkeypatch):
    rounds, opened, whom = Rounds(0.9, relevant=1e-7), [], Rounds.undecided

    def counting(self, values, count, of):
        opened.append((count, of))
        return whom(self, values, count, of)

    methods = {"best": Counted(1), "worst": Counted(-1), "chance": Random()}
    metrics = {"deletion_auc": DeletionCurve(), "log_odds": LogOdds([0.3])}
    with monkeypatch.context() as patched:
        patched.setattr(Rounds, "undecided", counting)
        found = judge(model, tiny_tokenizer(), TEXTS, methods, metrics, ("mask", "zero"),
                      confidence=0.9, relevant=1e-7, ceiling_examples=0)  # fmt: skip
    order = rounds.shuffled(range(len(TEXTS)))
    expected = {(m, o): set(methods) for m in metrics for o in ("mask", "zero")}
    seen, explained, different = [], Counter(), set()
    for portion in rounds.portions(order):
        counts = Counter(
            (v.metric, v.operator, v.method) for v in found.values if v.example in portion
        )
        assert counts == {(*key, m): len(portion) for key, own in expected.items() for m in own}
        for name in set().union(*expected.values()):
            explained[name] += len(portion)
        different.add(tuple(map(len, expected.values())))
        seen += portion if any(expected.values()) else []
        before = [v for v in found.values if v.example in seen]
        expected = rounds.undecided(before, len(seen), len(TEXTS))
    assert len(different) > 2, "all stop at once: nothing is told apart"
    assert opened == [(count, len(TEXTS)) for count in range(20, len(seen) + 1, 20)]
    assert len(seen) < len(TEXTS)
    assert {name: methods[name].texts for name in ("best", "worst")} == {
        name: explained[name] for name in ("best", "worst")
    }
    assert explained["worst"] < explained["best"]


def test_methods_that_have_stopped_cost_nothing(model, monkeypatch):
    """Neither what they need of the forwards, nor the plain forwards that tell their cost."""
    left = {("deletion_auc", "mask"): {"best", "worst"}}
    monkeypatch.setattr(Rounds, "undecided", lambda *_: left)
    forwards, plain = [], []
    monkeypatch.setattr("bertx.evaluation.forwards.plain_seconds", lambda *_: plain.append(1) or 1)
    note = model.register_forward_hook(lambda *_: forwards.append(torch.is_grad_enabled()))
    methods = {"best": Occlusion(), "worst": Reversed(), "gi": GradientXInput(), "r": Random()}
    try:
        found = judge(model, tiny_tokenizer(), TEXTS[: 3 * MINIMUM], methods, METRICS,
                      confidence=0.9, ceiling_examples=0)  # fmt: skip
    finally:
        note.remove()
    counts = asked(found, "deletion_auc")
    assert (counts["best"], counts["gi"]) == (3 * MINIMUM, MINIMUM)
    assert forwards.count(True) == len(plain) == 1  # of the first texts, which are one chunk
    assert found.estimates["mask"].costs.keys() == methods.keys()


def rows(values):
    """Values of methods a, b, ... by one metric, in order."""
    for number, row in enumerate(values):
        for method, value in zip("abc", row, strict=False):
            yield ExampleValue(number, 0, method, True, "method", "mask", "auc", True, value)


def test_methods_of_pairs_that_are_open_are_asked_and_no_other():
    close = [(0.5 + 0.2 * (-1) ** n, 0.52, 0.1 + 0.01 * (n % 3)) for n in range(40)]
    rounds = Rounds(0.95, relevant=0.01)
    assert rounds.undecided(list(rows(close)), 40, 10_000) == {("auc", "mask"): {"a", "b"}}
    clear = [(a + 0.4, b, c) for a, b, c in close]
    assert rounds.undecided(list(rows(clear)), 40, 10_000) == {("auc", "mask"): set()}


def test_what_is_open_follows_from_the_settings():
    near = list(rows([(0.5 + 0.05 * (-1) ** n, 0.52) for n in range(60)]))
    assert Rounds(0.95, relevant=0.01).undecided(near, 60, 10_000)["auc", "mask"] == {"a", "b"}
    assert Rounds(0.95, relevant=0.3).undecided(near, 60, 10_000)["auc", "mask"] == set()
    better = list(rows([(0.6 + 0.2 * (-1) ** n, 0.52) for n in range(60)]))
    assert Rounds(0.5).undecided(better, 60, 10_000)["auc", "mask"] == set()
    assert Rounds(0.999).undecided(better, 60, 10_000)["auc", "mask"] == {"a", "b"}


def test_whom_it_is_worth_to_ask_follows_from_the_chance_of_a_verdict():
    rng = np.random.default_rng(0)
    means = {"a": 0.55, "b": 0.5, "c": 0.4}
    values = {name: rng.normal(mean, 0.2, 40) for name, mean in means.items()}
    given, rounds = list(rows(zip(*values.values(), strict=True))), Rounds(0.9, relevant=0.01)
    pairs = compare_in_order(values, True, 0.01, 0.1)
    answers = set()
    for of in range(41, 400, 3):
        expected = {
            name
            for pair in pairs
            if pair.verdict == "too few examples"
            if chance_of_verdict(pair.difference, pair.detectable, 40, of, 0.01, 0.1 / 3) > 0.2
            for name in (pair.better, pair.worse)
        }
        assert rounds.undecided(given, 40, of)["auc", "mask"] == expected, of
        answers.add(frozenset(expected))
    assert {len(names) for names in answers} == {2, 3}


def test_values_count_in_the_order_in_which_texts_were_drawn():
    first = [(1.0, 0.1 * (n % 2)) for n in range(30)]
    then = [(0.0, 0.9 - 0.1 * (n % 2)) for n in range(30)]
    backwards = [replace(v, example=59 - v.example) for v in rows(first + then)]
    [board] = leaderboards({"": backwards}, confidence=0.95)
    [pair] = board.signed.verdicts
    assert (pair.better, pair.verdict, pair.count) == ("a", "beats", MINIMUM)


def test_what_is_unlikely_to_be_decided_is_not_asked():
    rounds = Rounds(0.95, relevant=0.01)
    apart = [(0.5 + 0.2 * (-1) ** n, 0.5) for n in range(60)]
    assert rounds.undecided(list(rows(apart)), 60, 80)["auc", "mask"] == set()
    assert rounds.undecided(list(rows(apart)), 60, 100_000)["auc", "mask"] == {"a", "b"}
    missing = [(float("nan"), 0.5)] * 60
    assert rounds.undecided(list(rows(missing)), 60, 100_000)["auc", "mask"] == set()
    rare = [(0.5 if n % 10 == 0 else float("nan"), 0.6 + 0.2 * (-1) ** n) for n in range(60)]
    assert rounds.undecided(list(rows(rare)), 60, 190)["auc", "mask"] == set()  # 19 have values
    assert rounds.undecided(list(rows(rare)), 60, 400)["auc", "mask"] == {"a", "b"}


def test_portions_are_all_texts_and_grow():
    parts = list(Rounds(0.95, first=30).portions(range(1000)))
    assert [n for part in parts for n in part] == list(range(1000))
    sizes = list(map(len, parts))
    assert sizes[0] == 30
    for number, size in enumerate(sizes[1:-1], 1):
        assert size == max(MINIMUM, sum(sizes[:number]) // 4)
    assert list(map(len, Rounds(0.95).portions(range(7)))) == [7]


def test_texts_are_drawn_at_random_and_the_same_each_time():
    drawn = Rounds(0.95).shuffled(range(1000))
    assert sorted(drawn) == list(range(1000)) and drawn == Rounds(0.9).shuffled(range(1000))
    rho = np.corrcoef(drawn, range(1000))[0, 1]
    assert abs(rho) < 0.1 and abs(np.mean(drawn[:100]) - 500) < 100


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"confidence": 1.0}, "confidence must be between 0 and 1"),
        ({"confidence": 0.95, "relevant": 0.0}, "relevant must be above 0"),
        ({"confidence": 0.95, "ceiling_examples": None}, "ceiling_examples: expected a number"),
    ],
)
def test_what_cannot_be_decided_is_refused(model, settings, said):
    with pytest.raises(InputError, match=said):
        judge(model, tiny_tokenizer(), TEXTS, METHODS, METRICS, **settings)


def test_a_text_that_cannot_be_judged_changes_no_other(model, caplog):
    texts = [*TEXTS[:40], "", *TEXTS[40:]]
    with caplog.at_level(logging.WARNING, "bertx"):
        found = judge(model, tiny_tokenizer(), texts, METHODS, METRICS, confidence=0.9,
                      relevant=1e-7, ceiling_examples=0)  # fmt: skip
    assert found.skipped == {40: "it has no words"}
    assert verdicts_of(found)[frozenset(("best", "worst"))].verdict == "beats"
