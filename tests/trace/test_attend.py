"""The core of attention: its forward bit for bit, its backward against autograd's and sums."""

import pytest
import torch

from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from bertx.trace import attend as core
from bertx.trace.attend import attend, attend_backward
from bertx.trace.nodes import Switch
from bertx.trace.recording import FunctionRecorder
from bertx.trace.rules import ATTN_LRP, CP_LRP, Rules
from tests.tiny import tiny_batch, tiny_model


def parts(texts=3, heads=4, tokens=7, width=5, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    query, key, value = (
        torch.randn(texts, tokens, heads, width, generator=draw, dtype=dtype)
        .transpose(1, 2)
        .requires_grad_()
        for _ in range(3)
    )
    mask = torch.zeros(texts, 1, tokens, tokens, dtype=dtype)
    mask[0, :, :, tokens - 1] = torch.finfo(dtype).min
    grad = torch.randn(texts, tokens, heads, width, generator=draw, dtype=dtype)
    return query, key, value, mask, grad


def plain(query, key, value, mask, scale):
    """As transformers' eager attention writes it."""
    weights = (query @ key.transpose(2, 3) * scale + mask).softmax(-1)
    return (weights @ value).transpose(1, 2), weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("graph", [False, True])
def test_the_forward_is_that_of_eager_attention_bit_for_bit(dtype, graph):
    query, key, value, mask, _ = parts(tokens=33, dtype=dtype)
    expected = plain(query, key, value, mask, 0.3)
    with torch.set_grad_enabled(graph):
        context, weights = attend(query, key, value, mask, 0.3)
    assert torch.equal(context, expected[0]) and torch.equal(weights, expected[1])
    assert weights.requires_grad == graph
    bare, _ = attend(query.detach(), key, value.detach(), None, 0.3)
    assert torch.equal(bare, plain(query, key, value, torch.zeros_like(mask), 0.3)[0])


@pytest.mark.parametrize("block", [1, 49, 98, 200, 10_000])
@pytest.mark.parametrize("rows", [[0], [], [2, 5], list(range(7))])
def test_gradients_are_autograds_for_any_blocks_and_queries(monkeypatch, block, rows):
    monkeypatch.setattr(core, "BLOCK", block)
    query, key, value, mask, grad = parts()
    grad = torch.zeros_like(grad).index_copy_(
        1, torch.tensor(rows, dtype=torch.long), grad[:, rows]
    )
    context, weights = plain(query, key, value, mask, 1.0)
    inputs = [query, key, value, weights]
    *expected, change = torch.autograd.grad(context, inputs, grad)
    *gradients, weighted = attend_backward(grad, query, key, value, context, weights, weighted=True)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    products = (weights * change).clamp(min=0).mean(1)
    torch.testing.assert_close(weighted, products, rtol=1e-12, atol=1e-13)


def test_one_token_and_what_is_not_wanted():
    query, key, value, mask, grad = parts(tokens=1)
    context, weights = plain(query, key, value, mask * 0, 1.0)
    expected = torch.autograd.grad(context, value, grad)
    gradients = attend_backward(grad, query, key, value, context, weights, through_logits=False)
    torch.testing.assert_close(gradients[2], *expected)
    assert gradients[0] is None and gradients[1] is None and gradients[3] is None


@pytest.mark.parametrize("rules", [Rules(), ATTN_LRP, CP_LRP, Rules(softmax=0.3, product=0.7)])
def test_the_node_passes_the_shares_of_the_rules(rules):
    """Against the nodes of softmax and products, each with a share of its own."""
    query, key, value, mask, grad = parts()
    switch = Switch()
    node, nodes = FunctionRecorder(switch), FunctionRecorder(switch)
    with node:
        context, weights = node.attend(query, key, value, mask, 0.4)
    assert len(node.attention) == 1 and node.attention[0] is weights and not weights.requires_grad
    with nodes:
        expected, _ = attend(query, key, value, mask, 0.4)
    assert torch.equal(context, expected)
    with switch.set_to(rules):
        found, theirs = (
            torch.autograd.grad(y, (query, key, value), grad, allow_unused=True)
            for y in (context, expected)
        )
    for own, other in zip(found, theirs, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-13)


def test_only_queries_with_a_gradient_are_multiplied(monkeypatch):
    query, key, value, mask, grad = parts()
    context, weights = plain(query, key, value, mask, 1.0)
    grad[:, 1:] = 0
    seen = []
    real = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: seen.append(a.shape) or real(a, b))
    attend_backward(grad, query, key, value, context, weights)
    assert seen == [(12, 7, 1), (12, 1, 5), (12, 1, 7), (12, 7, 1)]


def test_a_switch_weighs_attention_in_one_backward_only():
    query, key, value, mask, grad = parts()
    switch = Switch()
    recorder = FunctionRecorder(switch, Needs.ATTENTION_GRADIENT)
    with recorder:
        context, _ = recorder.attend(query, key, value, mask, 0.4)
    with switch.weighing(recorder.attention) as found:
        torch.autograd.grad(context, query, grad, retain_graph=True)
    (first,) = found.values()
    assert first.shape == (3, 7, 7) and first.min() >= 0
    found.clear()
    torch.autograd.grad(context, query, grad)
    assert not found and switch.weighted is None


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_gradients_in_half_precision_are_those_of_the_widest(kind, tokenizer):
    """As good as what autograd makes of the same forward."""
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["a superb film", "dull and bad and long"]))
    needs = Needs.GRADIENT | Needs.ATTENTION | Needs.ATTENTION_GRADIENT
    exact = Trace(tiny_model(kind), inputs, None, needs)
    half = Trace(tiny_model(kind).bfloat16(), inputs, exact.target, needs)
    for own, wide in zip(half.weighted_attention, exact.weighted_attention, strict=True):
        assert own.dtype == torch.float32
        assert float((own - wide).norm() / wide.norm()) < 0.1
    assert float((half.gradient - exact.gradient).norm() / exact.gradient.norm()) < 0.1
