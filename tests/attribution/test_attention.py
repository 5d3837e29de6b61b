"""Rollout, Grad-SAM, generic attention and attention tracing against loops, for all models."""

import pytest
import torch

from bertx.attribution.attention import (
    AttentionRollout,
    GenericAttention,
    GradSAM,
    LayerwiseAttentionTracing,
)
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.oracles import attention as oracle
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
READERS = [*((kind, "first") for kind in ARCHITECTURES), ("modernbert", "mean")]
ALL = Needs.ATTENTION | Needs.ATTENTION_GRADIENT


def model_of(kind, pooling, **config):
    """A tiny model; ``pooling`` is what its head reads."""
    changes = {"classifier_pooling": pooling} if pooling == "mean" else {}
    return tiny_model(kind, **changes, **config)


def trace_of(model, tokenizer, texts=TEXTS, target=None):
    return Trace(model, Inputs.from_batch(tiny_batch(tokenizer, texts)), target, ALL)


def ids_of(tokenizer, text):
    return tokenizer(text, return_tensors="pt").input_ids


def close(scores, expected):
    torch.testing.assert_close(scores[: len(expected)], expected.detach(), rtol=1e-9, atol=1e-12)
    assert (scores[len(expected) :] == 0).all()


@pytest.mark.parametrize(("kind", "pooling"), READERS)
def test_rollout_and_tracing_equal_matrix_products(kind, pooling, tokenizer):
    model = model_of(kind, pooling)
    trace = trace_of(model, tokenizer)
    tracing = LayerwiseAttentionTracing()(trace)
    for residual in (0.5, 0.0, 0.9):
        scores = AttentionRollout(residual)(trace)
        torch.testing.assert_close(scores.sum(1), torch.ones(3, dtype=torch.float64))
        for row, text in enumerate(TEXTS):
            maps, _ = oracle.attentions(model, ids_of(tokenizer, text))
            maps = [weights[0].detach() for weights in maps]
            close(scores[row], oracle.rollout(maps, residual, pooling))
            close(tracing[row], oracle.tracing(maps, pooling))


@pytest.mark.parametrize(("kind", "pooling"), READERS)
def test_gradient_attention_methods_equal_loops(kind, pooling, tokenizer):
    model = model_of(kind, pooling, seed=1)
    target = torch.tensor([2, 0, 1])
    trace = trace_of(model, tokenizer, target=target)
    sam, generic = GradSAM()(trace), GenericAttention()(trace)
    assert (sam >= 0).all() and (generic >= 0).all()
    for row, text in enumerate(TEXTS):
        maps, logits = oracle.attentions(model, ids_of(tokenizer, text))
        gradients = torch.autograd.grad(logits[target[row]], maps)
        maps, gradients = [m[0].detach() for m in maps], [g[0] for g in gradients]
        close(sam[row], oracle.grad_sam(maps, gradients))
        close(generic[row], oracle.generic(maps, gradients, pooling))


@pytest.mark.parametrize("method", [GradSAM(), GenericAttention()])
def test_gradient_attention_methods_are_bound_to_the_class(method, tokenizer):
    model = tiny_model()
    first, second = (trace_of(model, tokenizer, target=torch.full((3,), c)) for c in (0, 1))
    assert not torch.allclose(method(first), method(second))
    every = method.every_class(first)
    assert torch.equal(every[:, 0], method(first)) and torch.equal(every[:, 1], method(second))


def test_rollout_is_blind_to_the_class(tokenizer):
    model = tiny_model()
    first, second = (trace_of(model, tokenizer, target=torch.full((3,), c)) for c in (0, 1))
    assert torch.equal(AttentionRollout()(first), AttentionRollout()(second))


@pytest.mark.parametrize("residual", [-0.1, 1.0, 2.0, float("nan")])
def test_a_residual_share_out_of_range_is_named(residual):
    with pytest.raises(InputError, match="AttentionRollout: expected a residual share"):
        AttentionRollout(residual)
