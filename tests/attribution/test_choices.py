"""Methods and texts that a user gives in a form that is none."""

from types import SimpleNamespace

import pytest
import torch

import bertx
from bertx.attribution import AttnLRP, GradientXInput, Random
from bertx.attribution.choices import named, several
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.classifier import class_names, class_number
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (AttnLRP, r"AttnLRP'>\. Did you mean AttnLRP\(\)\?"),
        ([GradientXInput(), AttnLRP], r"Did you mean AttnLRP\(\)\?"),
        ([AttnLRP, Random], r"Did you mean AttnLRP\(\)\?"),
        ({"mine": AttnLRP}, r"Did you mean AttnLRP\(\)\?"),
        ("AttnLRP", r"'AttnLRP'\. Did you mean AttnLRP\(\)\?"),
        ("anything", r"'anything'\.$"),
        (3, r"3\.$"),
    ],
)
def test_what_is_no_method_is_refused_with_a_hint(methods, words):
    with pytest.raises(InputError, match=f"expected an instance of .*got .*{words}"):
        named(methods, tiny_model())


def test_methods_may_come_one_by_one():
    found = named((method() for method in (Random, GradientXInput)), tiny_model())
    assert list(found) == ["Random", "GradientXInput"]


def test_the_usual_methods_are_those_that_a_model_supports(bert):
    usual = ["AttnLRP", "GradientXInput", "GradientSensitivity"]
    assert list(named(None, bert)) == usual
    bert = tiny_model(hidden_act="sigmoid")
    assert list(named(None, bert)) == usual[1:]
    with torch.inference_mode():
        bert.classifier.bias = torch.nn.Parameter(torch.zeros(3))  # which no gradient passes
    with pytest.raises(UnsupportedArchitecture, match="AttnLRP does not support"):
        named(None, bert)


def test_a_class_that_stands_twice_in_a_list_is_refused(bert):
    with pytest.raises(InputError, match=r"^methods: expected no class twice in a list"):
        named([GradientXInput(), GradientXInput("squared_norm")], bert)


@pytest.mark.parametrize("methods", [{}, []])
def test_no_methods_are_refused(methods, bert):
    with pytest.raises(InputError, match=r"^methods: expected at least one, got none$"):
        named(methods, bert)


@pytest.mark.parametrize("kind", ["columns", "column_names"])
def test_a_table_is_no_list_of_texts(kind):
    class DataFrame(SimpleNamespace):
        def __iter__(self):
            return iter(["text", "label"])

    with pytest.raises(InputError, match=r'the table DataFrame.*df\["text"\]'):
        several(DataFrame(**{kind: ["text", "label"]}))


def test_a_column_of_a_real_table_is_a_list_of_texts():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["good", "dull"]})
    assert several(frame["text"]) == ["good", "dull"]
    with pytest.raises(InputError, match="table"):
        several(frame)


def same_names(*names):
    model = tiny_model(labels=len(names))
    model.config.id2label = dict(enumerate(names))
    return model


@pytest.mark.parametrize(
    ("names", "different"),
    [
        (["bad", "good"], ["bad", "good"]),
        (["good", "bad", "good"], ["good (0)", "bad", "good (2)"]),
        (["good", "good", "good (1)"], ["good (0)", "good (1) (1)", "good (1) (2)"]),
    ],
)
def test_every_class_has_a_name_of_its_own(names, different):
    model = same_names(*names)
    assert class_names(model) == different
    assert [class_number(name, model) for name in different] == list(range(len(names)))


def test_a_name_of_two_classes_is_none_of_them():
    model = same_names("good", "bad", "good")
    listed = r"several classes have that name.* 0 \(good\), 1 \(bad\), 2 \(good\)"
    with pytest.raises(InputError, match=listed):
        class_number("good", model)
    assert class_number("2", model) == class_number(2, model) == 2


def test_a_name_of_one_class_is_that_class_though_it_is_shown_with_its_number():
    model = same_names("good", "good", "good (1)")
    assert class_number("good (1)", model) == 2
    assert class_number("good (1) (1)", model) == 1
    with pytest.raises(InputError, match="several classes have that name"):
        class_number("good", model)
    with pytest.raises(InputError, match=r"'good \(2\)': expected one of the classes"):
        class_number("good (2)", model)


def test_no_probability_is_lost_between_classes_of_one_name():
    model = same_names("good", "bad", "good")
    [found] = bertx.explain(model, tiny_tokenizer(), "good film", GradientXInput(), "good (2)")
    told = found.to_dict()
    assert sum(told["probabilities"].values()) == pytest.approx(1)
    assert list(told["probabilities"]) == ["good (0)", "bad", "good (2)"]
    assert told["target"] == "good (2)" and found.target == 2
