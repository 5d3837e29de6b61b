"""What is taken for a classifier, what is refused, and how one is asked."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import BertForMaskedLM, BertForSequenceClassification, BertModel

import bertx
from bertx.attribution import GradientXInput, Occlusion
from bertx.errors import InputError
from bertx.metrics import DeletionCurve
from bertx.models.classifier import classifier_in, logits_of, path_of, takes
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull"]


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS), "word", tokenizer)


class Wrapped(BertForSequenceClassification):
    """As people write it to weigh a loss: all arguments go on."""

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class Closed(BertForSequenceClassification):
    def forward(self, input_ids, attention_mask=None):
        return super().forward(input_ids, attention_mask)


class OwnName(BertForSequenceClassification):
    """A class of one's own, around another classifier."""


def test_arguments_behind_kwargs_are_found():
    assert takes(Wrapped(tiny_model().config), "token_type_ids")
    assert not takes(Closed(tiny_model().config), "token_type_ids")
    assert not takes(tiny_model("distilbert"), "token_type_ids")


@pytest.mark.parametrize("wrap", [lambda model: model, torch.compile])
def test_segments_reach_a_model_that_hides_its_arguments(bert, inputs, wrap):
    own = Wrapped(bert.config).double().eval()
    own.load_state_dict(bert.state_dict())
    segments = torch.ones_like(inputs.input_ids)
    given = Inputs(inputs.input_ids, inputs.attention_mask, inputs.units, segments)
    expected = Trace(bert, given, None, Needs.NOTHING).logits
    assert torch.equal(Trace(wrap(own), given, None, Needs.NOTHING).logits, expected)
    plain = Inputs(inputs.input_ids, inputs.attention_mask, inputs.units)
    assert not torch.allclose(Trace(bert, plain, None, Needs.NOTHING).logits, expected)


def test_a_model_that_answers_in_tuples_is_explained_alike(bert, tokenizer, inputs):
    tuples = copy.deepcopy(bert)
    tuples.config.return_dict = False
    methods = {"gi": GradientXInput(), "occlusion": Occlusion()}
    for one, other in zip(
        bertx.explain(bert, tokenizer, TEXTS, methods),
        bertx.explain(tuples, tokenizer, TEXTS, methods),
        strict=True,
    ):
        assert one == other and one.error is None


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(1, None), (1, "regression"), (3, "regression"), (3, "multi_label_classification")],
)
def test_what_does_not_choose_one_class_is_refused(tokenizer, inputs, labels, kind):
    model = tiny_model(labels=labels, problem_type=kind)
    metrics = {"deletion": DeletionCurve()}
    for ask in (
        lambda: bertx.explain(model, tokenizer, TEXTS, GradientXInput()),
        lambda: bertx.judge(model, tokenizer, TEXTS, GradientXInput(), metrics),
        lambda: Occlusion()(Trace(model, inputs, 0)),
    ):
        with pytest.raises(InputError, match="does not choose one of several classes"):
            ask()


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_what_is_no_classifier_says_so(tokenizer, inputs, kind):
    model = kind(tiny_model().config).eval()
    with pytest.raises(InputError, match="returns no logits"):
        logits_of(model, inputs.arguments(model))
    with pytest.raises(InputError, match=f"{kind.__name__}, which has no head that classifies"):
        bertx.explain(model, tokenizer, TEXTS, GradientXInput())


def held(**parts):
    module = nn.Module()
    for name, part in parts.items():
        setattr(module, name, part)
    return module


def test_of_two_classifiers_one_has_to_be_chosen(bert):
    other = tiny_model()
    module = held(first=bert, second=held(deep=other))
    with pytest.raises(InputError, match=r"2 classifiers: first \(Bert.*second\.deep \(Bert"):
        classifier_in(module)
    assert classifier_in(module, "second") is classifier_in(module, "second.deep") is other
    assert classifier_in(module, lambda held: held.first) is bert
    for wrong in ("third", "first.config", lambda held: "first"):
        with pytest.raises(InputError, match=r"Its classifiers: first, second\.deep"):
            classifier_in(module, wrong)


def test_one_classifier_under_two_names_or_inside_of_another_is_one(bert):
    assert classifier_in(held(first=bert, again=bert, encoder=bert.bert)) is bert
    outer = OwnName(bert.config)
    outer.inner = bert
    assert classifier_in(held(net=outer)) is outer
    shell = torch.compile(bert, backend="eager")
    assert path_of(held(net=shell), bert) == "net"
    with pytest.raises(InputError, match=r"a \(Bert"):
        classifier_in(held(a=shell, b=tiny_model()))


def test_a_head_of_another_size_than_the_config_says_is_told(bert, tokenizer):
    bert.classifier = nn.Linear(bert.config.hidden_size, 5).double()
    found = bertx.explain(bert, tokenizer, TEXTS, GradientXInput())
    assert all("returns 5 logits, but its config has 3 labels" in text.error for text in found)


def test_learned_prompts_are_refused_and_other_adapters_are_not(bert, tokenizer):
    shell = nn.Module()
    shell.inner = bert
    shell.peft_config = {"default": SimpleNamespace(is_prompt_learning=False)}
    assert classifier_in(shell) is bert
    shell.peft_config["default"].is_prompt_learning = True
    with pytest.raises(InputError, match="learned vectors before each text"):
        bertx.explain(shell, tokenizer, TEXTS, GradientXInput())
