"""What a head reads is tried out where the forward is not transformers' own."""

from functools import partial
from types import MethodType

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from bertx.attribution import (
    LRP,
    AttentionRollout,
    AttnLRP,
    DecompX,
    GenericAttention,
    GradientXInput,
    GradSAM,
    LayerwiseAttentionTracing,
    ValueZeroing,
)
from bertx.attribution.readout import head_reads, short_texts
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
READING = [LayerwiseAttentionTracing, AttentionRollout, GenericAttention]
PARTS = [LRP, DecompX, ValueZeroing]
ALL = Needs.ATTENTION | Needs.ATTENTION_GRADIENT | Needs.ACTIVATIONS


def states_of(model, input_ids, attention_mask, **more):
    return model.base_model(input_ids=input_ids, attention_mask=attention_mask, **more)


def mean(states, mask):
    mask = mask[..., None].to(states)
    return (states * mask).sum(1) / mask.sum(1)


def attended(states, mask):
    away = mask == 0
    weights = states.sum(-1).masked_fill(away, -torch.inf).softmax(-1)
    return (weights[..., None] * states).sum(1)


def largest(states, mask):
    return states.masked_fill(mask[..., None] == 0, -9).amax(1)


def without_special(states, mask):
    inner = mask.clone()
    inner[:, 0] = 0
    return mean(states, inner)


def pooled(kind, pool, dtype=torch.float64):
    """A classifier whose subclass has a forward and a head of its own; its config knows nothing."""
    model = tiny_model(kind)

    class Pooled(type(model)):
        def forward(self, input_ids=None, attention_mask=None, **_):
            states = states_of(self, input_ids, attention_mask).last_hidden_state
            return SequenceClassifierOutput(logits=self.own(pool(states, attention_mask)))

    model.__class__ = Pooled
    model.own = nn.Linear(16, 3)
    return model.to(dtype)


POOLS = {
    "(its tokens unevenly|tokens .* of 0 to 7)": largest,
    "unevenly, as a maximum or attention": attended,
    "tokens 1 of 0 to 7": lambda states, mask: states[:, 1],
    "tokens 1, 2, 3, 4, 5, 6, 7 of": without_special,
    "padding too": lambda states, mask: states.mean(1),
    "tokens unevenly,": lambda states, mask: states[:, 0] + mean(states, mask),
    "nothing that passes a gradient": lambda states, mask: states[:, 0] * 0,
}


def trace_of(model, tokenizer, needs=ALL, texts=TEXTS):
    return Trace(model, Inputs.from_batch(tiny_batch(tokenizer, texts)), None, needs)


def refuses(method, model, match):
    with pytest.raises(UnsupportedArchitecture, match=f"{method.__name__} does not.*{match}"):
        method().check(model)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_mean_that_the_config_does_not_know_is_read_as_a_mean(kind, tokenizer):
    model = pooled(kind, mean)
    for method in (*READING, GradSAM, GradientXInput, AttnLRP):
        method().check(model)
    trace = trace_of(model, tokenizer, Needs.ATTENTION | Needs.ATTENTION_GRADIENT)
    tracing, generic = LayerwiseAttentionTracing()(trace), GenericAttention()(trace)
    for row, length in enumerate(trace.inputs.attention_mask.sum(1).tolist()):
        maps = [weights[row, :, :length, :length].detach() for weights in trace.attention]
        whole = maps[2] @ maps[1] @ maps[0]
        torch.testing.assert_close(tracing[row, :length], whole.mean(1).sum(0))
        eye = torch.eye(length, dtype=torch.float64)
        shares = [weighted[row, :length, :length] + eye for weighted in trace.weighted_attention]
        whole = shares[2] @ shares[1] @ shares[0]
        torch.testing.assert_close(generic[row, :length], whole.mean(0))


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_first_and_mean_are_told_apart_in_every_precision(kind, dtype):
    assert head_reads(pooled(kind, mean, dtype), "Test") == "mean"
    assert head_reads(pooled(kind, lambda states, _: states[:, 0], dtype), "Test") == "first"
    assert head_reads(tiny_model(kind, dtype=dtype), "Test") == "first"


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("named", POOLS)
def test_a_head_that_reads_anything_else_is_refused_with_what_it_reads(kind, named, tokenizer):
    model = pooled(kind, POOLS[named])
    for method in (*READING, DecompX, ValueZeroing):
        refuses(method, model, named)
    for method in (GradSAM, GradientXInput, AttnLRP):
        method().check(model)
    with pytest.raises(UnsupportedArchitecture, match=named):
        LayerwiseAttentionTracing()(trace_of(model, tokenizer, Needs.ATTENTION))


