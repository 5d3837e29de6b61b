"""The evaluator against single questions, one text and one method at a time."""

import logging
import pickle
from dataclasses import replace
from math import isnan

import pytest
import torch

from bertx.attribution import Attribution, GradientXInput, Occlusion, Random
from bertx.errors import InputError
from bertx.evaluation import Evaluator, check_settings
from bertx.metrics import (
    AccuracyDrop,
    Comprehensiveness,
    DeletionCurve,
    FaithfulnessMetric,
    Infidelity,
    InsertionCurve,
    NormalizedComprehensiveness,
    PrecisionAtK,
    Sufficiency,
)
from bertx.models.inputs import Inputs, spread_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Search
from bertx.trace import Trace
from bertx.trace.needs import Needs
from tests.metrics.texts import Texts
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

TEXTS = ["the film was great", "unbelievable", "a good book but never really great , was it !"]
METHODS = {"gi": GradientXInput(), "occ": Occlusion(), "random": Random()}
CLASSES = ["a", "b", "c"]
NUMBERS = [7, 3, 12]


class Counting(Perturber):
    calls = 0

    def __call__(self, inputs, kept):
        self.calls += 1
        return super().__call__(inputs, kept)


def metrics(points=6):
    return {
        "deletion_auc": DeletionCurve(points),
        "insertion_auc": InsertionCurve(points),
        "comprehensiveness": Comprehensiveness(),
        "sufficiency": Sufficiency(),
    }


def recorded(texts=TEXTS, operator="mask", **known):
    model = tiny_model()
    inputs = Inputs.from_batch(tiny_batch(tiny_tokenizer(), texts), "word", tiny_tokenizer())
    engine = Counting(model, operator, mask_token_id=4, pad_token_id=0)
    return Texts(engine, Trace(model, replace(inputs, **known), None, Needs.GRADIENT))


def evaluated(own, methods=METHODS, asked=None, searched=lambda _: False, numbers=NUMBERS):
    asked = metrics() if asked is None else asked
    evaluator = Evaluator(own.perturber, methods, asked, CLASSES, searched)
    evaluator.add(own.trace, {name: m(own.trace) for name, m in methods.items()}, numbers)
    return evaluator


@pytest.mark.parametrize("operator", ["mask", "remove"])
def test_values_are_those_of_single_questions(operator):
    own = recorded(operator=operator)
    evaluator = evaluated(own)
    found = {(v.metric, v.method, v.example): v for v in evaluator.values}
    assert len(found) == 4 * 3 * 3
    for name, method in METHODS.items():
        scores = method(own.trace)
        for kind, curve in (("deletion", DeletionCurve(6)), ("insertion", InsertionCurve(6))):
            values = curve.measure(*own, scores)
            for row, number in enumerate(NUMBERS):
                value = found[f"{kind}_auc", name, number]
                assert value.value == pytest.approx(float(values[row, -1]), abs=1e-12)
                assert value.target == int(own.target[row]) and value.operator == operator
                assert value.signed is (name != "random")
                assert value.role == ("floor" if name == "random" else "method")


def test_means_gains_and_the_empty_text():
    own = recorded()
    evaluator = evaluated(own)
    estimates = evaluator.compute()
    values = {(v.metric, v.method, v.example): v.value for v in evaluator.values}
    for metric, sign in (("deletion_auc", -1), ("insertion_auc", 1), ("sufficiency", -1)):
        mean = sum(values[metric, "gi", n] for n in NUMBERS) / 3
        assert float(estimates.means[metric]["gi"].value) == pytest.approx(mean, abs=1e-12)
        gains = [sign * (values[metric, "gi", n] - values[metric, "random", n]) for n in NUMBERS]
        gain = estimates.gains[metric]["gi"]
        assert float(gain.mean) == pytest.approx(sum(gains) / 3, abs=1e-12)
        assert "random" not in estimates.gains[metric]
    nothing = torch.zeros(3, 1, int(own.inputs.unit_counts.max()), dtype=torch.bool)
    p = own.perturber(own.inputs, nothing)[:, 0]
    for c, name in enumerate(CLASSES):
        mine = own.target == c
        score = estimates.empty[name]
        expected = float(p[mine, c].mean())
        assert score.mean == pytest.approx(expected, abs=1e-12) or isnan(expected)
        assert (f"fully_perturbed/{name}" in estimates.scalars()) == bool(mine.any())


def test_all_questions_of_a_batch_are_one_call():
    own = recorded()
    methods = {"gi": GradientXInput(), "random": Random()}
    evaluator = Evaluator(own.perturber, methods, metrics(), CLASSES, lambda _: False)
    scores = {name: method(own.trace) for name, method in methods.items()}
    evaluator.add(own.trace, scores, NUMBERS)
    assert own.perturber.calls == 1


