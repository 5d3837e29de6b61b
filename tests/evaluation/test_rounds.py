"""Asking until it is decided: whom, how many texts, and that what is measured stays the same."""

import logging
from collections import Counter
from functools import partial

import pytest
import torch

from bertx.attribution import GradientXInput, Occlusion, Random
from bertx.errors import InputError
from bertx.evaluation import judge
from bertx.evaluation.rounds import Rounds
from bertx.leaderboard.example_values import ExampleValue
from bertx.metrics import Comprehensiveness, DeletionCurve, LogOdds
from bertx.statistics import MINIMUM
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
    assert texts == Rounds(0.9).drawn(range(len(TEXTS)))[: len(texts)]
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
                  ceiling_examples=0)  # fmt: skip
    pair = found.leaderboards(0.9)[0].signed.verdicts[0]
    assert {pair.better, pair.worse} == {"best", "again"}
    assert pair.verdict == "no relevant difference" and pair.count == MINIMUM
    text = found.markdown()
    assert "90% confidence" in text and "bootstrap" not in text


def test_operators_and_metrics_are_asked_apart(model):
    methods = {"best": Occlusion("mask"), "worst": Reversed("mask"), "chance": Random()}
    metrics = {"deletion_auc": DeletionCurve(), "log_odds": LogOdds([0.3])}
    found = judge(model, tiny_tokenizer(), TEXTS, methods, metrics, ("mask", "zero"),
                  confidence=0.9, relevant=1e-7, ceiling_examples=0)  # fmt: skip
    counts = {(v.metric, v.operator) for v in found.values}
    assert counts == {(m, o) for m in metrics for o in ("mask", "zero")}
    asked_of = Counter((v.metric, v.operator, v.method) for v in found.values)
    for board in found.leaderboards(1e-7):
        for pair in board.signed.verdicts:
            own = [asked_of[board.metric, board.operator, m] for m in (pair.better, pair.worse)]
            assert pair.count <= min(own)


def test_methods_that_have_stopped_cost_nothing(model, monkeypatch):
    """Neither what they need of the forwards, nor the plain forwards that tell their cost."""
    left = {("deletion_auc", "mask"): {"best", "worst"}}
    monkeypatch.setattr(Rounds, "open", lambda *_: left)
    forwards, plain = [], []
    monkeypatch.setattr("bertx.evaluation.verdicts.plain_seconds", lambda *_: plain.append(1) or 1)
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
    assert rounds.open(list(rows(close)), 40, 10_000) == {("auc", "mask"): {"a", "b"}}
    clear = [(a + 0.4, b, c) for a, b, c in close]
    assert rounds.open(list(rows(clear)), 40, 10_000) == {("auc", "mask"): set()}


def test_what_is_unlikely_to_be_decided_is_not_asked():
    rounds = Rounds(0.95, relevant=0.01)
    apart = [(0.5 + 0.2 * (-1) ** n, 0.5) for n in range(60)]
    assert rounds.open(list(rows(apart)), 60, 80)["auc", "mask"] == set()
    assert rounds.open(list(rows(apart)), 60, 100_000)["auc", "mask"] == {"a", "b"}
    missing = [(float("nan"), 0.5)] * 60
    assert rounds.open(list(rows(missing)), 60, 100_000)["auc", "mask"] == set()


def test_portions_are_all_texts_and_grow():
    parts = list(Rounds(0.95, first=30).portions(range(1000)))
    assert [n for part in parts for n in part] == list(range(1000))
    assert len(parts[0]) == 30 and len(parts) < 22
    assert list(map(len, Rounds(0.95).portions(range(7)))) == [7]


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
    assert found.left_out == {40: "it has no words"}
    assert verdicts_of(found)[frozenset(("best", "worst"))].verdict == "beats"
