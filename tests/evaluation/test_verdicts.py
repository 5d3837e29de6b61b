"""Judging texts in one call: what goes in, what comes out, and that the model stays as it was."""

import logging

import pytest
import torch
from torchmetrics import metric as torchmetric

import bertx
from bertx.attribution import LRP, GradientXInput, IntegratedGradients, Occlusion, Random
from bertx.attribution.choices import COMPARED_METHODS
from bertx.errors import InputError
from bertx.evaluation import Text, forwards, judge
from bertx.metrics import DeletionCurve, LeaveOneOutTau, MaxSensitivity, PrecisionAtK
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.trace import Trace
from tests.tiny import tiny_model, tiny_tokenizer
from tests.trace.test_trace import assert_same, condition

TEXTS = [
    Text("the film was great", 0, [(13, 18)]),
    Text("Unbelievable acting, but a DULL plot!", 1, [(27, 31)]),
    "a good book but never really great , was it !",
    "the movie was awful",
]
METHODS = {"gi": GradientXInput(), "occ": Occlusion()}


def judged(texts=TEXTS, methods=METHODS, model=None, **settings):
    return judge(model or tiny_model(), tiny_tokenizer(), texts, methods, **settings)


def numbers(verdicts):
    return {(v.operator, v.metric, v.method, v.example): v.value for v in verdicts.values}


def test_every_operator_is_judged_on_the_same_texts_and_classes():
    both = judged(operators=("mask", "remove"))
    assert list(both.estimates) == ["mask", "remove"] and both.control == "random"
    assert both.signed == {"gi": True, "occ": True, "random": False}
    alone = judged(operators="remove")
    found, expected = numbers(both), numbers(alone)
    assert {key: value for key, value in found.items() if key[0] == "remove"} == pytest.approx(
        expected, abs=1e-12
    )
    targets = {(v.example, v.target) for v in both.values}
    assert len(targets) == len(TEXTS)


def test_what_a_method_was_made_with_is_told():
    methods = {
        "gi": GradientXInput(),
        "removing": Occlusion("remove"),
        "path": IntegratedGradients("zero", 3),
    }
    verdicts = judged(methods=methods, ceiling_examples=0)
    made = {v.method: v.made_with for v in verdicts.values}
    assert made == {"gi": "", "removing": "remove", "path": "zero", "random": ""}


def test_what_follows_is_said_for_every_metric_and_operator():
    both = judged(operators=("mask", "remove"), ceiling_examples=None)
    boards = both.leaderboards()
    assert {(b.metric, b.operator) for b in boards} == {(v.metric, v.operator) for v in both.values}
    for board in boards:
        for league in board.leagues.values():
            for standing in league.standings:
                who = (board.operator, board.metric, standing.method)
                own = [value for key, value in numbers(both).items() if key[:3] == who]
                assert standing.mean == pytest.approx(sum(own) / len(own), abs=1e-9)
    text = both.markdown()
    assert text == both._repr_markdown_()
    assert all(part in text for part in ("mask", "remove", "| gi |", "ceiling"))


def test_chunks_do_not_matter():
    whole, apart = judged(), judged(token_budget=1)
    assert numbers(whole) == pytest.approx(numbers(apart), abs=1e-10, nan_ok=True)


def test_a_control_that_is_there_is_taken():
    verdicts = judged(methods={"chance": Random(seed=3), **METHODS})
    assert verdicts.control == "chance" and "random" not in verdicts.signed


@pytest.mark.parametrize(
    ("target", "expected"), [("gold", [0, 1]), (2, [2, 2]), ("LABEL_1", [1, 1])]
)
def test_the_class_is_the_one_asked_for(target, expected):
    verdicts = judged(TEXTS[:2], target=target)
    assert [t for _, t in sorted({(v.example, v.target) for v in verdicts.values})] == expected


