"""The trace: one forward of the unmodified model, each part at most once, nothing left behind."""

import copy
import itertools

import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bertx.attribution import (
    LRP,
    AttnLRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.classifier import classifier_in
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull"]
ALL = Needs.GRADIENT | Needs.ATTENTION | Needs.ACTIVATIONS


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS))


def condition(model):
    """All that a trace could leave behind."""
    return {
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "forwards": ["forward" in vars(m) for m in model.modules()],
        "modes": [m.training for m in model.modules()],
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "gradients": [p.grad for p in model.parameters()],
        "config": copy.deepcopy(vars(model.config)),
        "attention": sorted(ALL_ATTENTION_FUNCTIONS),
        "masks": sorted(ALL_MASK_ATTENTION_FUNCTIONS),
        "attributes": sorted(vars(model)) + sorted(vars(model.base_model)),
        "random": torch.random.get_rng_state(),
        "grad": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    for name, value in before.items():
        if name == "weights":
            assert all(torch.equal(value[k], after[name][k]) for k in value)
        elif name == "random":
            assert torch.equal(value, after[name])
        else:
            assert value == after[name], name


def mixed_modes(model):
    """A training model of which some modules are in evaluation mode on purpose."""
    model.train()
    model.base_model.encoder.layer[1].eval()
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_nothing_of_the_model_changes(bert, inputs, attention):
    model = mixed_modes(bert)
    model.set_attn_implementation(attention)
    before = condition(model)
    trace = Trace(model, inputs, None, ALL)
    for method in (GradientSensitivity(), GradientXInput(), LayerwiseAttentionTracing(), LRP()):
        method(trace)
    assert_same(before, condition(model))


@pytest.mark.parametrize("where", ["embeddings", "encoder", "classifier"])
def test_nothing_changes_when_the_forward_raises(bert, inputs, where):
    model = mixed_modes(bert)
    before = condition(model)
    part = model.classifier if where == "classifier" else getattr(model.base_model, where)
    handle = part.register_forward_hook(lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(MemoryError, match="full"):
        Trace(model, inputs, None, ALL)
    handle.remove()
    assert_same(before, condition(model))


def count_backwards(layer, calls):
    """Note each gradient that comes to the output of a layer."""

    def watch(_module, _args, output):
        found = output[0] if isinstance(output, tuple) else output
        found.register_hook(lambda *_: calls.append("back"))

    layer.register_forward_hook(watch)


def test_all_methods_share_one_forward_and_one_backward(bert, inputs):
    calls = []
    bert.register_forward_hook(lambda *_: calls.append("forward"))
    count_backwards(bert.base_model.encoder.layer[0], calls)
    trace = Trace(bert, inputs, None, Needs.GRADIENT | Needs.ATTENTION)
    for method in (GradientSensitivity(), GradientXInput(), LayerwiseAttentionTracing(), Random()):
        method(trace)
        method(trace)
    assert calls == ["forward", "back"]


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("needs", [Needs.NOTHING, Needs.GRADIENT, Needs.ATTENTION])
def test_logits_are_those_of_the_model(kind, needs, inputs):
    model = tiny_model(kind)
    with torch.no_grad():
        expected = model(**inputs.arguments(model)).logits
    logits = Trace(model, inputs, None, needs).logits
    if Needs.ATTENTION in needs:  # another kernel
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-13)
    else:
        assert torch.equal(logits, expected)


def test_attention_is_scaled_as_the_model_scales_it(bert, inputs):
    for layer in bert.base_model.encoder.layer:
        layer.attention.self.scaling = 0.1
    with torch.no_grad():
        expected = bert(**inputs.arguments(bert)).logits
    logits = Trace(bert, inputs, None, Needs.ATTENTION).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-13)


def test_texts_made_in_inference_mode_enter_the_graph(tokenizer):
    model = tiny_model("modernbert", classifier_pooling="mean")  # multiplies states by the mask
    expected = Trace(model, Inputs.from_batch(tiny_batch(tokenizer, TEXTS))).gradient
    with torch.inference_mode():
        inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    assert torch.equal(Trace(model, inputs).gradient, expected)


def test_dropout_is_off_whatever_the_mode(bert, inputs):
    expected = Trace(bert, inputs).logits
    assert torch.equal(Trace(bert.train(), inputs).logits, expected)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_attention_rows_sum_to_one_and_leave_padding_out(kind, inputs):
    model = tiny_model(kind)
    attention = Trace(model, inputs, None, Needs.ATTENTION).attention
    assert len(attention) == 3 and attention[0].shape == (2, 2, *[inputs.input_ids.shape[1]] * 2)
    for weights in attention:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        tokens = inputs.attention_mask.bool()  # rows of padding may look anywhere
        padded = tokens[:, None, :, None] & ~tokens[:, None, None]
        assert (weights.masked_select(padded) == 0).all()


def test_the_predicted_class_is_the_default_target(bert, inputs):
    trace = Trace(bert, inputs)
    assert torch.equal(trace.target, trace.logits.argmax(-1))
    assert Trace(bert, inputs, torch.tensor([2, 0])).target.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("needs", "part"),
    [
        (Needs.ATTENTION, "gradient"),
        (Needs.GRADIENT, "attention"),
        (Needs.GRADIENT, "record"),
    ],
)
def test_what_was_not_recorded_is_an_error_that_says_how(bert, inputs, needs, part):
    with pytest.raises(RuntimeError, match=r"needs=Needs\."):
        getattr(Trace(bert, inputs, None, needs), part)


