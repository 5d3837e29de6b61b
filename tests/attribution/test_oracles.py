"""Every method against an independent closed form, float64, sentences of several lengths."""

import pytest
import torch

from bertx.attribution import (
    LRP,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
)
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.oracles import encoder
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
WRITTEN_OUT = ("bert", "roberta")


def trace_of(model, tokenizer, texts=TEXTS, needs=Needs.GRADIENT, target=None):
    return Trace(model, Inputs.from_batch(tiny_batch(tokenizer, texts)), target, needs)


def sentences(model, tokenizer, texts=TEXTS):
    """Embeddings (t, D) of each sentence alone."""
    for text in texts:
        yield model.base_model.embeddings(tokenizer(text, return_tensors="pt").input_ids)[0]


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_the_written_out_encoder_is_the_model(kind, tokenizer):
    model = tiny_model(kind)
    trace = trace_of(model, tokenizer)
    for row, e in zip(trace.logits, sentences(model, tokenizer), strict=True):
        assert torch.allclose(row, encoder.logits(e, encoder.weights_of(model)), atol=1e-12)


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_gradients_equal_autograd_written_out(kind, tokenizer):
    model = tiny_model(kind)
    target = torch.tensor([2, 0, 1])
    trace = trace_of(model, tokenizer, target=target)
    weights = encoder.weights_of(model)
    rows = zip(sentences(model, tokenizer), target, strict=True)
    for i, (e, c) in enumerate(rows):
        e = e.detach().requires_grad_()
        (g,) = torch.autograd.grad(encoder.logits(e, weights)[c], e)
        t = len(e)
        e = e.detach()
        expected = {
            GradientSensitivity(): g.square().sum(-1),
            GradientXInput(): (e * g).sum(-1),
            GradientXInput("squared_norm"): (e * g).square().sum(-1),
        }
        for method, scores in expected.items():
            torch.testing.assert_close(method(trace)[i, :t], scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_gradients_equal_finite_differences(kind, tokenizer):
    model = tiny_model(kind)
    trace = trace_of(model, tokenizer)
    # ModernBERT rotates in float32, also in a float64 model.
    step, tolerance = (3e-3, 1e-3) if kind == "modernbert" else (1e-5, 1e-6)
    block = model.base_model.embeddings
    for row in range(len(TEXTS)):
        direction = torch.randn_like(trace.embeddings[row])
        values = []
        for sign in (1, -1):
            moved = trace.embeddings.clone()
            moved[row] += sign * step * direction
            handle = block.register_forward_hook(lambda *_, moved=moved: moved)
            with torch.no_grad():
                values.append(model(**trace.inputs.arguments(model)).logits)
            handle.remove()
        slope = (values[0] - values[1])[row, trace.target[row]] / (2 * step)
        assert slope == pytest.approx(float((trace.gradient[row] * direction).sum()), rel=tolerance)


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_attention_tracing_equals_explicit_matrix_products(kind, tokenizer):
    model = tiny_model(kind)
    scores = LayerwiseAttentionTracing()(trace_of(model, tokenizer, needs=Needs.ATTENTION))
    for i, e in enumerate(sentences(model, tokenizer)):
        expected = encoder.attention_tracing(e, encoder.weights_of(model))
        torch.testing.assert_close(scores[i, : len(e)], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_attention_tracing_sums_to_the_number_of_heads(kind, tokenizer):
    scores = LayerwiseAttentionTracing()(
        trace_of(tiny_model(kind), tokenizer, needs=Needs.ATTENTION)
    )
    torch.testing.assert_close(scores.sum(1), torch.full((3,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("kind", WRITTEN_OUT)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_lrp_equals_the_transcription_of_the_paper(kind, scale, tokenizer):
    """For every class, also where its probability is small because the logits are large."""
    model = scaled(tiny_model(kind, seed=scale), scale)
    weights = encoder.weights_of(model)
    trace = trace_of(model, tokenizer, needs=Needs.ACTIVATIONS)
    scores = LRP().every_class(trace)
    for row, e in zip(scores, sentences(model, tokenizer), strict=True):
        for number, found in enumerate(row[:, : len(e)]):
            expected = encoder.paper_lrp(e, weights, number)
            assert (found - expected).abs().max() < 1e-10 * expected.max()


def test_lrp_amounts_to_an_l1_norm_of_the_gradient_and_is_not_conserved(tokenizer):
    """LayerNorm's products sum to 0, so that each rescaled branch gets next to nothing."""
    model = tiny_model()
    weights = encoder.weights_of(model)
    trace = trace_of(model, tokenizer, needs=Needs.ACTIVATIONS)
    scores = LRP()(trace)
    for row, e, target in zip(scores, sentences(model, tokenizer), trace.target, strict=True):
        relevance = encoder.head_relevance(encoder.last_states(e, weights)[:1], weights, target)
        e = e.detach().requires_grad_()
        (encoder.last_states(e, weights)[0] @ relevance[0]).backward()
        gradient = e.grad.abs().sum(-1)
        torch.testing.assert_close(row[: len(e)], gradient, rtol=0, atol=1e-5 * gradient.max())
    start = trace.probabilities.gather(1, trace.target[:, None])[:, 0]
    assert not torch.isclose(scores.sum(1), start, rtol=0.01).any()


def scaled(model, factor):
    """A model with ``factor`` times the logits."""
    head = getattr(model.classifier, "out_proj", model.classifier)
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return model