def test_a_head_that_reads_lower_layers_or_two_runs_is_refused():
    model = tiny_model()

    class Deep(type(model)):
        def forward(self, input_ids=None, attention_mask=None, **_):
            found = states_of(self, input_ids, attention_mask, output_hidden_states=True)
            read = sum(states[:, 0] for states in found.hidden_states[-2:])
            return SequenceClassifierOutput(logits=self.classifier(read))

    class Twice(type(model)):
        def forward(self, **arguments):
            return super().forward(**arguments) if super().forward(**arguments) else None

    model.__class__ = Deep
    refuses(LayerwiseAttentionTracing, model, "lower layers")
    model.__class__ = Twice
    refuses(LayerwiseAttentionTracing, model, "embed their texts once")


def innocent(model, how):
    """The same model with code of somebody else's that changes no logits."""
    stock = type(model)

    class Super(stock):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    class Loss(stock):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **_):
            output = super().forward(input_ids=input_ids, attention_mask=attention_mask)
            output.loss = None if labels is None else output.logits.logsumexp(-1).mean()
            return output

    class Init(stock):
        def __init__(self, config):
            super().__init__(config)
            self.extra = nn.Linear(2, 2)

    if how == "instance":
        model.forward = partial(MethodType(stock.forward, model))
        return model
    if how == "init":
        other = Init(model.config).double().eval()
        other.load_state_dict(model.state_dict(), strict=False)
        return other
    model.__class__ = Super if how == "super" else Loss
    return model


INNOCENT = [
    *((kind, "super") for kind in ARCHITECTURES),
    *((kind, how) for kind in ("bert", "modernbert") for how in ("loss", "init", "instance")),
]


@pytest.mark.parametrize(("kind", "how"), INNOCENT)
def test_innocent_code_changes_nothing(kind, how, tokenizer):
    stock, own = tiny_model(kind), innocent(tiny_model(kind), how)
    paper = [LRP] if kind in ("bert", "roberta", "xlm-roberta") else []
    for method in (*READING, GradSAM, DecompX, ValueZeroing, *paper):
        method().check(own)
        expected, scores = (
            method()(trace_of(model, tokenizer, method.needs)) for model in (stock, own)
        )
        assert torch.equal(scores, expected)


def changed(how, dtype=torch.float64):
    """A BERT that reads its first token, but computes more or less than its parts do."""
    model = tiny_model()
    stock = type(model)

    class Scaled(stock):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = self.extra(output.logits) if how == "linear" else output.logits * 1.1
            return output

    class NoPooler(stock):
        def forward(self, input_ids=None, attention_mask=None, **_):
            states = states_of(self, input_ids, attention_mask).last_hidden_state
            return SequenceClassifierOutput(logits=self.classifier(states[:, 0]))

    class Pooler(type(model.bert.pooler)):
        def forward(self, states):
            return self.dense(states[:, 0])

    class Block(type(model.bert.encoder.layer[1].output)):
        def forward(self, states, residual):
            return self.LayerNorm(self.dense(states))

    if how == "pooler":
        model.bert.pooler.__class__ = Pooler
    elif how == "block":
        model.bert.encoder.layer[1].output.__class__ = Block
    else:
        model.__class__ = NoPooler if how == "no pooler" else Scaled
    model.extra = nn.Linear(3, 3)
    return model.to(dtype)


@pytest.mark.parametrize("how", ["scaled", "linear", "no pooler", "pooler", "block"])
@pytest.mark.parametrize("untrained", [False, True])
def test_what_is_not_the_sum_of_its_parts_is_refused_by_what_needs_them(how, untrained):
    model = changed(how)
    if untrained:  # logits of a new head are near 0: they are measured by their own size
        model.classifier.weight.data.mul_(1e-3)
        model.classifier.bias.data.zero_()
        model.extra.bias.data.zero_()
    for method in PARTS:
        refuses(method, model, "its layers and head")
    for method in (*READING, GradSAM, AttnLRP):
        method().check(model)