def test_who_is_not_asked_has_no_value_and_no_count():
    own, whole = recorded(), evaluated(recorded())
    evaluator = Evaluator(own.perturber, METHODS, metrics(), CLASSES, lambda _: False)
    scores = {name: METHODS[name](own.trace) for name in ("gi", "random")}
    whom = {name: ("gi", "random") for name in metrics()} | {"sufficiency": ("gi",)}
    evaluator.add(own.trace, scores, NUMBERS, whom)
    assert own.perturber.calls == 1
    found = {(v.metric, v.method, v.example): v.value for v in evaluator.values}
    every = {(v.metric, v.method, v.example): v.value for v in whole.values}
    assert set(found) == {key for key in every if key[1] in whom[key[0]]}
    assert found == pytest.approx({key: every[key] for key in found}, abs=1e-12)
    more = {"gi": torch.rand(1, 5).double()}
    evaluator.add(recorded(["a dull plot"]).trace, more, [1], {name: ("gi",) for name in whom})
    estimates = evaluator.compute()
    means = estimates.means["deletion_auc"]
    assert [means[name].value_count for name in METHODS] == [4, 0, 3]
    assert float(estimates.means["sufficiency"]["random"].value_count) == 0
    assert estimates.gains["deletion_auc"]["gi"].value_count == 3
    assert [row.count for row in estimates.results(dict.fromkeys(METHODS, True))] == [4, 0, 3]


def test_the_ceiling_is_no_worse_than_any_order():
    texts = ["the film was great", "a dull awful book", "plot of the movie"]
    own = recorded(texts)
    asked = {"deletion_auc": DeletionCurve(5), "insertion_auc": InsertionCurve(5)}
    evaluator = evaluated(own, asked=asked, searched=lambda _: True)
    best = {(v.metric, v.example): v.value for v in evaluator.values if v.role == "ceiling"}
    assert len(best) == 2 * 3
    for seed in range(20):
        scores = torch.rand(own.inputs.units.shape, generator=torch.Generator().manual_seed(seed))
        areas = DeletionCurve(5).measure(*own, scores)[:, -1]
        for row, number in enumerate(NUMBERS):
            assert best["deletion_auc", number] <= float(areas[row]) + 1e-12
        areas = InsertionCurve(5).measure(*own, scores)[:, -1]
        for row, number in enumerate(NUMBERS):
            assert best["insertion_auc", number] >= float(areas[row]) - 1e-12
    search = Search(own.perturber, own.inputs, own.target)
    for name, metric in asked.items():
        scores = spread_by_unit(search.ceiling(metric.limit), own.inputs.units)
        values = metric.measure(*own, scores)[:, -1].tolist()
        assert values == pytest.approx([best[name, number] for number in NUMBERS], abs=1e-12)


def figures(estimates):
    """The curves by part, which is empty for all texts, and by kind."""
    return {part: curves for part, curves, _ in estimates.figures("random")}


def test_only_chosen_texts_are_searched():
    evaluator = evaluated(recorded(), searched=lambda number: number == 12)
    assert {v.example for v in evaluator.values if v.role == "ceiling"} == {12}
    found = evaluator.compute()
    limits = [("gi", "method"), ("occ", "method"), ("random", "floor")]
    assert [(c.name, c.role) for c in figures(found)[""]["deletion"]] == limits
    beside = figures(found)["searched"]["deletion"]
    assert [(c.name, c.role) for c in beside] == [*limits, ("ceiling", "ceiling")]
    own = {(v.metric, v.method): v.value for v in evaluator.values if v.example == 12}
    scalars = found.scalars()
    for metric in ("deletion_auc", "insertion_auc"):
        for method in ("gi", "occ", "random", "ceiling"):
            value = scalars[f"{metric}_searched/{method}"]
            assert value == pytest.approx(own[metric, method])
    assert {c.name: c.auc for c in beside} == pytest.approx(
        {name: own["deletion_auc", name] for name in ("gi", "occ", "random", "ceiling")}
    )


def test_a_ceiling_of_all_texts_is_in_the_figures():
    found = evaluated(recorded(), searched=lambda _: True).compute()
    drawn = figures(found)
    assert drawn[""]["deletion"][-1].role == "ceiling" and "searched" not in drawn
    assert not any("searched" in key for key in found.scalars())