def test_time_is_counted_for_each_method_as_if_alone(bert, inputs, monkeypatch):
    """By a clock that ticks whenever it is read: each shared part takes 1, and a method alone 1."""
    ticks = itertools.count()
    monkeypatch.setattr("bertx.trace.trace.now", lambda _: next(ticks))
    trace = Trace(bert, inputs, None, Needs.GRADIENT)
    methods = (GradientSensitivity(), GradientXInput(), Random(), lambda t: t.towards(0).gradient)
    # The first one makes the gradient that the second shares; the last one makes another.
    assert [trace.timed(method)[1] for method in methods] == [4, 3, 1, 3]


def test_a_compiled_shell_is_taken_off_and_gives_the_same(bert, inputs):
    expected = GradientXInput()(Trace(bert, inputs))
    shell = torch.nn.ModuleDict({"inner": torch.compile(bert, backend="aot_eager")})
    assert classifier_in(shell) is bert
    with torch.no_grad():
        shell["inner"](**inputs.arguments(bert))
    assert torch.equal(GradientXInput()(Trace(classifier_in(shell), inputs)), expected)
    compiled = []
    bert.compile(backend=lambda graph, _: compiled.append(graph) or graph.forward)
    with torch.no_grad():
        bert(**inputs.arguments(bert))
    before = len(compiled)
    assert torch.equal(GradientXInput()(Trace(bert, inputs)), expected)
    assert 0 < before == len(compiled)


def test_a_model_without_embeddings_is_refused(bert, inputs):
    del bert.base_model.embeddings
    with pytest.raises(UnsupportedArchitecture, match="models with word embeddings"):
        Trace(bert, inputs)


def test_an_unrelated_network_is_untouched_inside_the_scope(bert, inputs):
    """Another package patched every LayerNorm of the process: 29 % wrong gradients elsewhere."""
    forward = torch.nn.LayerNorm.forward
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    gradients = []

    def step(*_):
        net.zero_grad()
        with torch.enable_grad():
            net(x).square().mean().backward()
        gradients.append(net[0].weight.grad.clone())

    step()
    bert.base_model.encoder.layer[0].register_forward_hook(step)
    LRP()(Trace(bert, inputs, None, ALL))
    assert len(gradients) == 2 and torch.equal(*gradients)
    assert torch.nn.LayerNorm.forward is forward


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0]), "one for each of 2 texts, got 1"),
        (torch.tensor([0, 1, 2]), "one for each of 2 texts, got 3"),
        (3, "target 3: expected a class number from 0 to 2"),
        (torch.tensor([0, -1]), "target -1: expected a class number"),
    ],
)
def test_classes_that_are_not_there_are_refused(bert, inputs, target, message):
    with pytest.raises(InputError, match=message):
        Trace(bert, inputs, target)
    with pytest.raises(InputError, match=message):
        Trace(bert, inputs).towards(target)


def test_one_class_may_stand_for_all_texts(bert, inputs):
    one, each = Trace(bert, inputs, 1), Trace(bert, inputs, torch.tensor([1, 1]))
    assert torch.equal(one.target, each.target) and torch.equal(one.gradient, each.gradient)


def test_no_text_is_refused(bert, inputs):
    with pytest.raises(InputError, match="at least one text"):
        Trace(bert, Inputs(inputs.input_ids[:0], inputs.attention_mask[:0], inputs.units[:0]))


def test_hooks_of_the_training_backward_stay_and_are_not_called(bert, inputs):
    """LRP reads the inputs of modules, which a full backward hook would part from each other."""
    expected = LRP()(Trace(bert, inputs, None, ALL))
    called, layer = [], bert.base_model.encoder.layer[0]
    layer.attention.self.query.register_full_backward_hook(lambda *_: called.append("query"))
    layer.intermediate.dense.register_full_backward_pre_hook(lambda *_: called.append("dense"))
    before = condition(bert)
    assert torch.equal(LRP()(Trace(bert, inputs, None, ALL)), expected)
    assert not called
    assert_same(before, condition(bert))
    bert(**inputs.arguments(bert)).logits.sum().backward()
    assert sorted(called) == ["dense", "query"]


def test_an_attention_of_ones_own_is_refused_not_replaced(bert, inputs):
    def sharper(module, query, key, value, mask, scaling=None, **_):
        weights = (query @ key.transpose(-1, -2) + (0 if mask is None else mask)).softmax(-1)
        return (weights @ value).transpose(1, 2), weights

    ALL_ATTENTION_FUNCTIONS.register("sharper", sharper)
    try:
        bert.set_attn_implementation("sharper")
        for method in (AttnLRP(), LayerwiseAttentionTracing()):
            with pytest.raises(UnsupportedArchitecture, match="'sharper'"):
                method.check(bert)
        with pytest.raises(InputError, match="'sharper'"):
            Trace(bert, inputs, None, Needs.ATTENTION)
        GradientXInput().check(bert)
        GradientXInput()(Trace(bert, inputs, None, Needs.GRADIENT))
    finally:
        ALL_ATTENTION_FUNCTIONS._global_mapping.pop("sharper")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_padding_beyond_a_local_window_is_finite_under_autocast(tokenizer, dtype):
    model = tiny_model("modernbert", dtype=torch.float32)
    given = Inputs.from_batch(tiny_batch(tokenizer, ["the film was not very good " * 3, "dull"]))
    with torch.autocast("cpu", dtype):
        trace = Trace(model, given, None, Needs.ATTENTION)
        with torch.no_grad():
            expected = model(**given.arguments(model)).logits
    torch.testing.assert_close(trace.logits, expected, rtol=0.05, atol=0.05)