def test_rationales_reach_the_metrics_as_words():
    class Last(GradientXInput):
        """Ranks units from the right."""

        def scores(self, trace):
            return trace.inputs.units.double()

    metrics = {"p1": PrecisionAtK(1), "p3": PrecisionAtK(3)}
    verdicts = judged(methods={"last": Last()}, metrics=metrics, ceiling_examples=0)
    found = numbers(verdicts)
    assert found["", "p1", "last", 0] == 1  # "great", whose characters are marked
    assert found["", "p1", "last", 1] == 0  # "!"
    assert found["", "p3", "last", 1] == pytest.approx(1 / 3)  # "DULL plot!"
    assert torch.tensor(found["", "p1", "last", 2]).isnan()


def test_metrics_that_explain_again_and_those_that_ask_for_more():
    metrics = {"tau": LeaveOneOutTau(), "moved": MaxSensitivity(samples=2)}
    means = judged(metrics=metrics).estimates["mask"].means
    assert float(means["tau"]["occ"].value) == pytest.approx(1)
    assert float(means["moved"]["random"].value) == 0
    assert float(means["moved"]["gi"].value) > 0


def test_texts_that_cannot_be_used_are_told(caplog):
    texts = ["", "\ud800", *TEXTS[:1], "the film " * 60]
    with caplog.at_level(logging.WARNING, "bertx"):
        verdicts = judged(texts, ceiling_examples=0)
    assert verdicts.skipped[0] == "it has no words" and "surrogate" in verdicts.skipped[1]
    assert {v.example for v in verdicts.values} == {2, 3}
    assert "1 of 2 texts are longer than" in caplog.text
    assert caplog.text.count("2 of 4 texts are skipped; text 0: it has no words") == 1
    caplog.clear()
    judged(TEXTS[:2], ceiling_examples=0)
    assert "skipped" not in caplog.text
    with pytest.raises(InputError, match="at least one usable text; text 0: it has no words"):
        judged([""])
    with pytest.raises(InputError, match="at least one usable text, got none"):
        judged([])
    left = judged([TEXTS[0], "no label here"], target="gold").skipped
    assert left == {1: "target 'gold', but it has no label of the model's classes"}


def test_the_model_is_left_as_it_was():
    model = tiny_model().train()
    model.base_model.encoder.layer[1].eval()
    before = condition(model)
    judged(model=model, metrics={"moved": MaxSensitivity(samples=1), "d": DeletionCurve()})
    assert_same(before, condition(model))


