"""Judging texts in one call: what goes in, what comes out, and that the model stays as it was."""

import logging

import pytest
import torch

from bertx.anatomy import UnsupportedArchitecture
from bertx.attribution import LRP, GradientXInput, IntegratedGradients, Occlusion, Random
from bertx.errors import InputError
from bertx.faithfulness import DeletionCurve, LeaveOneOutTau, MaxSensitivity
from bertx.judging import Text, judge
from bertx.plausibility import PrecisionAtK
from tests.test_trace import assert_same, condition
from tests.tiny import tiny_model, tiny_tokenizer

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
    alone = judged(operators=("remove",))
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
    verdicts = judged(methods=methods, ceiling_texts=0)
    made = {v.method: v.made_with for v in verdicts.values}
    assert made == {"gi": "", "removing": "remove", "path": "zero", "random": ""}


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
    verdicts = judged(methods={"last": Last()}, metrics=metrics, ceiling_texts=0)
    found = numbers(verdicts)
    assert found["mask", "p1", "last", 0] == 1  # "great", whose characters are marked
    assert found["mask", "p1", "last", 1] == 0  # "!"
    assert found["mask", "p3", "last", 1] == pytest.approx(1 / 3)  # "DULL plot!"
    assert torch.tensor(found["mask", "p1", "last", 2]).isnan()


def test_metrics_that_explain_again_and_those_that_ask_for_more():
    metrics = {"tau": LeaveOneOutTau(), "moved": MaxSensitivity(samples=2)}
    means = judged(metrics=metrics).estimates["mask"].means
    assert float(means["tau"]["occ"].value) == pytest.approx(1)
    assert float(means["moved"]["random"].value) == 0
    assert float(means["moved"]["gi"].value) > 0


def test_texts_that_cannot_be_used_are_told(caplog):
    texts = ["", "\ud800", *TEXTS[:1], "the film " * 60]
    with caplog.at_level(logging.WARNING, "bertx"):
        verdicts = judged(texts, ceiling_texts=0)
    assert verdicts.left_out[0] == "it has no words" and "surrogate" in verdicts.left_out[1]
    assert {v.example for v in verdicts.values} == {2, 3}
    assert "1 texts are longer than the model takes" in caplog.text
    with pytest.raises(InputError, match="at least one text to judge on; text 0: it has no words"):
        judged([""])
    with pytest.raises(InputError, match="there is none"):
        judged([])
    left = judged([TEXTS[0], "no label here"], target="gold").left_out
    assert left == {1: "target 'gold', but it has no label of the model's classes"}


def test_the_model_is_left_as_it_was():
    model = tiny_model().train()
    model.base_model.encoder.layer[1].eval()
    before = condition(model)
    judged(model=model, metrics={"moved": MaxSensitivity(samples=1), "d": DeletionCurve()})
    assert_same(before, condition(model))


def test_ceilings_are_for_about_so_many_texts():
    def searched(ceiling):
        verdicts = judged(["the film was great"] * 40, ceiling_texts=ceiling)
        return {v.example for v in verdicts.values if v.role == "ceiling"}

    assert searched(0) == set() and len(searched(None)) == 40
    assert 3 <= len(searched(10)) <= 20 and searched(10) == searched(10)
    long = judged(["the film " * 25], ceiling_texts=None)
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
        ({"token_budget": 0}, "token_budget must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        judged(**settings)


def test_a_method_that_is_not_defined_is_refused():
    with pytest.raises(UnsupportedArchitecture, match="LRP does not support DistilBert"):
        judged(methods={"lrp": LRP()}, model=tiny_model("distilbert"))
