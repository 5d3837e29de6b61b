"""Max-sensitivity: a model with a modified embedding table, and captum's values."""

import pickle

import pytest
import torch
from captum.metrics import sensitivity_max

from bertx.attribution import (
    AttnLRP,
    DecompX,
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    LayerwiseAttentionTracing,
    Lime,
    Occlusion,
    Random,
)
from bertx.errors import InputError
from bertx.metrics.base import measure_all
from bertx.metrics.sensitivity import MaxSensitivity, shifted_words, word_noise
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber, packing
from bertx.trace import Needs, Trace
from tests.metrics.texts import measuring
from tests.oracles.embedding import shifted
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model
from tests.trace.test_trace import assert_same, condition, mixed_modes

TEXTS = [
    "unbelievable",
    "film zzz film",  # [UNK], and a word twice
    "the film was great",
    "a good book but never really great , was it unbelievably dull !",
]
TARGET = torch.tensor([2, 0, 1, 2])


def max_sensitivity(trace, scores, method, *settings, **named):
    return measuring(MaxSensitivity)(trace, scores, *settings, method=method, **named)


MASK, PAD = 4, 0
FIRST = torch.tensor([0])
METHODS = [
    GradientXInput(),
    GradientSensitivity(),
    IntegratedGradients(steps=4),
    Occlusion("mask"),
    Occlusion("pad"),
    Occlusion("zero"),
    Lime(samples=8, operator="remove"),
    LayerwiseAttentionTracing(),
    AttnLRP(),
    DecompX(),
]


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS), tokenizer=tokenizer)


def explain(method, model, inputs, target=TARGET):
    return method(Trace(model, inputs, target, method.needs))


def root_mean_square(model):
    return model.get_input_embeddings().weight.detach().square().mean().sqrt()