class Broken(Attribution):
    """No number for texts of one word, infinite for texts with a comma."""

    def scores(self, trace):
        ids = trace.inputs.input_ids
        comma = (ids == tiny_tokenizer().convert_tokens_to_ids(",")).any(1, keepdim=True)
        single = (trace.inputs.unit_counts == 1)[:, None]
        scores = torch.rand(ids.shape).masked_fill(comma, torch.inf)
        return scores.masked_fill(single, torch.nan)


def test_scores_that_are_no_numbers_leave_the_text_out(caplog):
    with caplog.at_level(logging.WARNING, "bertx"):
        evaluator = evaluated(recorded(), {"broken": Broken(), "random": Random()})
    assert evaluator.compute().count == 1
    known = {(v.method, v.example) for v in evaluator.values if not isnan(v.value)}
    assert known == {("broken", 7), ("random", 7)}
    for number in (3, 12):
        assert f"broken: scores of example {number} are not finite" in caplog.text


def test_a_text_without_units_is_left_out():
    own = recorded(["", "the film"])
    evaluator = evaluated(own, numbers=[0, 1])
    assert evaluator.skipped == 0 and evaluator.compute().count == 1
    assert all(isnan(v.value) for v in evaluator.values if v.example == 0)


def test_texts_are_told_apart_however_they_are_padded():
    evaluator = evaluated(recorded(), searched=lambda _: True)
    texts = {v.example: v.text for v in evaluator.values}
    assert len(set(texts.values())) == 3 and all(texts.values())
    assert {(v.example, v.text) for v in evaluator.values} == set(texts.items())
    for text, number in zip(TEXTS, NUMBERS, strict=True):
        alone = evaluated(recorded([text], operator="remove"), numbers=[0])
        assert {v.text for v in alone.values} == {texts[number]}
    [other] = {v.text for v in evaluated(recorded(["unbelievable film"]), numbers=[3]).values}
    assert other != texts[3]


def test_batches_do_not_matter():
    whole = evaluated(recorded(), searched=lambda _: True).compute().scalars()
    engine = recorded().perturber
    evaluator = Evaluator(engine, METHODS, metrics(), CLASSES, lambda _: True)
    for text, number in zip(TEXTS, NUMBERS, strict=True):
        own = recorded([text])
        evaluator.add(own.trace, {name: m(own.trace) for name, m in METHODS.items()}, [number])
    apart = evaluator.compute().scalars()
    assert whole.keys() == apart.keys()
    for key, value in whole.items():
        assert apart[key] == pytest.approx(value, abs=1e-10, nan_ok=True), key


def test_curves_of_one_text_have_no_band():
    estimates = evaluated(recorded(TEXTS[:1]), numbers=[7]).compute()
    for lines in figures(estimates)[""].values():
        for line in lines:
            assert all(p == low == high for p, low, high in line.means)


def test_without_a_control_there_are_no_gains():
    estimates = evaluated(recorded(), {"gi": GradientXInput()}).compute()
    assert not any("gain" in key for key in estimates.scalars())
    (result,) = estimates.results({"gi": True})
    assert not result.gains and "deletion_gain" not in result.row()


def test_what_is_no_metric_is_refused():
    with pytest.raises(InputError, match="metric 'auc': expected an instance"):
        check_settings([], {"auc": 3}, None)


class Known(FaithfulnessMetric):
    """What is known of texts: how many units are marked, and the label."""

    higher_is_better = True
    limit = "deletion"

    def __init__(self):
        super().__init__(["marked", "label"])

    def values(self, ranking, probabilities):
        inputs = ranking.inputs
        assert inputs.rationale.shape == inputs.units.shape
        return torch.stack([inputs.marked_units.sum(1), inputs.labels], 1).double()


@pytest.mark.parametrize("searched", [{7}, {7, 12}, {7, 3, 12}])
def test_the_ceiling_is_asked_with_all_that_is_known(searched):
    units = recorded().inputs.units
    marks, labels = (units == 0) | (units == 3), torch.tensor([2, 0, 1])
    own = recorded(labels=labels, rationale=marks)
    asked = {"known": Known(), "drop": AccuracyDrop(words=2)}
    evaluator = evaluated(own, asked=asked, searched=lambda number: number in searched)
    found = evaluator.compute().ceilings
    rows = [NUMBERS.index(number) for number in searched]
    expected = [sum([2, 1, 2][r] for r in rows), int(labels[rows].sum())]
    total = found["known"].mean * len(rows)
    assert total.tolist() == pytest.approx(expected)
    right, wrong = found["drop"].counts[[0, 3]].tolist()
    assert right + wrong == len(rows)
    reached = {(v.metric, v.example): v.value for v in evaluator.values if v.role == "ceiling"}
    for row in rows:
        assert reached["known", NUMBERS[row]] == labels[row]


