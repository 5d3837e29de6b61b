"""Infidelity: a slow loop, captum's values, reproducible draws, and one run for all methods."""

import gc
import pickle

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity

from bertx.attribution import GradientXInput, Random
from bertx.errors import InputError
from bertx.metrics.base import measure_all
from bertx.metrics.infidelity import _CACHE, Infidelity, removals
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber, packing
from bertx.trace import Needs, Trace
from tests.attribution.test_captum import FromEmbeddings
from tests.metrics.texts import measuring
from tests.oracles.embedding import infidelity as slow_infidelity
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model
from tests.trace.test_trace import assert_same, condition, mixed_modes

TEXTS = [
    "unbelievable",
    "film zzz",  # [UNK]
    "the film was great",
    "a good book but never really great , was it unbelievably dull !",
]
TARGET = torch.tensor([2, 0, 1, 2])
infidelity = measuring(Infidelity)


@pytest.fixture
def batch(tokenizer):
    return tiny_batch(tokenizer, TEXTS)


def trace_of(model, batch, unit="word", needs=Needs.NOTHING):
    return Trace(model, Inputs.from_batch(batch, unit), TARGET, needs)


def random_scores(inputs, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.units.shape, generator=generator, dtype=torch.float64)


def measured(trace, scores, metric):
    perturber = Perturber(trace.model, mask_token_id=4, pad_token_id=0)
    return measure_all(perturber, trace, scores, {"infidelity": metric})["infidelity"]


def same(a, b):
    """Whether all errors are equal, and missing in the same places."""
    return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))


@pytest.mark.parametrize(
    ("kind", "unit", "share", "seed"),
    [*((kind, "word", 0.1, 0) for kind in ARCHITECTURES), ("bert", "token", 0.5, 7)],
)
def test_a_loop_over_single_sentences_gives_the_same(kind, unit, share, seed, batch):
    model = tiny_model(kind)
    trace = trace_of(model, batch, unit)
    scores = random_scores(trace.inputs)
    draws = removals(trace.inputs, 6, share, seed)
    expected = slow_infidelity(model, trace.inputs, scores, TARGET, draws)
    expected[trace.inputs.unit_counts < 2, 1] = torch.nan
    result = infidelity(trace, scores, 6, share, seed)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-13, equal_nan=True)
    metric = Infidelity(samples=6, share=share, seed=seed)
    assert same(measured(trace, [scores], metric)[0], result)


