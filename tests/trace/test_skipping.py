"""Linear maps that skip tokens without gradient: the same numbers from fewer products."""

import pytest
import torch
from torch import nn

from bertx.models.inputs import Inputs
from bertx.trace import Trace, skipping
from bertx.trace.needs import Needs
from bertx.trace.skipping import Skipping, skipping_linear
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was great", "a dull bad plot , but never a really bad film"]


def parts(seed=0, texts=3, tokens=5, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(texts, tokens, 4, generator=draw, dtype=dtype, requires_grad=True)
    weight = torch.randn(6, 4, generator=draw, dtype=dtype)
    return x, weight, torch.randn(6, generator=draw, dtype=dtype)


@pytest.mark.parametrize("kept", [[0], [], [0, 1, 2, 3, 4], [0, 3], [2]])
def test_gradients_are_those_of_the_ordinary_map(kept):
    x, weight, bias = parts()
    y, plain = skipping_linear(x, weight, bias), nn.functional.linear(x, weight, bias)
    assert torch.equal(y, plain) and y.grad_fn.name() == "_SkippingLinearBackward"
    grad = torch.zeros_like(y)
    grad[:, kept] = torch.randn(3, len(kept), 6, dtype=torch.float64)
    (found,) = torch.autograd.grad(y, x, grad)
    (expected,) = torch.autograd.grad(plain, x, grad)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)


def test_only_tokens_with_a_gradient_are_multiplied(monkeypatch):
    x, weight, bias = parts()
    y = skipping_linear(x, weight, bias)
    (found,) = torch.autograd.grad(y[:, 0].sum(), x)
    seen = []
    real = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: seen.append(a.shape) or real(a, b))
    (again,) = torch.autograd.grad(skipping_linear(x, weight, bias)[:, 0].sum(), x)
    assert seen == [(3, 6)] and torch.equal(found, again)
    assert not again[:, 1:].any()


def test_a_map_without_gradient_multiplies_nothing(monkeypatch):
    x, weight, bias = parts()
    factor = torch.ones(3, 5, 6, dtype=torch.float64, requires_grad=True)

    class Cut(torch.autograd.Function):
        @staticmethod
        def forward(ctx, kept, cut):
            return kept + cut

        @staticmethod
        def backward(ctx, grad):
            return grad, None

    y = Cut.apply(factor, skipping_linear(x, weight, bias)).sum()
    seen = []
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: seen.append(a.shape))
    found, expected = torch.autograd.grad(y, [x, factor], allow_unused=True)
    assert found is None and not seen and torch.equal(expected, torch.ones_like(factor))


def test_what_cannot_be_skipped_is_the_ordinary_map():
    x, weight, bias = parts()
    for given in (
        (x, nn.Parameter(weight), bias),
        (x[:, :1], weight, bias),
        (x[0], weight, bias),
        (x.detach(), weight, bias),
    ):
        y = skipping_linear(*given)
        assert y.grad_fn is None or y.grad_fn.name() != "_SkippingLinearBackward"
    with torch.no_grad():
        assert skipping_linear(x, weight, bias).grad_fn is None


def test_autocast_and_halves():
    x, weight, bias = parts(dtype=torch.float32)
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y, plain = skipping_linear(x, weight, bias), nn.functional.linear(x, weight, bias)
        assert y.dtype == plain.dtype == dtype
        (found,) = torch.autograd.grad(y[:, 0].float().sum(), x)
        (expected,) = torch.autograd.grad(plain[:, 0].float().sum(), x)
        assert found.dtype == expected.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("needs", [Needs.GRADIENT, Needs.RELEVANCE | Needs.ATTENTION])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_trace_has_the_models_values_and_gradients(kind, needs, tokenizer, monkeypatch):
    model, inputs = tiny_model(kind), Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    trace = Trace(model, inputs, None, needs | Needs.GRADIENT)
    monkeypatch.setattr(skipping, "skipping_linear", nn.functional.linear)
    monkeypatch.setattr("bertx.trace.recording.skipping_linear", nn.functional.linear)
    plain = Trace(model, inputs, None, needs | Needs.GRADIENT)
    assert torch.equal(trace.logits, plain.logits)
    torch.testing.assert_close(trace.gradient, plain.gradient, rtol=1e-10, atol=1e-13)


def test_nothing_is_left_after_the_mode():
    x, weight, bias = parts()
    with Skipping():
        assert nn.functional.linear(x, weight, bias).grad_fn.name() == "_SkippingLinearBackward"
    assert nn.functional.linear(x, weight, bias).grad_fn.name() != "_SkippingLinearBackward"


@pytest.mark.parametrize("with_bias", [True, False])
def test_what_comes_out_may_be_written_into(with_bias):
    x, weight, bias = parts()
    bias = bias if with_bias else None
    with Skipping():
        y = nn.functional.linear(x, weight, bias)
        y /= 2
    plain = nn.functional.linear(x, weight, bias) / 2
    assert torch.equal(y, plain)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    (expected,) = torch.autograd.grad(plain.square().sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-14)