def test_ceilings_are_for_about_so_many_texts():
    def searched(ceiling):
        verdicts = judged(["the film was great"] * 40, ceiling_examples=ceiling)
        return {v.example for v in verdicts.values if v.role == "ceiling"}

    assert searched(0) == set() and len(searched(None)) == 40
    assert 3 <= len(searched(10)) <= 20 and searched(10) == searched(10)
    long = judged(["the film " * 25], ceiling_examples=None)
    assert not any(v.role == "ceiling" for v in long.values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": torch.nn.Linear(2, 2)}, "expected a Hugging Face sequence classifier"),
        ({"target": "postive"}, "target 'postive': expected"),
        ({"operators": ("delete",)}, "operator 'delete': expected remove, mask"),
        ({"operators": ()}, "expected at least one operator"),
        ({"metrics": {"d": DeletionCurve}}, "metric 'd': expected an instance"),
        ({"methods": {"gi": GradientXInput}}, "method 'gi': expected an instance"),
        ({"unit": "letter"}, "unit 'letter'"),
        ({"texts": 5}, "expected one or more texts, got int"),
        ({"texts": b"good"}, "got bytes"),
        ({"methods": {}}, "methods: expected at least one"),
        (
            {"methods": {"random": GradientXInput()}},
            "method 'random': this name is reserved for the random control",
        ),
        (
            {"methods": {"ceiling": GradientXInput()}},
            "method 'ceiling': this name is reserved for",
        ),
        ({"metrics": {"ceiling": DeletionCurve()}}, "metric 'ceiling': expected a name other"),
        ({"token_budget": 0}, "token_budget must be a whole number of at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        judged(**settings)


def test_a_method_that_is_not_defined_is_refused():
    with pytest.raises(UnsupportedArchitecture, match="LRP does not support DistilBert"):
        judged(methods={"lrp": LRP()}, model=tiny_model("distilbert"))


def test_what_uses_no_operator_is_judged_once(monkeypatch):
    moved, measured = [], MaxSensitivity.values

    def counted(self, ranking, answers):
        moved.append(ranking)
        return measured(self, ranking, answers)

    monkeypatch.setattr(MaxSensitivity, "values", counted)
    asked = {"moved": MaxSensitivity(samples=1), "tau": LeaveOneOutTau(), "p1": PrecisionAtK(1)}
    judged(metrics=asked)
    alone = len(moved)
    both = judged(metrics=asked, operators=("mask", "remove"))
    assert len(moved) == 2 * alone > 0
    assert {(v.metric, v.operator) for v in both.values} == {
        ("moved", ""), ("p1", ""), ("tau", "mask"), ("tau", "remove"),
    }  # fmt: skip
    mask, remove = both.estimates["mask"], both.estimates["remove"]
    for estimates in (mask, remove):
        assert list(estimates.means) == list(estimates.metrics) == list(asked)
        assert estimates.count == len(TEXTS)
    assert float(mask.means["moved"]["gi"].value) == float(remove.means["moved"]["gi"].value) > 0
    assert float(mask.means["tau"]["gi"].value) != float(remove.means["tau"]["gi"].value)
    rows = [list(r.row()) for e in (mask, remove) for r in e.results(both.signed)]
    assert all(row == rows[0] for row in rows)
    text = both.markdown()
    assert "tau by operator" in text and "moved by operator" not in text
    none = judged(metrics={"p1": PrecisionAtK(1)}, operators=("mask", "remove"))
    assert {e.count for e in none.estimates.values()} == {len(TEXTS)}


def test_rationales_of_some_texts_are_those_of_all(caplog):
    metrics = {"p1": PrecisionAtK(1)}
    with caplog.at_level(logging.WARNING, "bertx"):
        whole = judged(metrics=metrics)
        apart = judged(metrics=metrics, token_budget=1)
    assert numbers(apart) == pytest.approx(numbers(whole), nan_ok=True)
    assert "rationales" not in caplog.text


def test_costs_are_without_the_first_chunk(monkeypatch):
    plain = iter([100.0, 1.0, 3.0, 4.0])
    monkeypatch.setattr(forwards, "plain_seconds", lambda *_: next(plain))
    monkeypatch.setattr(Trace, "timed", lambda self, method: (method(self), 4.0))
    several = judged(token_budget=1, ceiling_examples=0).estimates["mask"]
    assert several.costs == pytest.approx({"gi": 1.5, "occ": 1.5, "random": 1.5})
    plain = iter([8.0])
    assert judged(TEXTS[:1], ceiling_examples=0).estimates["mask"].costs["gi"] == 0.5


def test_nothing_is_asked_of_other_processes(monkeypatch):
    def gather(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(torchmetric, "jit_distributed_available", lambda: True)
    monkeypatch.setattr(torchmetric, "gather_all_tensors", gather)
    assert judged().estimates["mask"].count == len(TEXTS)


def test_methods_and_texts_are_given_as_to_explain():
    tokenizer, model, text = tiny_tokenizer(), tiny_model(), "the film was great"
    for methods, names in (
        (GradientXInput(), ["GradientXInput"]),
        ([Occlusion(), GradientXInput()], ["Occlusion", "GradientXInput"]),
        ({"gi": GradientXInput()}, ["gi"]),
    ):
        found = bertx.judge(model, tokenizer, text, methods, ceiling_examples=0)
        assert list(found.signed) == [*names, "random"]
        assert list(bertx.explain(model, tokenizer, text, methods)[0].scores) == names
        assert {v.example for v in found.values} == {0}
    compared = [method.__name__ for method in COMPARED_METHODS]
    assert list(bertx.judge(model, tokenizer, text, ceiling_examples=0).signed) == [
        *compared, "random",
    ]  # fmt: skip
    for texts in (Text(text), (text for _ in range(1)), [text]):
        assert numbers(judged(texts)) == pytest.approx(numbers(judged(text)))
    assert judged([text, 5]).skipped.keys() == {1}
