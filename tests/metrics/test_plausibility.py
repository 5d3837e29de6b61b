"""Plausibility against loops over single texts, sklearn, and limiting cases."""

import logging
import math
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bertx.attribution import GradientSensitivity, GradientXInput
from bertx.errors import InputError
from bertx.evaluation import judge as judge_texts
from bertx.leaderboard.board import operator_tables
from bertx.leaderboard.page import leaderboard_page
from bertx.leaderboard.terminal import leaderboard_text
from bertx.metrics import (
    PrecisionAtK,
    RationaleAUPRC,
    RationaleF1,
    RationaleIOU,
    Sufficiency,
    average_precision,
    measure_all,
    precision_at_k,
    rationale_f1,
    rationale_iou,
    trapezoid_precision,
)
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.rendering.faithfulness_table import faithfulness_table
from bertx.trace import Needs, Trace
from tests.metrics.texts import Texts
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

METRICS = [RationaleAUPRC, RationaleF1, RationaleIOU, PrecisionAtK]


def undecided(marks):
    return all(marks) or not any(marks)


def curve(scores, marks):
    """(recall, precision) at each threshold, highest first, from (0, 1)."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores), reverse=True):
        chosen = [m for s, m in zip(scores, marks, strict=True) if s >= threshold]
        points.append((sum(chosen) / sum(marks), sum(chosen) / len(chosen)))
    return points


def slow_average_precision(scores, marks):
    points = curve(scores, marks)
    return sum((r - q) * p for (q, _), (r, p) in pairwise(points))


def slow_trapezoid(scores, marks):
    points = curve(scores, marks)
    return sum((r - q) * (p + o) / 2 for (q, o), (r, p) in pairwise(points))


def top(scores, k):
    return sorted(range(len(scores)), key=lambda u: (-scores[u], u))[:k]


def slow_f1(scores, marks):
    result = {u for u in top(scores, sum(marks))}
    truth = {u for u, marked in enumerate(marks) if marked}
    precision, recall = len(result & truth) / len(result), len(result & truth) / len(truth)
    return 2 * precision * recall / (precision + recall) if result & truth else 0.0


def spans(units):
    result = []
    for u in sorted(units):
        if result and u - 1 in result[-1]:
            result[-1].add(u)
        else:
            result.append({u})
    return result


def slow_iou(scores, marks):
    """F1 of one text with the matches of ERASER's partial_match_score."""
    predicted = spans(top(scores, sum(marks)))
    truth = spans(u for u, marked in enumerate(marks) if marked)
    best = [max(len(p & t) / len(p | t) for t in truth) for p in predicted]
    right = sum(iou >= 0.5 for iou in best)
    precision, recall = right / len(predicted), right / len(truth)
    return 2 * precision * recall / (precision + recall) if right else 0.0


def slow_precision(k):
    def value(scores, marks):
        return sum(marks[u] for u in top(scores, k)) / k if len(marks) > k else math.nan

    return value


PAIRS = [
    (average_precision, slow_average_precision),
    (trapezoid_precision, slow_trapezoid),
    (rationale_f1, slow_f1),
    (rationale_iou, slow_iou),
    (precision_at_k, slow_precision(1)),
    (lambda *given: precision_at_k(*given, k=3), slow_precision(3)),
]


def padded(texts):
    """Scores, marks and mask (B, U), with wrong scores and marks outside the mask."""
    width = max(len(scores) for scores, _ in texts)
    scores = torch.full((len(texts), width), 99.0, dtype=torch.float64)
    marks = torch.ones(len(texts), width, dtype=torch.bool)
    own = torch.zeros(len(texts), width, dtype=torch.bool)
    for b, (row, marked) in enumerate(texts):
        scores[b, : len(row)] = torch.tensor(row, dtype=torch.float64)
        marks[b, : len(row)] = torch.tensor(marked)
        own[b, : len(row)] = True
    return scores, marks, own


text = st.lists(
    st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=9
).map(lambda units: ([float(s) for s, _ in units], [m for _, m in units]))  # fmt: skip