@pytest.mark.parametrize(
    ("kind", "normalize"), [*((kind, False) for kind in ARCHITECTURES), ("bert", True)]
)
def test_values_are_those_of_captum(kind, normalize, batch):
    model = tiny_model(kind)
    trace = trace_of(model, batch, needs=Needs.GRADIENT)
    draws = removals(trace.inputs, 20, 0.3)
    gone = draws.gather(2, trace.inputs.units.clamp(min=0)[:, None].expand(-1, 20, -1))
    gone = (gone & (trace.inputs.units >= 0)[:, None]).flatten(0, 1)

    def perturb(embeddings):
        share = gone[..., None].to(embeddings).expand_as(embeddings)
        return share, embeddings * (1 - share)

    class Repeated(FromEmbeddings):
        def forward(self, embeddings):
            each = torch.arange(len(TEXTS)).repeat_interleave(len(embeddings) // len(TEXTS))
            return FromEmbeddings(self.model, self.inputs.rows(each)).forward(embeddings)

    expected = captum_infidelity(
        Repeated(model, trace.inputs), perturb, trace.embeddings,
        trace.embeddings * trace.gradient, target=trace.target, n_perturb_samples=20,
        normalize=normalize,
    )  # fmt: skip
    result = infidelity(trace, GradientXInput()(trace), 20, 0.3)[:, int(normalize)]
    torch.testing.assert_close(result[1:], expected[1:], rtol=1e-6, atol=1e-12)
    assert normalize or float(result[0]) == pytest.approx(float(expected[0]), rel=1e-6)


def test_draws_remove_whole_units_and_never_none(batch):
    inputs = Inputs.from_batch(batch)
    draws = removals(inputs, samples=400, share=0.2)
    own = torch.arange(draws.shape[2]) < inputs.unit_counts[:, None]
    assert draws.any(2).all() and not (draws & ~own[:, None]).any()
    units = int(inputs.unit_counts[3])
    share = draws[3, :, :units].float().mean(0)
    expected = 0.2 + 0.8**units / units  # one unit goes where none would
    assert float(share.mean()) == pytest.approx(expected, abs=0.02)
    assert (share - expected).abs().max() < 0.07
    assert removals(inputs, samples=50, share=1.0)[own[:, None].expand(-1, 50, -1)].all()


def test_draws_depend_on_the_text_alone(tokenizer):
    texts = ["the film was great", "a dull bad plot", "the film was great"]
    first, other, same = removals(Inputs.from_batch(tiny_batch(tokenizer, texts)))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_special_tokens_and_padding_are_never_perturbed(bert, batch):
    trace = trace_of(bert, batch)
    seen = []
    handle = bert.base_model.encoder.register_forward_pre_hook(
        lambda _m, args, _k: seen.append(args[0]), with_kwargs=True
    )
    infidelity(trace, random_scores(trace.inputs), share=0.5, token_budget=10**6)
    handle.remove()
    width = trace.inputs.units.shape[1]
    states = torch.cat([torch.nn.functional.pad(s, (0, 0, 0, width - s.shape[1])) for s in seen])
    lengths = trace.inputs.attention_mask.sum(1)
    draws = [len(rows.unique(dim=0)) for rows in removals(trace.inputs, share=0.5)]
    texts = torch.arange(4).repeat_interleave(1 + torch.tensor(draws))  # and the whole text
    texts = texts[lengths[texts].argsort(descending=True, stable=True)]
    assert draws[0] == 1 and len(texts) == len(states)
    own = trace.inputs.attention_mask[texts].bool()
    gone, special = (states == 0).all(2) & own, own & (trace.inputs.units[texts] < 0)
    expected = trace.embeddings[texts].masked_fill(gone[..., None], 0)
    assert torch.equal(states[own], expected[own])
    words = own & ~special
    assert not gone[special].any() and gone[words].any() and not gone[words].all()


def test_company_padding_and_order_do_not_matter(bert, batch):
    trace = trace_of(bert, batch)
    scores, order = random_scores(trace.inputs), torch.tensor([3, 1, 0, 2])
    together = infidelity(trace, scores)
    shuffled = Trace(bert, trace.inputs.rows(order), TARGET[order], Needs.NOTHING)
    result = infidelity(shuffled, scores[order])
    torch.testing.assert_close(result, together[order], rtol=1e-10, atol=1e-14, equal_nan=True)
    for b in range(len(TEXTS)):
        own = trace.inputs.rows(slice(b, b + 1))
        alone = Trace(bert, own, TARGET[b : b + 1], Needs.NOTHING)
        result = infidelity(alone, scores[b : b + 1, : own.units.shape[1]], token_budget=1)
        torch.testing.assert_close(
            result, together[b : b + 1], rtol=1e-10, atol=1e-14, equal_nan=True
        )


def test_a_seed_is_a_draw(bert, batch):
    trace = trace_of(bert, batch)
    scores = random_scores(trace.inputs)
    first, other = infidelity(trace, scores, seed=0), infidelity(trace, scores, seed=1)
    assert same(first, infidelity(trace_of(bert, batch), scores, seed=0))
    assert (first[2:] != other[2:]).all()


def test_one_run_serves_all_explanations(bert, batch, monkeypatch):
    monkeypatch.setattr(packing, "CPU", packing.Budget(10**6, 10**6))
    trace = trace_of(bert, batch)
    calls = []
    handle = bert.register_forward_hook(lambda *_: calls.append(1))
    scores = [random_scores(trace.inputs, seed) for seed in range(3)]
    values = measured(trace, scores, Infidelity(token_budget=10**6))
    handle.remove()
    assert len(calls) == 1 and values.shape == (3, 4, 2)
    for own, result in zip(scores, values, strict=True):
        assert same(result, infidelity(trace_of(bert, batch), own))


def test_the_cache_is_freed_with_its_trace(bert, batch):
    gc.collect()
    before = len(_CACHE)
    trace = trace_of(bert, batch)
    infidelity(trace, random_scores(trace.inputs))
    assert len(_CACHE) == before + 1
    del trace
    gc.collect()
    assert len(_CACHE) == before


def test_other_classes_of_a_trace_have_their_own_drops(bert, batch):
    trace = trace_of(bert, batch)
    scores = random_scores(trace.inputs)
    infidelity(trace, scores)
    other = (TARGET + 1) % 3
    expected = infidelity(Trace(bert, trace.inputs, other, Needs.NOTHING), scores)
    assert same(infidelity(trace.towards(other), scores), expected)


def test_the_scale_of_scores_does_not_matter(bert, batch):
    trace = trace_of(bert, batch)
    scores = random_scores(trace.inputs)
    result = infidelity(trace, scores)
    for factor in (1e-20, 50.0, -3.0, 1e20):
        scaled = infidelity(trace, (factor * scores).float())
        torch.testing.assert_close(scaled[1:, 1], result[1:, 1], rtol=1e-5, atol=1e-9)
        assert (scaled[2:, 0] != result[2:, 0]).all()
    assert (result[1:, 1] <= result[1:, 0]).all() and (result[1:] >= 0).all()


def test_zero_scores_have_the_mean_square_of_the_drops(bert, batch):
    trace = trace_of(bert, batch)
    nothing = torch.zeros_like(random_scores(trace.inputs))
    draws = removals(trace.inputs)
    expected = slow_infidelity(bert, trace.inputs, nothing, TARGET, draws)
    assert (expected > 0).all()
    result = infidelity(trace, nothing)
    torch.testing.assert_close(result[1:], expected[1:], rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(result[0, 0], expected[0, 0], rtol=1e-9, atol=1e-14)


def test_an_exact_explanation_has_no_error(bert, batch):
    """Of one word: the drop of the logit without it."""
    trace = trace_of(bert, batch)
    with torch.no_grad():
        logits = bert(**trace.inputs.arguments(bert)).logits[0]
        handle = bert.base_model.embeddings.register_forward_hook(
            lambda _m, _a, e: e.masked_fill((trace.inputs.units >= 0)[..., None], 0)
        )
        empty = bert(**trace.inputs.arguments(bert)).logits[0]
        handle.remove()
    scores = random_scores(trace.inputs)
    words = trace.inputs.units[0] == 0
    scores[0, words] = (logits - empty)[TARGET[0]] / words.sum()
    result = infidelity(trace, scores)
    assert result[0, 0] < 1e-20 and (result[1:] > 1e-10).all()


def test_scores_of_special_tokens_and_padding_do_not_matter(bert, batch):
    trace = trace_of(bert, batch)
    scores = random_scores(trace.inputs)
    other = scores.masked_fill(trace.inputs.units < 0, 99.0)
    assert same(infidelity(trace, scores), infidelity(trace, other))


def test_a_text_of_one_unit_has_no_scaled_value(bert, batch):
    """β would fit its single drop exactly, for perfect and for random scores."""
    trace = trace_of(bert, batch)
    result = infidelity(trace, random_scores(trace.inputs))
    assert trace.inputs.unit_counts.tolist()[:2] == [1, 2]
    assert result[0].isnan().tolist() == [False, True] and result[1:].isfinite().all()
    metric = Infidelity()
    metric.update(result)
    assert metric.compute().counts.tolist() == [4, 3]


def test_a_text_without_units_has_no_value(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["", "dull film"]))
    trace = Trace(bert, inputs, None, Needs.NOTHING)
    result = infidelity(trace, random_scores(inputs))
    assert result[0].isnan().all() and result[1].isfinite().all()
    metric = Infidelity()
    metric.update(result)
    assert metric.compute().value_count == 1
    nothing = Trace(bert, inputs.rows(slice(0, 1)), None, Needs.NOTHING)
    assert infidelity(nothing, torch.zeros(1, 2)).isnan().all()


def test_nothing_of_the_model_changes(bert, batch):
    model = mixed_modes(bert)
    trace = trace_of(model, batch)
    before = condition(model)
    result = infidelity(trace, random_scores(trace.inputs))
    assert_same(before, condition(model))
    assert same(result, infidelity(trace_of(bert.eval(), batch), random_scores(trace.inputs)))


def test_anywhere_and_in_half_precision(batch):
    model = tiny_model(dtype=torch.float32)
    scores = random_scores(Inputs.from_batch(batch)).float()
    expected = infidelity(trace_of(model, batch), scores)
    with torch.inference_mode():
        result = infidelity(trace_of(model, batch), scores.clone())
    assert same(result, expected) and not result.is_inference()
    with torch.autocast("cpu", torch.bfloat16):
        result = infidelity(trace_of(model, batch), scores)
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5, equal_nan=True)
    half = infidelity(trace_of(model.bfloat16(), batch), scores)
    torch.testing.assert_close(half, expected, rtol=0.1, atol=0.02, equal_nan=True)


def test_settings_and_the_metric(bert, batch):
    for wrong in ({"samples": 0}, {"token_budget": 0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Infidelity(**wrong)
    metric = Infidelity()
    trace = trace_of(bert, batch)
    values = measured(trace, [Random()(trace)], metric)[0]
    assert not metric.uses_operator
    copy = pickle.loads(pickle.dumps(metric))
    for own in (metric, copy, metric.clone()):
        own.reset()
        own.update(values)
        assert float(own.compute().value) == pytest.approx(float(values[1:, 1].mean()))
    assert metric.higher_is_better is False and metric.columns[-1] == "infidelity"