def test_what_was_searched_is_not_searched_again_for_the_ceiling(monkeypatch):
    asked, orders = [], Search._search

    def counted(self, beam, exact, highest):
        asked.append((beam, highest))
        return orders(self, beam, exact, highest)

    monkeypatch.setattr(Search, "_search", counted)
    metrics = {"naopc": NormalizedComprehensiveness(beam=2, exact=0)}
    evaluated(recorded(), asked=metrics, searched=lambda number: number == 7)
    assert sorted(asked) == [(1, False), (2, False), (2, True)]


def test_probabilities_that_are_no_numbers_leave_the_text_out(caplog):
    own = recorded()
    own.trace.logits = own.trace.logits.clone()
    own.trace.logits[1] = torch.nan
    with caplog.at_level(logging.WARNING, "bertx"):
        evaluator = evaluated(own)
    assert caplog.text.count("not finite") == 1
    assert "probabilities of example 3 are not finite; all metrics skip" in caplog.text
    assert evaluator.skipped == 1 and evaluator.compute().count == 2
    assert all(isnan(v.value) == (v.example == 3) for v in evaluator.values)


def test_values_that_use_no_operator_have_none():
    own = recorded(rationale=recorded().inputs.units == 0)
    asked = {"p1": PrecisionAtK(), "infidelity": Infidelity(samples=2), "d": DeletionCurve()}
    evaluator = evaluated(own, asked=asked, searched=lambda _: True)
    operators = {(v.metric, v.role): v.operator for v in evaluator.values}
    assert {metric: operator for (metric, _), operator in operators.items()} == {
        "p1": "", "infidelity": "", "d": "mask",
    }  # fmt: skip
    assert operators["d", "ceiling"] == "mask" and ("p1", "ceiling") not in operators


def test_costs_are_times_by_that_of_the_plain_forward():
    evaluator = evaluated(recorded())
    assert evaluator.compute().costs == {}
    evaluator.seconds = [{None: 0.01, **dict.fromkeys(METHODS, 0.07)}] * 1000
    assert evaluator.compute().costs == pytest.approx(dict.fromkeys(METHODS, 7), rel=1e-9)


def test_tables_of_several_processes_are_one():
    whole, first = evaluated(recorded()), evaluated(recorded(TEXTS[:1]), numbers=NUMBERS[:1])
    other = evaluated(recorded(TEXTS[1:]), numbers=NUMBERS[1:])
    first.table += pickle.loads(pickle.dumps(other.table))
    expected, found = whole.compute().scalars(), first.compute().scalars()
    assert found == pytest.approx(expected, abs=1e-10)
    nobody = evaluated(recorded(["", ""]), numbers=[0, 1])
    assert nobody.table == [] and nobody.compute().count == 0
    assert nobody.compute().means.keys() == metrics().keys()


def test_one_metric_of_a_kind_is_drawn_and_the_others_are_named(caplog):
    asked = {"coarse": DeletionCurve(3), "fine": DeletionCurve(6), "up": InsertionCurve(3)}
    with caplog.at_level(logging.WARNING, "bertx"):
        check_settings([], asked, None)
    assert caplog.messages == [
        "metric 'fine': its curves are not drawn, because the deletion figure shows the "
        "curves of 'coarse'"
    ]
    drawn = figures(evaluated(recorded(), asked=asked).compute())[""]
    assert [len(line.means) for line in drawn["deletion"]] == [3, 3, 3]
    assert list(drawn) == ["deletion", "insertion"]


@pytest.mark.parametrize("name", ["fully_perturbed", "ceiling", "cost", "count"])
def test_names_that_are_taken_are_refused(name):
    with pytest.raises(InputError, match=f"metric '{name}': expected a name other than ceiling"):
        check_settings([], {name: DeletionCurve()}, None)
    with pytest.raises(InputError, match="method 'ceiling': this name is reserved"):
        check_settings(["ceiling"], {}, None)
    with pytest.raises(InputError, match="method 'ceiling': this name is reserved"):
        evaluated(recorded(), {"ceiling": GradientXInput()})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["d", "d_auc"], "metric 'd_auc': 'd_gain' is also the name of the gain of 'd'"),
        (["d_auc", "d_gain"], "metric 'd_gain': 'd_gain' is also the name of the gain of 'd_auc'"),
        (["d_gain", "d"], "metric 'd_gain': 'd_gain' is also the name of the gain of 'd'"),
    ],
)
def test_no_two_numbers_share_a_key(names, message):
    with pytest.raises(InputError, match=message):
        check_settings([], {name: Sufficiency() for name in names}, None)
    check_settings([], {name: Sufficiency() for name in ("d_auc", "e_auc", "e_gain_auc")}, 0)