@given(st.lists(text, min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_a_loop_over_single_texts_gives_the_same(texts):
    given = padded(texts)
    for function, slow in PAIRS:
        values = function(*given)
        assert values.dtype == torch.float64 and values.shape == (len(texts),)
        for value, (scores, marks) in zip(values.tolist(), texts, strict=True):
            expected = math.nan if undecided(marks) else slow(scores, marks)
            assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(text.filter(lambda row: not undecided(row[1])))
@settings(max_examples=200, deadline=None)
def test_the_areas_are_those_of_sklearn(row):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, marks = row
    given = padded([row])
    precision, recall, _ = metrics.precision_recall_curve(marks, scores)
    expected = metrics.auc(recall, precision)  # as ERASER does
    assert float(trapezoid_precision(*given)) == pytest.approx(expected, abs=1e-12)
    expected = metrics.average_precision_score(marks, scores)
    assert float(average_precision(*given)) == pytest.approx(expected, abs=1e-12)


def test_limits():
    marks = [False, True, True, False, False, False, True, False]
    share = sum(marks) / len(marks)
    perfect, equal = [float(m) for m in marks], [0.3] * 8
    given, constant = padded([(perfect, marks)]), padded([(equal, marks)])
    for function, _ in PAIRS[:4]:
        assert float(function(*given)) == 1
    assert float(precision_at_k(*given, k=3)) == 1 and float(precision_at_k(*given, k=4)) == 0.75
    assert float(average_precision(*constant)) == pytest.approx(share)
    assert float(trapezoid_precision(*constant)) == pytest.approx((1 + share) / 2)
    assert float(rationale_f1(*constant)) == pytest.approx(2 / 3)  # ties go to the left
    worst = padded([([-s for s in perfect], marks)])
    for function in (rationale_f1, rationale_iou, precision_at_k):
        assert float(function(*worst)) == 0


def test_random_scores_have_the_documented_expectation():
    marks = torch.zeros(20000, 10, dtype=torch.bool)
    marks[:, [2, 3, 7]] = True
    own = torch.ones_like(marks)
    scores = torch.rand(marks.shape, dtype=torch.float64)
    assert float(rationale_f1(scores, marks, own).mean()) == pytest.approx(0.3, abs=0.01)
    assert float(precision_at_k(scores, marks, own).mean()) == pytest.approx(0.3, abs=0.01)
    h = sum(1 / i for i in range(1, 11)) / 10
    expected = 2 / 9 * (1 - h) + h
    assert float(average_precision(scores, marks, own).mean()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("predicted", "marked", "expected"),
    [
        ("110000", "011000", 0),  # one of three
        ("111000", "011100", 1),  # two of four
        ("011110", "110011", 0),  # a span over both sides of a gap
        ("111001", "111001", 1),
        ("101100", "011100", 2 / 3),  # one span of two is right: 2 * 1 / (2 + 1)
        ("110010", "110001", 2 / 4),
    ],
)
def test_spans_match_at_half_of_their_union(predicted, marked, expected):
    scores, marks = [float(c) for c in predicted], [c == "1" for c in marked]
    assert float(rationale_iou(*padded([(scores, marks)]))) == pytest.approx(expected)


def test_no_two_predicted_spans_match_one_marked_span():
    """The number of correct spans is bounded by both: all pairs of sets of seven places."""
    size = 7
    sets = [[bool(n >> u & 1) for u in range(size)] for n in range(1, 2**size)]
    for predicted in sets:
        for marked in sets:
            if sum(predicted) == sum(marked) < size:
                p = spans(u for u in range(size) if predicted[u])
                t = spans(u for u in range(size) if marked[u])
                close = [(i, j) for i, a in enumerate(p) for j, b in enumerate(t)
                         if 2 * len(a & b) >= len(a | b)]  # fmt: skip
                assert len({i for i, _ in close}) == len({j for _, j in close}) == len(close)


TEXTS = ["bad film", "the film was unbelievable", "a good book but never great , was it !"]


@pytest.fixture
def texts(tokenizer):
    """Three texts. Only [CLS] is marked in the first, a piece of the last word in the second."""
    batch = tiny_batch(tokenizer, TEXTS)
    inputs, model = Inputs.from_batch(batch), tiny_model()
    rationale = torch.zeros_like(inputs.units, dtype=torch.bool)
    rationale[:, 0] = True  # [CLS], which is no unit
    rationale[1, 5] = True
    rationale[2, [2, 3, 8]] = True
    perturber = Perturber(model, "mask", mask_token_id=4, pad_token_id=0)
    inputs = replace(inputs, rationale=rationale)
    return Texts(perturber, Trace(model, inputs, None, Needs.NOTHING))


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_is_its_function_of_units_and_does_not_run_the_model(kind, texts):
    scores = torch.randn(2, *texts.inputs.units.shape, dtype=torch.float64)
    metric = kind()
    result = measure_all(*texts, list(scores), {"it": metric})["it"]
    assert texts.perturber.work.requested == 0 and not metric.uses_operator
    assert result.shape == (2, 3, len(metric.columns))
    marks = [[3], [1, 2, 7]]
    for method, own in enumerate(scores):
        assert result[method, 0].isnan().all()  # nothing is marked
        for text, marked in enumerate(marks, 1):
            count = int(texts.inputs.unit_counts[text])
            units = [
                float(own[text][texts.inputs.units[text] == u].sum()) for u in range(count)
            ]  # fmt: skip
            row = units, [u in marked for u in range(count)]
            slow = {
                RationaleAUPRC: [slow_trapezoid, slow_average_precision],
                RationaleF1: [slow_f1],
                RationaleIOU: [slow_iou],
                PrecisionAtK: [slow_precision(1)],
            }[kind]
            expected = [function(*row) for function in slow]
            assert result[method, text].tolist() == pytest.approx(expected, abs=1e-12)
    metric.update(result[0])
    assert metric.estimate().value_count == 2
    assert float(metric.estimate().value) == pytest.approx(float(result[0, 1:, -1].mean()))
    assert metric.higher_is_better is True and metric.limit is None


@pytest.mark.parametrize("kind", METRICS)
def test_texts_without_rationales_have_no_value(kind, texts, caplog):
    texts.trace.inputs = replace(texts.inputs, rationale=None)
    scores, metric = [torch.zeros(texts.inputs.units.shape)] * 2, kind()
    with caplog.at_level(logging.WARNING, "bertx"):
        result = measure_all(*texts, scores, {"it": metric})["it"]
        measure_all(*texts, scores, {"it": metric})
    assert result.shape == (2, 3, len(metric.columns)) and result.isnan().all()
    [said] = caplog.messages
    assert kind.__name__ in said and "no rationales" in said
    metric.update(result[0])
    assert metric.estimate().value_count == 0 and metric.estimate().value.isnan()


def test_tables_and_leaderboards_work_for_a_metric_without_values():
    metrics = {"f1": RationaleF1(), "auprc": RationaleAUPRC(), "sufficiency": Sufficiency()}
    methods = {"gi": GradientXInput(), "size": GradientSensitivity()}
    verdicts = judge_texts(
        tiny_model(), tiny_tokenizer(), TEXTS * 7, methods, metrics, ("mask", "remove")
    )
    estimates = verdicts.estimates["mask"]
    logged = {key.split("/")[0] for key in estimates.scalars()}
    assert "sufficiency" in logged and not any("f1" in key or "auprc" in key for key in logged)
    table = faithfulness_table(
        estimates.results(verdicts.signed), {n: m.higher_is_better for n, m in metrics.items()}
    )
    boards = verdicts.leaderboards()
    tables = operator_tables(boards)
    console = Console(file=StringIO(), width=80)
    console.print(table, leaderboard_text(boards, tables))
    page = leaderboard_page(boards, tables)
    for name in metrics:
        assert all(name in text for text in (console.file.getvalue(), page, verdicts.markdown()))
    [board] = [b for b in boards if b.metric == "f1"]
    assert {(s.count, math.isnan(s.mean)) for s in board.signed.standings} == {(0, True)}
    assert {v.verdict for v in board.signed.verdicts} == {"too few examples"}


def test_k_must_be_at_least_one():
    for wrong in (0, -1):
        with pytest.raises(InputError, match="at least 1"):
            PrecisionAtK(wrong)
        with pytest.raises(InputError, match="at least 1"):
            precision_at_k(*padded([([1.0, 2.0], [True, False])]), k=wrong)
    assert PrecisionAtK(5).columns == ("precision@5",)