@pytest.mark.parametrize("how", ["linear", "no pooler", "block"])
def test_that_is_seen_in_half_precision_too(how):
    for method in (DecompX, ValueZeroing):
        refuses(method, changed(how, torch.bfloat16), "its layers and head")
        method().check(innocent(tiny_model(dtype=torch.bfloat16), "super"))


def test_the_usual_head_on_a_mean_is_explained_by_what_can(tokenizer):
    model = tiny_model()

    class Mean(type(model)):
        def forward(self, input_ids=None, attention_mask=None, **_):
            states = states_of(self, input_ids, attention_mask).last_hidden_state
            read = self.bert.pooler(mean(states, attention_mask)[:, None])
            return SequenceClassifierOutput(logits=self.classifier(read))

    model.__class__ = Mean
    refuses(LRP, model, "first token")
    for method in (DecompX(), ValueZeroing()):
        method.check(model)
    trace = trace_of(model, tokenizer, Needs.ATTENTION)
    torch.testing.assert_close(DecompX().every_class(trace).sum(-1), trace.logits)
    torch.testing.assert_close(ValueZeroing()(trace).sum(1), torch.ones(3).double())


def test_a_subclass_without_the_parts_is_refused_by_what_needs_them():
    model = pooled("bert", mean)
    model.bert.pooler = None
    for method in PARTS:
        refuses(method, model, "not wrapped")
    LayerwiseAttentionTracing().check(model)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_model_is_left_as_it_was(mode):
    """One in training, with dropout, whose forward draws numbers and a part of which is frozen."""

    def pool(states, mask):
        dropped = nn.functional.dropout(states, 0.5, model.training)
        return mean(dropped, mask) + 0 * torch.rand(())

    model, called = pooled("bert", pool).train(), []
    model.bert.pooler.eval()
    model.classifier.requires_grad_(False)
    model.own.register_full_backward_hook(lambda *_: called.append(1))
    modes = [part.training for part in model.modules()]
    trained = [own.requires_grad for own in model.parameters()]
    hooks = [len(part._forward_hooks) for part in model.modules()]
    before = torch.random.get_rng_state()
    with mode():
        assert head_reads(model, "Test") == "mean"
        for method in (LayerwiseAttentionTracing, DecompX):
            with pytest.raises(UnsupportedArchitecture) if method is DecompX else mode():
                method().check(model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert modes == [part.training for part in model.modules()]
    assert trained == [own.requires_grad for own in model.parameters()]
    assert hooks == [len(part._forward_hooks) for part in model.modules()]
    assert all(own.grad is None for own in model.parameters())
    assert model.config._attn_implementation == "sdpa" and not called


def test_only_code_of_others_is_tried_and_its_head_once():
    calls, tried = [], 1 + 2 * len(READING)  # recorded and plain
    for model, runs in ((tiny_model(), 0), (innocent(tiny_model(), "super"), tried)):
        calls.clear()
        model.register_forward_pre_hook(lambda *_: calls.append(1))
        for method in READING:
            method().check(model)
        assert len(calls) == runs


def test_new_code_is_tried_again():
    model = pooled("bert", mean)
    assert head_reads(model, "Test") == "mean"
    model.forward = MethodType(type(tiny_model()).forward, model)
    assert head_reads(model, "Test") == "first"
    del model.forward
    assert head_reads(model, "Test") == "mean"


def test_a_head_that_has_no_gradient_yet_is_tried_again():
    model = innocent(tiny_model(), "super")
    aside = model.classifier.weight.data.clone()
    model.classifier.weight.data.zero_()
    refuses(LayerwiseAttentionTracing, model, "head 0")
    model.classifier.weight.data.copy_(aside)
    assert head_reads(model, "Test") == "first"


def test_weights_of_inference_mode_are_refused_by_name():
    model = innocent(tiny_model(), "super")
    with torch.inference_mode():
        model.classifier.bias = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(UnsupportedArchitecture, match="no weights made in inference mode"):
        head_reads(model, "Test")


CLS, SEP = 2, 3
BY_ID = {
    "words": r"the mean .* tokens 1, 2, .* 8, \.\.\. of 0 to 10",
    "sep": "tokens 10 of 0 to 10",
}


def by_id(kind, how, **config):
    """A classifier whose head finds the tokens that it reads by their ids."""
    model = tiny_model(kind, **config)

    class ById(type(model)):
        def forward(self, input_ids=None, attention_mask=None, **_):
            states = states_of(self, input_ids, attention_mask).last_hidden_state
            if how == "sep":
                read = states[torch.arange(len(states)), (input_ids == SEP).int().argmax(1)]
            else:
                read = mean(states, attention_mask * (input_ids != CLS) * (input_ids != SEP))
            pooler = getattr(self.base_model, "pooler", None)
            read = read if pooler is None else pooler(read[:, None])
            return SequenceClassifierOutput(logits=self.classifier(read))

    model.__class__ = ById
    return model


@pytest.mark.parametrize("how", BY_ID)
@pytest.mark.parametrize("method", [*READING, *PARTS])
def test_a_head_that_looks_for_special_tokens_is_refused_with_real_texts(method, how, tokenizer):
    model = by_id("bert", how, vocab_size=1000)
    assert not torch.isin(short_texts(model).input_ids, torch.tensor([CLS, SEP])).any()
    mean_of_lrp = (method, how) == (LRP, "words")
    (DecompX if mean_of_lrp else method)().check(model)
    with torch.inference_mode():
        trace = trace_of(model, tokenizer, method.needs)
        for _ in range(2):
            with pytest.raises(
                UnsupportedArchitecture, match="first token" if mean_of_lrp else BY_ID[how]
            ):
                method()(trace)
    assert AttnLRP()(trace_of(model, tokenizer, AttnLRP.needs)).isfinite().all()


@pytest.mark.parametrize("how", BY_ID)
def test_it_is_refused_at_once_where_the_config_knows_special_tokens(how):
    model = by_id("modernbert", how)
    ids = short_texts(model).input_ids
    assert ids[:, 0].tolist() == [CLS, CLS] and ids[[0, 1], [7, 4]].tolist() == [SEP, SEP]
    read = {"sep": "unevenly|tokens 7", "words": "tokens 1, .*6 of 0 to 7"}[how]
    for method in READING:
        refuses(method, model, read)
    model.config.update({"cls_token_id": 5000, "bos_token_id": 4, "sep_token_id": None})
    assert short_texts(model).input_ids[0, [0, 7]].tolist() == [4, 3]


def test_real_texts_are_tried_once_and_by_the_longest(tokenizer):
    calls, model = [], innocent(tiny_model(), "super")
    LayerwiseAttentionTracing().check(model)
    traces = [trace_of(model, tokenizer) for _ in range(2)]
    model.register_forward_pre_hook(
        lambda _m, _a, named: calls.append(named["input_ids"]), with_kwargs=True
    )
    for method in READING:
        for trace in traces:
            method()(trace)
    assert len(calls) == 1 and torch.equal(calls[0], traces[0].inputs.input_ids[2:])


def test_texts_that_say_nothing_are_no_contradiction(tokenizer):
    """One of a single token, and one without a gradient, at which a head of ReLUs is 0."""
    model = pooled("bert", mean)
    assert head_reads(model, "Test") == "mean"
    inputs = trace_of(model, tokenizer, texts=["dull"]).inputs
    one = Inputs(
        *(found[:, :1] for found in (inputs.input_ids, inputs.attention_mask, inputs.units))
    )
    assert head_reads(model, "Test", one) == "mean"
    aside = model.own.weight.data.clone()
    for value in (0.0, torch.nan):
        model.own.weight.data.fill_(value)
        assert head_reads(model, "Test", inputs) == "mean"
    model.own.weight.data.copy_(aside)
    assert head_reads(model, "Test", inputs) == "mean"


@pytest.mark.parametrize("how", ["scaled", "no pooler", "pooler", "block"])
def test_the_papers_propagation_is_not_computed_unchecked(how, tokenizer):
    with pytest.raises(UnsupportedArchitecture, match=r"LRP does not.*its layers and head"):
        LRP()(trace_of(changed(how), tokenizer, LRP.needs))
