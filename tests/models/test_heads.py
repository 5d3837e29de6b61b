"""An encoder with a head of one's own is explained as the classifier with the same weights."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from torch import nn

import bertx
from bertx import attribution
from bertx.attribution import (
    AttnLRP,
    DeepLift,
    GradientXInput,
    GradSAM,
    LayerwiseAttentionTracing,
    ModifiedGradient,
    TextbookLRP,
)
from bertx.errors import InputError
from bertx.metrics import DeletionCurve
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.heads import EncoderForSequenceClassification, classifier_for, modules_of
from bertx.models.inputs import Inputs
from bertx.models.scope import evaluating
from bertx.trace import Trace
from bertx.trace.needs import Needs
from bertx.trace.rules import ATTN_LRP, AlphaBeta
from tests.tiny import tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
ANATOMICAL = ("LRP", "DecompX", "ValueZeroing")


def every_method():
    """One of each class, with rules for every linear map where there are some."""
    rules = {"ModifiedGradient": [ATTN_LRP], "TextbookLRP": [AlphaBeta()]}
    names = [name for name in attribution.__all__ if name != "Attribution"]
    return {name: getattr(attribution, name)(*rules.get(name, ())) for name in names}


def roberta_head(model, states):
    top = model.classifier
    return top.out_proj(torch.tanh(top.dense(states[:, 0])))


HEADS = {
    "bert": lambda m, out, mask: m.classifier(out.pooler_output),
    "roberta": lambda m, out, mask: roberta_head(m, out.last_hidden_state),
    "distilbert": lambda m, out, mask: m.classifier(
        torch.relu(m.pre_classifier(out.last_hidden_state[:, 0]))
    ),
    "modernbert": lambda m, out, mask: m.classifier(m.head(mean(out.last_hidden_state, mask))),
}


def mean(states, mask):
    mask = mask[..., None].to(states)
    return (states * mask).sum(1) / mask.sum(1)


class Own(nn.Module):
    """What most projects hold: an encoder, a head, dropout between them, in training mode."""

    def __init__(self, model, kind):
        super().__init__()
        self.bert, self.kind, self.dropout = model.base_model, kind, nn.Dropout(0.5)
        self.top = nn.ModuleDict(
            {
                n: part
                for n, part in model.named_children()
                if part is not self.bert and "drop" not in n
            }
        )
        self.train()

    def __getattr__(self, name):
        top = self.__dict__["_modules"].get("top", {})
        return top[name] if name in top else super().__getattr__(name)

    def logits(self, batch):
        mask = batch["attention_mask"]
        out = self.bert(batch["input_ids"], attention_mask=mask)
        return self.dropout(HEADS[self.kind](self, out, mask))


def twins(kind):
    """A classifier of transformers, and a module of the same weights with a head of its own."""
    config = {"classifier_pooling": "mean"} if kind == "modernbert" else {}
    model = tiny_model(kind, **config)
    return model, Own(model, kind)


@pytest.fixture
def bert_and_own():
    return twins("bert")


def texts_of(tokenizer, texts=TEXTS):
    return Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)


def state_of(model):
    """Everything about a module that explaining could change."""
    return [
        (
            part.training,
            [len(hooks) for name, hooks in sorted(vars(part).items()) if name.endswith("_hooks")],
            [(p.requires_grad, p.grad) for p in part.parameters(recurse=False)],
            getattr(getattr(part, "config", None), "_attn_implementation", None),
        )
        for part in model.modules()
    ]


@pytest.mark.parametrize("kind", HEADS)
def test_every_method_agrees_with_the_classifier_of_the_same_weights(kind, tokenizer):
    model, own = twins(kind)
    before, inputs = state_of(own), texts_of(tokenizer)
    classifier = classifier_for(own.bert, own.logits)
    methods = {n: m for n, m in every_method().items() if n not in ANATOMICAL}
    needs = Needs.of(*methods.values())
    for method in methods.values():
        method.check(classifier)
    ours = Trace(classifier, inputs, None, needs)
    found = {name: method(ours) for name, method in methods.items()}
    assert state_of(own) == before
    theirs = Trace(model.eval(), inputs, None, needs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-13)
    for name, method in methods.items():
        expected = method(theirs)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-12, msg=name)


def test_the_page_says_which_methods_take_a_head_of_ones_own():
    page = (Path(__file__).parents[2] / "docs/methods.md").read_text()
    table = page.split("| method | with a custom head |")[1].split("\n\n")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines()[2:]]
    said = {name: cell.strip() for names, cell in rows for name in re.findall(r"`(\w+)`", names)}
    assert said.keys() == every_method().keys()
    refused = {name for name, cell in said.items() if cell.startswith("no")}
    assert refused == set(ANATOMICAL)


@pytest.mark.parametrize("name", ANATOMICAL)
def test_what_needs_the_parts_of_the_head_refuses_by_name(name, bert_and_own, tokenizer):
    _, own = bert_and_own
    match = f"{name} does not support EncoderForSequenceClassification .*including the head's"
    with pytest.raises(UnsupportedArchitecture, match=match):
        bertx.explain(own.bert, tokenizer, TEXTS, every_method()[name], logits=own.logits)


def test_explain_and_judge_say_the_same_of_both(tokenizer):
    model, own = twins("roberta")
    methods = [GradientXInput(), LayerwiseAttentionTracing(), AttnLRP()]

    def said(of, **how):
        explained = bertx.explain(of, tokenizer, TEXTS, methods, "all", **how)
        asked = {"metrics": {"deletion_auc": DeletionCurve()}, "ceiling_examples": 0}
        operators = ("attention", "pad")  # which number the tokens
        return explained, bertx.judge(
            of, tokenizer, TEXTS, methods, operators=operators, **asked, **how
        )

    (ours, judged), (theirs, expected) = said(own.bert, logits=own.logits), said(model.eval())
    assert len(ours) == len(theirs) == 9
    for a, b in zip(ours, theirs, strict=True):
        assert (a.words, a.classes, a.error) == (b.words, b.classes, None)
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-12)
        for name in b.scores:
            assert a.scores[name] == pytest.approx(b.scores[name], abs=1e-12)
    assert len(judged.values) == len(expected.values) > 20
    for value, other in zip(judged.values, expected.values, strict=True):
        assert replace(value, value=0) == replace(other, value=0)
        assert value.value == pytest.approx(other.value, abs=1e-12)


class Headed(nn.Module):
    """The module with ``encoder`` and ``head``, and a forward that takes what an encoder takes."""

    def __init__(self, model):
        super().__init__()
        self.encoder, self.head = model.base_model, nn.Sequential(nn.Dropout(0.5), model.classifier)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.head(self.encoder(input_ids, attention_mask, token_type_ids).pooler_output)


def test_encoder_and_head_with_a_forward_need_no_function(bert, tokenizer):
    (own,) = bertx.explain(Headed(bert), tokenizer, TEXTS[0], GradientXInput())
    (same,) = bertx.explain(bert, tokenizer, TEXTS[0], GradientXInput())
    assert own.scores["GradientXInput"] == pytest.approx(same.scores["GradientXInput"], abs=1e-12)


def test_classes_are_called_what_the_config_of_the_encoder_calls_them(tokenizer, bert_and_own):
    _, own = bert_and_own
    own.bert.config.id2label = {0: "bad", 1: "so-so", 2: "good"}
    assert bertx.explain(own.bert, tokenizer, "dull", logits=own.logits)[0].classes == (
        *("bad", "so-so", "good"),
    )
    own.bert.config.id2label = {0: "no", 1: "yes"}  # as many as AutoModel thinks of
    found = bertx.explain(own.bert, tokenizer, "dull", logits=own.logits)
    assert found[0].classes == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert own.bert.config.id2label == {0: "no", 1: "yes"}


def no_grad(own, batch):
    with torch.no_grad():
        return own.logits(batch)


def twice(own, batch):
    return own.logits(batch) + own.logits(batch)


def shorter(own, batch):
    return own.logits({name: value[:, :-1] for name, value in batch.items()})


REFUSED = {
    r"no_grad returns logits without gradients": no_grad,
    r"returns logits without gradients": lambda own, batch: own.logits(batch).detach(),
    r"does not run the encoder once": twice,
    r"shorter does not run the encoder once": shorter,
    r"fails on two short texts \(KeyError: 'labels'\).*mapping of 'input_ids'": (
        lambda own, batch: own.logits(batch) * batch["labels"]
    ),
    r"returns \(2, 8, 16\) for 2 texts": lambda own, batch: own.bert(**batch).last_hidden_state,
    r"returns \(1, 3\) for 2 texts": lambda own, batch: own.logits(batch)[:1],
    r"returns list for 2 texts": lambda own, batch: own.logits(batch).tolist(),
    r"num_labels 1": lambda own, batch: own.logits(batch)[:, :1],
}


@pytest.mark.parametrize("match", REFUSED)
def test_a_function_that_cannot_be_explained_is_refused_by_name(match, bert_and_own):
    _, own = bert_and_own
    with pytest.raises(InputError, match=match):
        classifier_for(own.bert, partial(REFUSED[match], own))


@pytest.mark.parametrize("part", [nn.Dropout(0.01), nn.BatchNorm1d(3, dtype=torch.float64)])
def test_modules_in_training_that_the_function_hides_are_noticed(part, bert_and_own):
    _, own = bert_and_own
    hidden = [part]
    match = rf"{type(part).__name__.lower()[:5]}.* in training mode.*Make the function a method"
    with pytest.raises(InputError, match=match):
        classifier_for(own.bert, lambda batch: hidden[0](own.logits(batch)))
    assert not getattr(part, "running_mean", torch.zeros(1)).any()
    part.eval()
    classifier_for(own.bert, lambda batch: hidden[0](own.logits(batch)))


def test_one_encoder_is_meant(bert_and_own, bert):
    _, own = bert_and_own
    assert classifier_for(own, own.logits).base_model is own.bert
    own.teacher = bert
    with pytest.raises(InputError, match=r"one encoder.* in Own.*got BertModel, BertForSeq"):
        classifier_for(own, own.logits)
    with pytest.raises(InputError, match=r"one encoder.* in Linear.*got none"):
        classifier_for(nn.Linear(2, 2), own.logits)
    assert classifier_for(own.bert, own.logits).base_model is own.bert


GLOBAL = nn.Linear(1, 1)


class Plain:
    """No module, but it has one."""

    def __init__(self, part):
        self.part = part

    def logits(self, batch):
        return self.part(batch)

    __call__ = logits


def test_modules_are_found_wherever_a_function_refers_to_them():
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)

    def inner(batch):
        return a(batch)

    def of(function):
        return list(modules_of(function))

    assert of(a.forward) == of(inner) == of(lambda x: inner(x)) == of(Plain(a).logits) == [a]
    assert of(Plain(a)) == of(a) == [a]
    assert of(lambda x: GLOBAL(x)) == [GLOBAL]
    assert of(partial(lambda one, two, x: x, a, two=b)) == [a, b]


def test_heads_of_one_encoder_wait_for_each_other(bert_and_own):
    _, own = bert_and_own
    one, other = (classifier_for(own.bert, own.logits) for _ in range(2))
    inside = Event()

    def enter():
        with evaluating(other):
            inside.set()

    thread = Thread(target=enter)
    with evaluating(one):
        thread.start()
        assert not inside.wait(0.1)
    thread.join()
    assert inside.is_set()


class Recurrent(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.bert, self.lstm = encoder, nn.LSTM(16, 3, batch_first=True, dtype=torch.float64)

    def forward(self, **batch):
        return self.lstm(self.bert(**batch).last_hidden_state)[0][:, 0]


def test_what_hides_operations_is_refused_by_what_has_to_see_them(bert, tokenizer):
    classifier = EncoderForSequenceClassification(bert.base_model, Recurrent(bert.base_model))
    for method in (AttnLRP(), ModifiedGradient(ATTN_LRP), TextbookLRP(), DeepLift()):
        with pytest.raises(UnsupportedArchitecture, match="without torch's LSTM"):
            method.check(classifier)
    GradientXInput().check(classifier)
    assert GradientXInput()(Trace(classifier, texts_of(tokenizer))).abs().sum() > 0


def test_attention_of_the_head_is_not_taken_for_a_layer(bert, tokenizer):
    def attended(batch):
        states = bert.base_model(**batch).last_hidden_state
        weights = (states @ states.mT)[:, None].softmax(-1)[:, 0]
        return bert.classifier((weights @ states)[:, 0])

    classifier = EncoderForSequenceClassification(bert.base_model, attended)
    with pytest.raises(UnsupportedArchitecture, match="this one reads padding too"):
        LayerwiseAttentionTracing().check(classifier)
    GradSAM().check(classifier)
    trace = Trace(classifier, texts_of(tokenizer), None, GradSAM.needs)
    assert len(trace.attention) == len(trace.weighted_attention) == 3
    assert GradSAM()(trace).abs().sum() > 0


def test_the_attention_of_the_encoder_is_read_anew(bert, tokenizer):
    bert.config.id2label = {0: "no", 1: "yes"}  # so that the classifier has a config of its own
    head = bert.classifier
    classifier = EncoderForSequenceClassification(
        bert.base_model, lambda batch: head(bert.base_model(**batch).pooler_output)
    )
    bert.set_attn_implementation("eager")
    Trace(classifier, texts_of(tokenizer), None, Needs.ATTENTION)
    assert bert.config._attn_implementation == "eager"
