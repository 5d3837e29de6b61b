"""Soft comprehensiveness and sufficiency: a slow loop, the engine's zeros, mistakes of peers."""

import pickle

import pytest
import torch

from bertx.attribution import GradientXInput, LayerwiseAttentionTracing, Random
from bertx.errors import InputError
from bertx.metrics.base import measure_all
from bertx.metrics.soft import (
    SoftComprehensiveness,
    SoftSufficiency,
    importances,
)
from bertx.models.inputs import Inputs, merge_by_unit, text_seed
from bertx.perturb import Perturber, packing
from bertx.trace import Needs, Trace
from tests.metrics.texts import measuring
from tests.oracles import embedding as slow
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model
from tests.trace.test_trace import assert_same, condition, mixed_modes

TEXTS = [
    "unbelievable",
    "film zzz",  # [UNK]
    "the film was great",
    "a good book but never really great , was it unbelievably dull !",
]
METRICS = [SoftComprehensiveness, SoftSufficiency]
FUNCTIONS = soft_comprehensiveness, soft_sufficiency = [measuring(kind) for kind in METRICS]


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS))


def random_scores(inputs, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.units.shape, generator=generator, dtype=torch.float64)


def gaining(model, inputs):
    """A trace of the classes with the largest drop without words, which have a Soft-NC."""
    nothing = torch.zeros(len(inputs), 1, int(inputs.unit_counts.max()), dtype=torch.bool)
    engine = Perturber(model, "zero", mask_token_id=4, pad_token_id=0)
    whole, empty = engine(inputs, torch.cat([~nothing, nothing], 1)).unbind(1)
    return Trace(model, inputs, (whole - empty).argmax(1), Needs.NOTHING)


def expected(model, inputs, scores, target, samples, mean, seed):
    """Both metrics of every text, one forward pass at a time."""
    width = model.get_input_embeddings().weight.shape[1]
    values = []
    for text in range(len(inputs)):
        row = slow.sentence(inputs, text)
        ids = row["input_ids"][0]
        units = inputs.units[text, : len(ids)].tolist()
        numbers = []
        for version in range(2, 2 + samples):  # 0 and 1 are the text and the text without words
            generator = torch.Generator().manual_seed(text_seed(ids, seed, version))
            numbers.append(torch.rand(len(ids), width, generator=generator))
        shares = slow.importances(scores[text].tolist(), units, mean)
        faded = [a if a is None else 1 - a for a in shares]
        result = []
        for kept, sufficient in ((faded, False), (shares, True)):
            loss = slow.soft(model, row, units, kept, numbers, int(target[text]))
            result.append([1 - value if sufficient else value for value in loss])
        values.append(result)
    return torch.tensor(values, dtype=torch.float64).unbind(1)


@pytest.mark.parametrize(
    ("kind", "unit", "mean"),
    [*((kind, "word", None) for kind in ARCHITECTURES), ("bert", "token", 0.5)],
)
def test_a_loop_over_single_sentences_gives_the_same(kind, unit, mean, tokenizer):
    model = tiny_model(kind)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), unit)
    trace, scores = gaining(model, inputs), random_scores(inputs)
    both = expected(model, inputs, scores, trace.target, 3, mean, 5)
    engine = Perturber(model, "zero", mask_token_id=4, pad_token_id=0)
    for function, metric, values in zip(FUNCTIONS, METRICS, both, strict=True):
        assert values.isfinite().all()
        result = function(trace, scores, 3, mean, 5)
        torch.testing.assert_close(result, values, rtol=1e-8, atol=1e-12)
        metrics = {"soft": metric(samples=3, mean=mean, seed=5)}
        assert torch.equal(measure_all(engine, trace, [scores], metrics)["soft"][0], result)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_a_class_that_loses_nothing_without_words_has_no_normalized_value(target, bert, inputs):
    trace = Trace(bert, inputs, torch.full((len(TEXTS),), target), Needs.NOTHING)
    scores = random_scores(inputs)
    both = expected(bert, inputs, scores, trace.target, 4, 0.5, 0)
    for function, values in zip(FUNCTIONS, both, strict=True):
        result = function(trace, scores, 4)
        torch.testing.assert_close(result, values, rtol=1e-8, atol=1e-12, equal_nan=True)
        assert result[:, 0].isfinite().all() and result[:, 1].isnan().any()
        assert (result[~result.isnan()] >= 0).all() and (result[~result.isnan()] <= 1).all()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_certain_words_are_those_that_the_engine_zeroes(kind, tokenizer):
    """Importances of 0 and 1 are deterministic."""
    model = tiny_model(kind)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["unbelievable film", "dull plot"]))
    trace = gaining(model, inputs)
    scores = (inputs.units == 0).double()
    kept = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    engine = Perturber(model, "zero", mask_token_id=4, pad_token_id=0)
    p = engine(inputs, kept.expand(2, -1, -1)).gather(2, trace.target.view(2, 1, 1).expand(2, 4, 1))
    whole, gone, alone, empty = p[..., 0].unbind(1)
    comprehensive = soft_comprehensiveness(trace, scores, mean=None)
    sufficient = soft_sufficiency(trace, scores, mean=None)
    most = whole - empty
    torch.testing.assert_close(comprehensive[:, 0], (whole - gone).clamp(min=0))
    torch.testing.assert_close(comprehensive[:, 1], ((whole - gone) / most).clamp(0, 1))
    # The paper's S, S0 and their normalization, as they stand there.
    s, zero = 1 - (whole - alone).clamp(min=0), 1 - most
    torch.testing.assert_close(sufficient[:, 0], s)
    torch.testing.assert_close(sufficient[:, 1], ((s - zero) / (1 - zero)).clamp(min=0))


