"""One forward with many backwards: the values are the model's own, and nothing stays behind."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn import functional
from transformers.activations import ACT2FN

from bertx.attribution import (
    CPLRP,
    AttnLRP,
    DeepLift,
    GradientXInput,
    ModifiedGradient,
    TextbookLRP,
)
from bertx.models.activations import activation_modules
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from bertx.trace.attend import attend
from bertx.trace.nodes import Switch
from bertx.trace.recording import explicit_attention, recording_functions
from bertx.trace.rules import CP_LRP, Epsilon, Rules
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model
from tests.trace.test_trace import assert_same, condition, count_backwards, mixed_modes

TEXTS = ["the film was not very good", "dull", "unbelievable acting ! and a superb plot"]
ALL = Needs.GRADIENT | Needs.ATTENTION_GRADIENT | Needs.RELEVANCE | Needs.LINEAR


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_forward_is_that_of_the_same_kernels_bit_for_bit(kind, dtype, inputs):
    model = tiny_model(kind, dtype=dtype)
    with torch.no_grad():
        own = model(**inputs.arguments(model)).logits
        with explicit_attention(model):
            explicit = model(**inputs.arguments(model)).logits
    assert torch.equal(Trace(model, inputs, None, Needs.RELEVANCE | Needs.LINEAR).logits, own)
    for needs in (Needs.ATTENTION, ALL):
        assert torch.equal(Trace(model, inputs, None, needs).logits, explicit)
    if kind != "modernbert":  # whose eager attention gives NaN on padding in float64
        model.set_attn_implementation("eager")
        with torch.no_grad():
            assert torch.equal(model(**inputs.arguments(model)).logits, explicit)


@pytest.mark.parametrize("method", [AttnLRP(), CPLRP(), TextbookLRP()])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_relevance_is_the_same_whatever_computes_attention(kind, method, inputs):
    model = tiny_model(kind)
    fused = method(Trace(model, inputs, None, method.needs))
    explicit = method(Trace(model, inputs, None, method.needs | Needs.ATTENTION))
    tolerance = 1e-5 if kind == "modernbert" else 1e-10  # it rotates in float32
    torch.testing.assert_close(fused, explicit, rtol=tolerance, atol=tolerance)
    if kind != "modernbert":
        model.set_attn_implementation("eager")
        eager = method(Trace(model, inputs, None, method.needs))
        torch.testing.assert_close(eager, explicit, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_gradient_is_the_ordinary_one_before_and_after_other_backwards(kind, inputs):
    model = tiny_model(kind)
    with explicit_attention(model):
        block = model.base_model.embeddings
        states = []
        handle = block.register_forward_hook(lambda *a: states.append(a[2]))
        logits = model(**inputs.arguments(model)).logits
        handle.remove()
    best = logits.max(1).values.sum()
    (expected,) = torch.autograd.grad(best, states)
    trace = Trace(model, inputs, None, ALL)
    first = trace.gradient
    torch.testing.assert_close(first, expected, rtol=1e-12, atol=1e-15)
    for method in (AttnLRP(), CPLRP(), TextbookLRP()):
        method(trace)
    assert torch.equal(trace.towards(trace.target).gradient, first)


def test_all_ones_is_gradient_times_input(bert, inputs):
    trace = Trace(bert, inputs, None, ALL)
    assert torch.equal(ModifiedGradient(Rules())(trace), GradientXInput()(trace))


def test_the_epsilon_rule_with_no_epsilon_is_the_gradient_of_a_linear_map(bert, inputs):
    trace = Trace(bert, inputs, None, ALL)
    plain = TextbookLRP(Epsilon(0.0), rules=CP_LRP)(trace)
    torch.testing.assert_close(plain, CPLRP()(trace), rtol=1e-12, atol=1e-14)


def test_backwards_share_one_forward_and_each_is_run_once(bert, inputs):
    calls = []
    bert.register_forward_hook(lambda *_: calls.append("forward"))
    count_backwards(bert.base_model.encoder.layer[0], calls)
    trace = Trace(bert, inputs, None, ALL)
    for method in (GradientXInput(), AttnLRP(), CPLRP(), AttnLRP(), CPLRP(), GradientXInput()):
        method(trace)
    _ = trace.weighted_attention
    assert calls == ["forward", "back", "back", "back"]


def test_every_class_is_that_of_a_trace_for_this_class(bert, inputs):
    trace = Trace(bert, inputs, None, ALL)
    for method in (AttnLRP(), GradientXInput()):
        every = method.every_class(trace)
        assert every.shape == (len(TEXTS), 3, inputs.input_ids.shape[1])
        for number in range(3):
            target = torch.full((len(TEXTS),), number)
            assert torch.equal(every[:, number], method(Trace(bert, inputs, target, ALL)))
    assert torch.equal(trace.target, trace.logits.argmax(1))


def test_weighted_attention_is_that_of_finite_differences(bert, inputs):
    """One weight at a time: head 1 of layer 1, the first text."""
    trace = Trace(bert, inputs, None, Needs.GRADIENT | Needs.ATTENTION | Needs.ATTENTION_GRADIENT)
    layer, step = 1, 1e-6
    weights = trace.attention[layer]
    products = torch.zeros_like(weights[0])
    for place in torch.cartesian_prod(*map(torch.arange, weights.shape[1:])).tolist():
        values = []
        for sign in (1, -1):

            def moved(kept, sign=sign, place=tuple(place)):
                changed = kept.clone()
                changed[(0, *place)] += sign * step
                return changed

            values.append(logits_with(bert, inputs, layer, moved)[0, trace.target[0]])
        slope = (values[0] - values[1]) / (2 * step)
        products[tuple(place)] = weights[(0, *place)] * slope
    expected = products.clamp(min=0).mean(0)
    torch.testing.assert_close(trace.weighted_attention[layer][0], expected, rtol=1e-5, atol=1e-9)


def logits_with(model, inputs, layer, change):
    """The forward with the weights of one layer changed."""
    seen = []

    def core(query, key, value, mask, scale):
        context, weights = attend(query, key, value, mask, scale)
        seen.append(weights)
        if len(seen) == layer + 1:
            context = (change(weights) @ value).transpose(1, 2)
        return context, weights

    with explicit_attention(model, core), torch.no_grad():
        return model(**inputs.arguments(model)).logits


def test_nothing_of_the_model_changes(bert, inputs):
    model = mixed_modes(bert)
    frozen = model.base_model.encoder.layer[2]
    frozen.requires_grad_(False)
    needed = [p.requires_grad for p in model.parameters()]
    before = condition(model)
    trace = Trace(model, inputs, None, ALL)
    for method in (AttnLRP(), CPLRP(), TextbookLRP()):
        method(trace)
    assert_same(before, condition(model))
    assert [p.requires_grad for p in model.parameters()] == needed


def test_nothing_changes_when_forward_or_backward_raises(bert, inputs):
    before = condition(bert)
    needed = [p.requires_grad for p in bert.parameters()]
    handle = bert.classifier.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Trace(bert, inputs, None, ALL)
    handle.remove()
    assert [p.requires_grad for p in bert.parameters()] == needed
    trace = Trace(bert, inputs, None, ALL)
    expected = trace.towards(0).gradient
    with pytest.raises(ZeroDivisionError):
        trace.relevance(Rules(norm=0.0, linear=lambda weight: 1 / 0))
    assert torch.equal(trace.towards(0).gradient, expected)
    assert_same(before, condition(bert))


def test_a_training_step_is_bit_identical_with_and_without(inputs):
    weights = []
    for explained in (False, True):
        model = tiny_model("bert").train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(2):
            torch.manual_seed(3)
            loss = model(**inputs.arguments(model), labels=torch.tensor([0, 1, 2])).loss
            if explained:
                with torch.no_grad():
                    AttnLRP()(Trace(model, inputs, None, ALL))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


SMOOTH = ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu", "tanh", "relu", "mish"]


@pytest.mark.parametrize("name", SMOOTH)
def test_an_activation_is_its_secant_whatever_it_is_made_of(name):
    module = nn.Sequential(ACT2FN[name]).double()
    x = torch.tensor([-2.0, -0.1, 0.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)
    switch = Switch()
    with recording_functions(module, switch):
        y = module(x)
    assert torch.equal(y, module(x))
    with switch.set_to(Rules(activation=0.0)):
        (slope,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    nonzero = x != 0
    torch.testing.assert_close(slope[nonzero], (y / x)[nonzero].detach(), rtol=1e-12, atol=0)
    middle = jacobian(lambda z: module(z), torch.zeros(1, dtype=torch.float64)).item()
    expected = {"relu": slope[~nonzero].item()}.get(name, middle)  # relu has a corner there
    assert slope[~nonzero].item() == pytest.approx(expected, abs=1e-6)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, jacobian(lambda z: module(z).sum(), x))


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_is_linear_with_its_denominator_constant(affine):
    norm = nn.LayerNorm(6, eps=1e-3, elementwise_affine=affine).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    sigma = (x.var(-1, correction=0, keepdim=True) + 1e-3).sqrt().detach()
    weight = norm.weight.detach() if affine else 1
    switch, cotangent = Switch(), torch.randn(3, 6, dtype=torch.float64)
    with recording_functions(norm, switch):
        y = norm(x)
    for share in (0.0, 0.3, 1.0):
        with switch.set_to(Rules(norm=share)):
            (found,) = torch.autograd.grad(y, x, cotangent, retain_graph=True)
        linear = (x - x.mean(-1, keepdim=True)) / sigma * weight
        (constant,) = torch.autograd.grad(linear, x, cotangent, retain_graph=True)
        (true,) = torch.autograd.grad(norm(x), x, cotangent)
        torch.testing.assert_close(found, share * true + (1 - share) * constant)


@pytest.mark.parametrize(
    "multiply",
    [torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, lambda a, b: a @ b],
)
def test_both_factors_of_a_matrix_product_get_their_share(multiply):
    a = torch.randn(2, 3, 4, requires_grad=True)
    b = torch.randn(2, 4, 5, requires_grad=True)
    switch = Switch()
    with recording_functions(nn.Identity(), switch):
        y, constant = multiply(a, b), multiply(a, b.detach())
    whole = torch.autograd.grad(y.sum(), (a, b), retain_graph=True)
    with switch.set_to(Rules(product=0.5)):
        halves = torch.autograd.grad(y.sum(), (a, b))
        alone = torch.autograd.grad(constant.sum(), a)
    for half, all_of_it in zip(halves, whole, strict=True):
        torch.testing.assert_close(half, all_of_it / 2)
    torch.testing.assert_close(alone[0], whole[0])


@pytest.mark.parametrize("softmax", [functional.softmax, torch.softmax, torch.Tensor.softmax])
def test_attention_weights_are_kept_and_can_be_constants(softmax):
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    switch = Switch()
    with recording_functions(nn.Identity(), switch) as recorder:
        y = softmax(x, -1) * x.detach()
        softmax(x[0, 0], -1)
    assert len(recorder.attention) == 1
    (gradient,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
    assert gradient.abs().sum() > 0
    with switch.set_to(Rules(softmax=0.0)):
        (nothing,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    assert nothing is None or (nothing == 0).all()


@pytest.mark.parametrize("setting", ["pooler_hidden_act", "conv_act"])
def test_an_activation_that_no_hook_reaches_is_refused(setting):
    model = tiny_model("deberta-v2", **{setting: "gelu_new"})
    for method in (AttnLRP(), CPLRP(), TextbookLRP(), DeepLift()):
        with pytest.raises(UnsupportedArchitecture, match=f"{setting} gelu, relu, silu or tanh"):
            method.check(model)
    for method in (AttnLRP(), DeepLift()):
        method.check(tiny_model("deberta-v2", **{setting: "tanh"}))


def test_an_activation_that_is_not_zero_at_zero_is_refused():
    with pytest.raises(UnsupportedArchitecture, match="activations that are 0 at 0"):
        CPLRP().check(tiny_model("bert", hidden_act="sigmoid"))


def test_a_softmax_is_no_elementwise_function():
    parts = torch.nn.Softmax(-1), torch.nn.GELU(), torch.nn.LogSoftmax(-1)
    assert activation_modules(torch.nn.Sequential(*parts)) == [parts[1]]


def test_a_model_type_that_is_not_known_is_followed(bert):
    bert.config.model_type = "unheard-of"
    AttnLRP().check(bert)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, eps: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps),
        lambda x, eps: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps),
        lambda x, eps: x * (1 / (x.square().mean(-1, keepdim=True) + eps).sqrt()).to(x.dtype),
    ],
    ids=["sqrt", "rsqrt", "reciprocal"],
)
def test_a_norm_that_is_written_out_is_linear_with_its_denominator_constant(norm):
    torch.manual_seed(0)
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, dtype=torch.float64)
    switch = Switch()
    with recording_functions(torch.nn.Identity(), switch):
        y = norm(x, 0.1)
    (whole,) = torch.autograd.grad((norm(x, 0.1) * weights).sum(), x)
    (plain,) = torch.autograd.grad((y * weights).sum(), x, retain_graph=True)
    torch.testing.assert_close(plain, whole)
    # y is linear with the denominator constant, so that its derivative along x is y itself.
    with switch.set_to(CP_LRP):
        (held,) = torch.autograd.grad((y * weights).sum(), x, retain_graph=True)
    torch.testing.assert_close((held * x).sum(), (y * weights).sum())
    assert (plain * x).sum().abs() < 0.5 * (held * x).sum().abs()
    with switch.set_to(replace(CP_LRP, norm=0.25)):
        (mixed,) = torch.autograd.grad((y * weights).sum(), x)
    torch.testing.assert_close(mixed, 0.25 * plain + 0.75 * held)


@pytest.mark.parametrize(
    "contract",
    [
        lambda a, b: torch.einsum("ij,kj->ik", a, b),
        lambda a, b: torch.einsum("ij,kj->ik", [a, b]),
        lambda a, b: torch.einsum("j,ij,kj->ik", torch.rand(4), a, b),
    ],
)
def test_both_factors_of_a_contraction_get_their_share(contract):
    a, b = torch.randn(2, 3, 4, requires_grad=True).unbind()
    switch = Switch()
    with recording_functions(torch.nn.Identity(), switch):
        y = contract(a, b)
    whole = torch.autograd.grad(y.sum(), (a, b), retain_graph=True)
    with switch.set_to(Rules(product=0.25)):
        shares = torch.autograd.grad(y.sum(), (a, b))
    for share, all_of_it in zip(shares, whole, strict=True):
        torch.testing.assert_close(share, all_of_it / 4)
