"""What holds for every method: found by class, so that a new one is tested by being there."""

import inspect

import pytest
import torch

import bertx.attribution as attribution
from bertx.attribution import (
    LRP,
    AttnLRP,
    Attribution,
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    ModifiedGradient,
    Random,
)
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from bertx.trace.rules import ATTN_LRP
from tests.tiny import ARCHITECTURES, shared_model, tiny_batch, tiny_model

METHODS = [
    member
    for member in vars(attribution).values()
    if inspect.isclass(member)
    and issubclass(member, Attribution)
    and member not in (Attribution, ModifiedGradient)
]
TEXTS = [
    "the film was not very good",
    "dull",
    "a superb movie , unbelievable acting !",
    "zzz in it",
]
ALL = Needs.GRADIENT | Needs.ATTENTION | Needs.ACTIVATIONS | Needs.RELEVANCE


def supported(method, kind):
    try:
        method().check(shared_model(kind))
    except UnsupportedArchitecture:
        return False
    return True


PAIRS = [(m, k) for m in METHODS for k in ARCHITECTURES if supported(m, k)]


def scores_of(method, model, tokenizer, texts=TEXTS, **batch_changes):
    batch = tiny_batch(tokenizer, texts) | batch_changes
    inputs = Inputs.from_batch(batch, tokenizer=tokenizer)
    return method()(Trace(model, inputs, None, method.needs))


def test_all_methods_are_found():
    named = {LRP, GradientSensitivity, GradientXInput, LayerwiseAttentionTracing, Random}
    assert named <= set(METHODS)


@pytest.mark.parametrize(("method", "kind"), PAIRS)
def test_a_sentence_scores_the_same_alone_padded_and_in_any_order(method, kind, tokenizer):
    model = shared_model(kind)
    together = scores_of(method, model, tokenizer)
    backwards = scores_of(method, model, tokenizer, TEXTS[::-1]).flip(0)
    batch = tiny_batch(tokenizer, TEXTS)
    mask, ranked = batch["attention_mask"].bool(), Inputs.from_batch(batch).units >= 0
    assert together.shape == mask.shape and not together.requires_grad
    assert together.isfinite().all() and (together[~mask] == 0).all()
    assert (together[ranked] != 0).all() and (method().signed or (together >= 0).all())
    for i, text in enumerate(TEXTS):
        alone = scores_of(method, model, tokenizer, [text])[0]
        for batch in (together, backwards):
            error = (batch[i, : len(alone)] - alone).abs().max()
            assert error <= rounding(kind) * together.abs().max()


def rounding(kind):
    """ModernBERT rotates queries and keys in float32, also in a float64 model."""
    return 1e-5 if kind == "modernbert" else 1e-10


@pytest.mark.parametrize("method", [GradientSensitivity, GradientXInput, AttnLRP, LRP])
def test_single_precision_is_as_near_as_what_was_added_up_allows(method, tokenizer):
    """Scores are sums over D that may cancel: errors are held against the sums of the sizes."""
    exact, single = shared_model(), shared_model(dtype=torch.float32)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), tokenizer=tokenizer)
    trace, needs = Trace(exact, inputs, None, ALL), method.needs
    found = method()(Trace(single, inputs, trace.target, needs))
    expected = method()(trace)
    gradient = trace.relevance(ATTN_LRP) if method is AttnLRP else trace.gradient
    sizes = (trace.embeddings * gradient).abs().sum(-1)
    added = sizes if method().signed else expected
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-4 * added.max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_it_works_in_every_grad_mode(method, mode, tokenizer):
    model = shared_model()
    expected = scores_of(method, model, tokenizer)
    with mode():
        assert torch.equal(scores_of(method, model, tokenizer), expected)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_gives_single_precision_scores_near_the_exact_ones(method, tokenizer):
    exact = scores_of(method, shared_model(), tokenizer)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = scores_of(method, shared_model(dtype=torch.float32), tokenizer)
    half = scores_of(method, shared_model(dtype=torch.bfloat16), tokenizer)
    for scores in (mixed, half):
        assert scores.dtype == torch.float32 and scores.isfinite().all()
        both = torch.stack([scores.flatten().double(), exact.flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_model_is_explained_too(method, tokenizer):
    expected = scores_of(method, shared_model(), tokenizer)
    assert torch.equal(scores_of(method, tiny_model().requires_grad_(False), tokenizer), expected)


def test_class_blind_and_class_bound_methods(tokenizer):
    model, inputs = tiny_model(), Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    first, second = (Trace(model, inputs, torch.full((len(TEXTS),), c), ALL) for c in range(2))
    for method in (GradientSensitivity(), GradientXInput(), LRP()):
        assert not torch.allclose(method(first), method(second))
    for method in (LayerwiseAttentionTracing(), Random()):
        assert torch.equal(method(first), method(second))


@pytest.mark.parametrize("kind", ["electra", "distilbert"])
def test_an_unsupported_architecture_is_named_with_the_method(kind):
    model = tiny_model(kind)
    with pytest.raises(UnsupportedArchitecture, match=f"LRP does not support .*{kind!r}"):
        LRP().check(model)
    for method in METHODS:
        if method is not LRP:
            method().check(model)


def test_a_model_with_its_own_attention_is_refused_by_attention_methods():
    model = tiny_model()
    model.set_attn_implementation = lambda _name: None
    with pytest.raises(UnsupportedArchitecture, match="LayerwiseAttentionTracing"):
        LayerwiseAttentionTracing().check(model)


def test_random_is_uniform_seeded_and_leaves_the_global_stream(tokenizer):
    model = tiny_model()
    ids = torch.randint(5, 40, (200, 50))
    inputs = Inputs(ids, torch.ones_like(ids), torch.zeros_like(ids))
    before = torch.random.get_rng_state()
    trace = Trace(model, inputs, None, Needs.NOTHING)
    scores = Random()(trace)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(scores, Random(0)(trace)) and not torch.equal(scores, Random(1)(trace))
    counts = torch.histc(scores, bins=20, min=0, max=1)
    assert ((counts - 500).square() / 500).sum() < 43.8  # chi-squared, 19 degrees, p = 0.001
    assert abs(float(torch.corrcoef(scores.T)[0, 1:].mean())) < 0.05
    swapped = Inputs(ids.flip(1), inputs.attention_mask, inputs.units)
    assert (Random()(Trace(model, swapped, None, Needs.NOTHING)) != scores).float().mean() > 0.99
    ids[:, 7] += 1  # one token changes a text's whole draw
    changed = Random()(Trace(model, inputs, None, Needs.NOTHING))
    assert (changed != scores).float().mean() > 0.99


def test_nan_weights_give_nan_scores_of_the_touched_texts_only(tokenizer):
    model = tiny_model()
    word = tokenizer.convert_tokens_to_ids("superb")
    model.get_input_embeddings().weight.data[word] = float("nan")
    for method in (GradientSensitivity, GradientXInput, LayerwiseAttentionTracing, LRP):
        finite = scores_of(method, model, tokenizer).isfinite().all(1)
        assert finite.tolist() == [True, True, False, True]