def test_the_model_gets_the_ids_of_the_text_and_partly_zeroed_words(bert, inputs, monkeypatch):
    """A peer zeroes the last hidden state and uses its argmax over D as token ids."""
    monkeypatch.setattr(packing, "CPU", packing.Budget(10**6, 10**6))
    bert.get_input_embeddings().weight.data[0] = 0.5  # [PAD], which is 0 as it comes
    ids, states = [], []
    trace, norm = gaining(bert, inputs), bert.base_model.embeddings.LayerNorm
    handles = [
        bert.register_forward_pre_hook(
            lambda _m, _a, named: ids.extend(named["input_ids"].tolist()), with_kwargs=True
        ),
        norm.register_forward_pre_hook(lambda _m, args: states.append(args[0])),
    ]
    soft_sufficiency(trace, random_scores(inputs), samples=6, token_budget=10**6)
    for handle in handles:
        handle.remove()
    order = inputs.attention_mask.sum(1).argsort(descending=True, stable=True).repeat_interleave(8)
    assert ids == inputs.input_ids[order].tolist()
    (added,) = states
    words = bert.get_input_embeddings()(inputs.input_ids)[order]
    places = bert.base_model.embeddings.position_embeddings.weight[: words.shape[1]]
    kinds = bert.base_model.embeddings.token_type_embeddings.weight[0]
    left = (added - places - kinds).detach()
    zeroed = left.abs() < 1e-12
    assert torch.allclose(left, words.masked_fill(zeroed, 0), rtol=0, atol=1e-12)
    ranked = inputs.units[order] >= 0
    assert not zeroed[~ranked].any()  # special tokens and padding
    some = zeroed[ranked].float().mean(1)
    assert ((some > 0) & (some < 1)).any()  # elements, not tokens


def test_nothing_accumulates(bert, inputs):
    """A peer subtracts 1e-4 from a shared baseline in place for each method."""
    trace, scores = gaining(bert, inputs), random_scores(inputs)
    kept, logits = scores.clone(), trace.logits.clone()
    for function in FUNCTIONS:
        first = function(trace, scores)
        for _ in range(3):
            assert torch.equal(function(trace, scores), first)
    assert torch.equal(scores, kept) and torch.equal(trace.logits, logits)


@pytest.mark.parametrize("unit", ["word", "token"])
def test_importances_keep_the_order_and_share_one_mean(unit, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), unit)
    ranked = inputs.units >= 0
    for seed, mean in ((0, 0.5), (1, 0.2), (2, 0.9)):
        scores = random_scores(inputs, seed) ** 3
        result = importances(inputs, scores, mean)
        assert (result >= 0).all() and (result <= 1).all() and (result[~ranked] == 0).all()
        means = result.sum(1) / ranked.sum(1)
        torch.testing.assert_close(means, torch.full_like(means, mean))
        plain = importances(inputs, scores, None)
        for b in range(1, len(TEXTS)):
            own = ranked[b]
            units = merge_by_unit(scores, inputs.units)[b, inputs.units[b, own]]
            assert torch.equal(result[b, own].argsort(stable=True), units.argsort(stable=True))
            scaled = (units - units.min()) / (units.max() - units.min())
            torch.testing.assert_close(plain[b, own], scaled)


def test_scale_and_shift_of_scores_do_not_matter(bert, inputs):
    trace, scores = gaining(bert, inputs), random_scores(inputs)
    sizes = merge_by_unit((inputs.units >= 0).double(), inputs.units)
    sizes = sizes.gather(1, inputs.units.clamp(min=0))
    for function in FUNCTIONS:
        result = function(trace, scores)
        torch.testing.assert_close(function(trace, 1e-30 * scores + 1e-29 / sizes), result)
        other = scores.masked_fill(inputs.units < 0, -99.0)  # special tokens and padding
        assert torch.equal(function(trace, other), result)


def test_equal_scores_have_no_preference(bert, inputs):
    trace = gaining(bert, inputs)
    sizes = merge_by_unit((inputs.units >= 0).double(), inputs.units)
    equal = -3 / sizes.gather(1, inputs.units.clamp(min=0))
    half = torch.where(inputs.units >= 0, 0.5, 0.0).double()
    assert torch.equal(importances(inputs, equal, None), half)
    assert torch.equal(importances(inputs, equal, 0.5), half)
    assert torch.equal(importances(inputs, equal, 0.25), half / 2)
    result = soft_comprehensiveness(trace, equal)
    assert torch.equal(result, soft_comprehensiveness(trace, torch.zeros_like(equal)))
    assert torch.equal(result[0], soft_comprehensiveness(trace, random_scores(inputs))[0])  # 1 word