def slow(method, model, inputs, samples, radius, seed):
    """One text and one draw at a time, with a copy of the model whose table is shifted."""
    values = []
    for text in range(len(inputs)):
        row = inputs.rows(slice(text, text + 1))
        own = row.units[0] >= 0
        before = explain(method, model, row, TARGET[text : text + 1])[0, own]
        ratios = []
        for draw in range(samples):
            ids = sorted({*row.input_ids[0].tolist(), MASK, PAD})
            noise = word_noise(torch.tensor(ids), model.get_input_embeddings().weight.shape[1],
                               seed, draw)  # fmt: skip
            other = shifted(model, ids, radius * root_mean_square(model) * noise)
            after = explain(method, other, row, TARGET[text : text + 1])[0, own]
            ratios.append((after - before).square().sum().sqrt() / before.square().sum().sqrt())
        values.append([max(ratios)])
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "method"),
    [*((kind, METHODS[0]) for kind in ARCHITECTURES), *(("bert", m) for m in METHODS[1:4])],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_changed_table_and_single_sentences_give_the_same(kind, method, inputs):
    model = tiny_model(kind)
    scores = explain(method, model, inputs)
    result = max_sensitivity(Trace(model, inputs, TARGET), scores, method, 2, 0.05, 1)
    expected = slow(method, model, inputs, 2, 0.05, 1)
    assert (expected > 0).all()
    torch.testing.assert_close(result, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_every_kind_of_method_sees_the_same_shifted_model(method, bert, inputs):
    scores = explain(method, bert, inputs)
    result = max_sensitivity(Trace(bert, inputs, TARGET, Needs.NOTHING), scores, method, 2)
    expected = slow(method, bert, inputs, 2, 0.02, 0)
    assert (expected > 0).all()
    torch.testing.assert_close(result, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_values_are_those_of_captum(kind, tokenizer):
    """On texts without repeated tokens: captum shifts positions, not words."""
    model = tiny_model(kind)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the film was great", "a dull unbelievable"]))
    assert all(len(set(row)) == len(row) for row in inputs.input_ids.tolist())
    target, table, samples = torch.tensor([1, 2]), model.get_input_embeddings(), 5

    def explanation(words):
        if isinstance(words, tuple):  # captum's first call
            return (explanation(words[0]),)
        each = inputs.rows(torch.arange(2).repeat_interleave(len(words) // 2))
        handle = table.register_forward_hook(lambda *_: words)
        scores = GradientXInput()(
            Trace(model, each, target.repeat_interleave(len(words) // 2), Needs.GRADIENT)
        )
        handle.remove()
        return scores.masked_fill(each.units < 0, 0)

    def perturb(words):
        radius = 0.02 * root_mean_square(model)
        noise = [
            word_noise(row, words.shape[2], 0, draw)
            for row in inputs.input_ids
            for draw in range(samples)
        ]
        return words + radius * torch.stack(noise)

    words = table(inputs.input_ids).detach()
    expected = sensitivity_max(explanation, words, perturb, n_perturb_samples=samples)
    trace = Trace(model, inputs, target, Needs.GRADIENT)
    result = max_sensitivity(trace, GradientXInput()(trace), GradientXInput(), samples)
    torch.testing.assert_close(result[:, 0], expected, rtol=1e-6, atol=1e-12)


def test_a_word_has_the_same_shift_everywhere(bert, inputs):
    table = bert.get_input_embeddings()
    ids = torch.tensor([[9, 6, 9, MASK], [6, PAD, 30, 9]])
    still = table(ids)
    with shifted_words(bert, inputs.rows(slice(1, 3)), 0.02, 0, FIRST):
        first = table(ids) - still
        assert torch.equal(table(ids.T.clone()).transpose(0, 1) - still, first)
    with shifted_words(bert, inputs, 0.02, 0, FIRST):
        company = table(ids) - still
    known = set(inputs.rows(slice(1, 3)).input_ids.flatten().tolist()) | {MASK, PAD}
    moved = torch.tensor([[token in known for token in row] for row in ids.tolist()])
    assert torch.equal((first != 0).all(2), moved) and not moved.all() and moved.any()
    assert torch.equal(first[moved], company[moved])
    assert torch.equal(first[0, 0], first[0, 2])


def test_noise_fills_the_ball_and_follows_seed_draw_and_id(bert, inputs):
    noise = word_noise(torch.arange(200), 50, seed=3, draw=1)
    assert noise.min() > -1.0001 and noise.max() < 1 and noise.abs().max() > 0.999
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.square().mean()) == pytest.approx(1 / 3, abs=0.01)
    assert torch.equal(word_noise(torch.tensor([7, 3]), 50, 3, 1), noise[[7, 3]])
    for other in (word_noise(torch.arange(200), 50, 4, 1), word_noise(torch.arange(200), 50, 3, 2)):
        assert (other != noise).all()
    table = bert.get_input_embeddings()
    still = table(inputs.input_ids).detach()
    with shifted_words(bert, inputs, 0.3, 0, FIRST):
        largest = (table(inputs.input_ids).detach() - still).abs().max()
    assert 0.29 < float(largest) <= 0.3


def test_the_model_is_restored_also_if_the_body_raises(bert, inputs):
    model = mixed_modes(bert)
    before = condition(model)
    with pytest.raises(MemoryError, match="full"), shifted_words(model, inputs, 0.1, 0, FIRST):
        raise MemoryError("full")
    assert_same(before, condition(model))

    def broken(_trace):
        raise MemoryError("full")

    with pytest.raises(MemoryError, match="full"):
        max_sensitivity(Trace(model, inputs), torch.zeros(inputs.units.shape), broken)
    assert_same(before, condition(model))
    trace = Trace(model, inputs)
    max_sensitivity(trace, GradientXInput()(trace), GradientXInput())
    assert_same(before, condition(model))


def test_the_class_and_the_needs_are_the_callers(bert, inputs):
    seen = []

    def method(trace):
        seen.append((trace.target, trace.needs))
        return trace.probabilities[:, :1].expand(trace.inputs.units.shape)

    trace = Trace(bert, inputs, TARGET, Needs.GRADIENT)
    assert not torch.equal(trace.logits.argmax(1), TARGET)
    max_sensitivity(trace, method(trace), method, samples=3)
    targets = torch.cat([target for target, _ in seen])
    assert torch.equal(targets.bincount(), 4 * TARGET.bincount())
    assert {needs for _, needs in seen} == {Needs.GRADIENT}
    method.needs = Needs.ATTENTION
    max_sensitivity(trace, method(trace), method, samples=1)
    assert seen[-1][1] == Needs.ATTENTION


@pytest.mark.parametrize("together", [True, False])
def test_draws_share_batches_unless_the_method_runs_the_model(together, bert, inputs, monkeypatch):
    monkeypatch.setattr(packing, "CPU", packing.Budget(10**6, 10**6))
    sizes, trace = [], Trace(bert, inputs, TARGET, Needs.GRADIENT)

    def method(moved):
        sizes.append(len(moved.inputs))
        if not together:
            bert(**moved.inputs.arguments(bert))
        return GradientXInput()(moved)

    result = max_sensitivity(trace, GradientXInput()(trace), method, 3)
    assert sizes == ([12] if together else [12, 4, 4, 4])
    expected = slow(GradientXInput(), bert, inputs, 3, 0.02, 0)
    torch.testing.assert_close(result, expected, rtol=1e-7, atol=1e-9)


def test_the_largest_of_all_draws_counts(bert, inputs):
    trace = Trace(bert, inputs, TARGET, Needs.GRADIENT)
    scores, method = GradientXInput()(trace), GradientXInput()
    few, many = (max_sensitivity(trace, scores, method, samples=n) for n in (2, 12))
    assert (many >= few).all() and (many > few).any()
    wide = max_sensitivity(trace, scores, method, samples=2, radius=0.2)
    assert (wide > 3 * few).all()


def test_methods_that_ignore_the_model_are_not_sensitive(bert, inputs):
    trace = Trace(bert, inputs, None, Needs.NOTHING)
    result = max_sensitivity(trace, Random()(trace), Random())
    assert torch.equal(result, torch.zeros(len(TEXTS), 1, dtype=torch.float64))
    nothing = torch.zeros(inputs.units.shape)
    none = max_sensitivity(trace, nothing, lambda moved: torch.zeros(moved.inputs.units.shape))
    assert torch.equal(none, result)
    ones = max_sensitivity(trace, nothing, lambda moved: torch.ones(moved.inputs.units.shape))
    assert torch.equal(ones[:, 0], (inputs.units >= 0).sum(1).double().sqrt())


def test_scores_of_special_tokens_and_padding_do_not_matter(bert, inputs):
    trace = Trace(bert, inputs, TARGET, Needs.GRADIENT)

    def method(moved):
        noise = moved.logits.sum() * 100
        return torch.where(moved.inputs.units < 0, noise, GradientXInput()(moved))

    method.needs = Needs.GRADIENT
    expected = max_sensitivity(trace, GradientXInput()(trace), GradientXInput(), 3)
    assert torch.equal(max_sensitivity(trace, method(trace), method, 3), expected)


def test_company_padding_and_order_do_not_matter(bert, inputs):
    method, order = Occlusion(), torch.tensor([3, 1, 0, 2])
    scores = explain(method, bert, inputs)
    together = max_sensitivity(Trace(bert, inputs, TARGET), scores, method, 3)
    shuffled = Trace(bert, inputs.rows(order), TARGET[order])
    result = max_sensitivity(shuffled, scores[order], method, 3)
    torch.testing.assert_close(result, together[order], rtol=1e-8, atol=1e-10)
    for b in range(len(TEXTS)):
        alone = Trace(bert, inputs.rows(slice(b, b + 1)), TARGET[b : b + 1])
        own = scores[b : b + 1, : alone.inputs.units.shape[1]]
        result = max_sensitivity(alone, own, method, 3)
        torch.testing.assert_close(result, together[b : b + 1], rtol=1e-8, atol=1e-10)


def test_a_text_without_units_has_no_value(bert, tokenizer):
    texts = tiny_batch(tokenizer, ["", "dull film"])
    trace = Trace(bert, Inputs.from_batch(texts, tokenizer=tokenizer), None, Needs.GRADIENT)
    result = max_sensitivity(trace, GradientXInput()(trace), GradientXInput(), 2)
    assert result[0].isnan().all() and (result[1] > 0).all()


def test_anywhere_and_in_half_precision(tokenizer, inputs):
    model, method = tiny_model(dtype=torch.float32), GradientXInput()
    expected = max_sensitivity(
        Trace(model, inputs, TARGET), explain(method, model, inputs), method, 2
    )
    with torch.inference_mode():
        copied = inputs.rows(torch.arange(4))
        scores = explain(method, model, copied)
        result = max_sensitivity(Trace(model, copied, TARGET), scores, method, 2)
    assert torch.equal(result, expected) and not result.is_inference()
    model = model.bfloat16()
    scores = explain(method, model, inputs)
    half = max_sensitivity(Trace(model, inputs, TARGET), scores, method, 2, radius=0.5)
    assert (half > 0).all() and half.isfinite().all()


def test_settings_and_the_metric(bert, inputs):
    for wrong in ({"samples": 0}, {"radius": 0.0}, {"radius": float("nan")}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            MaxSensitivity(**wrong)
    trace = Trace(bert, inputs, TARGET, Needs.GRADIENT)
    engine = Perturber(bert, mask_token_id=MASK, pad_token_id=PAD)
    scores, method = GradientXInput()(trace), GradientXInput()
    metric = MaxSensitivity(samples=3, radius=0.1, seed=5)
    with pytest.raises(InputError, match=r"measure\(perturber, trace, scores, method\)"):
        measure_all(engine, trace, [scores], {"sensitivity": metric})
    values = metric.measure(engine, trace, scores, method)
    assert torch.equal(values, max_sensitivity(trace, scores, method, 3, 0.1, 5))
    for own in (metric, pickle.loads(pickle.dumps(metric)), metric.clone()):
        own.reset()
        own.update(values)
        assert float(own.compute().value) == pytest.approx(float(values.mean()))
    assert metric.higher_is_better is False