def test_all_explanations_zero_the_same_share_by_default(inputs):
    """The paper's importances zero nearly all of a text, or nearly nothing."""
    high, low = (inputs.units != 0).double(), (inputs.units == 0).double()
    plain = [importances(inputs, scores, None).sum(1) for scores in (high, low)]
    assert plain[0][3] > 5 * plain[1][3]
    torch.testing.assert_close(*(importances(inputs, s, 0.5).sum(1) for s in (high, low)))


def test_company_padding_and_order_do_not_matter(bert, inputs):
    trace, scores, order = gaining(bert, inputs), random_scores(inputs), torch.tensor([3, 1, 0, 2])
    for function in FUNCTIONS:
        together = function(trace, scores)
        shuffled = Trace(bert, inputs.rows(order), trace.target[order], Needs.NOTHING)
        result = function(shuffled, scores[order])
        torch.testing.assert_close(result, together[order], rtol=1e-10, atol=1e-12)
        for b in range(len(TEXTS)):
            own = inputs.rows(slice(b, b + 1))
            alone = Trace(bert, own, trace.target[b : b + 1], Needs.NOTHING)
            result = function(alone, scores[b : b + 1, : own.units.shape[1]], token_budget=1)
            torch.testing.assert_close(result, together[b : b + 1], rtol=1e-10, atol=1e-12)


def test_draws_follow_the_seed_alone_and_average(bert, inputs):
    trace, scores = gaining(bert, inputs), random_scores(inputs)
    for function in FUNCTIONS:
        many = torch.stack([function(trace, scores, 10, None, n)[:, 0] for n in range(12)])
        few = torch.stack([function(trace, scores, 1, None, n)[:, 0] for n in range(12)])
        spread = many.std(0)
        assert spread[1] == 0  # of two words one stays and one goes
        assert (spread[[0, 2, 3]] > 0).all() and (spread < few.std(0))[[0, 2, 3]].all()


def test_a_text_without_units_has_no_value(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["", "dull film"]))
    trace = gaining(bert, inputs)
    for function, metric in zip(FUNCTIONS, METRICS, strict=True):
        result = function(trace, random_scores(inputs))
        assert result[0].isnan().all() and result[1].isfinite().all()
        own = metric()
        own.update(result)
        assert own.compute().counts.tolist() == [1, 1]


def test_nothing_of_the_model_changes(bert, inputs):
    expected = [function(gaining(bert, inputs), random_scores(inputs)) for function in FUNCTIONS]
    model = mixed_modes(bert)
    trace = gaining(model, inputs)
    before = condition(model)
    result = [function(trace, random_scores(inputs)) for function in FUNCTIONS]
    assert_same(before, condition(model))
    assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))


def test_anywhere_and_in_half_precision(inputs):
    model = tiny_model(dtype=torch.float32)
    trace, scores = gaining(model, inputs), random_scores(inputs).float()
    for function in FUNCTIONS:
        plain = function(trace, scores)
        with torch.inference_mode():
            copied = Trace(model, inputs.rows(torch.arange(4)), trace.target.clone())
            result = function(copied, scores.clone())
        assert torch.equal(result, plain) and not result.is_inference()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(function(trace, scores), plain)
    half = Trace(tiny_model(dtype=torch.bfloat16), inputs, trace.target, Needs.NOTHING)
    for function in FUNCTIONS:
        result, plain = function(half, scores)[:, 0], function(trace, scores)[:, 0]
        torch.testing.assert_close(result, plain, rtol=0, atol=0.03)


def test_settings_and_the_metrics(bert, inputs):
    trace = Trace(bert, inputs, None, LayerwiseAttentionTracing.needs | Needs.GRADIENT)
    engine = Perturber(bert, mask_token_id=4, pad_token_id=0)
    methods = GradientXInput(), LayerwiseAttentionTracing(), Random()
    scores = [method(trace) for method in methods]
    for kind, function in zip(METRICS, FUNCTIONS, strict=True):
        for wrong in ({"samples": 0}, {"token_budget": 0}, {"mean": 0.0}, {"mean": 1.0}):
            with pytest.raises(InputError, match=next(iter(wrong))):
                kind(**wrong)
        metric = kind()
        values = measure_all(engine, trace, scores, {"soft": metric})["soft"]
        assert not metric.uses_operator and values.shape == (3, 4, 2)
        for own, result in zip(scores, values, strict=True):
            torch.testing.assert_close(function(trace, own), result, equal_nan=True)
        for own in (metric, pickle.loads(pickle.dumps(metric)), metric.clone()):
            own.reset()
            own.update(values[0])
            torch.testing.assert_close(own.compute().mean, values[0].nanmean(0))
        assert metric.higher_is_better is True
