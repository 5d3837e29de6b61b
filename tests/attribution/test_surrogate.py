"""KernelShap against Shapley values by their definition; both against captum on equal draws."""

from functools import cache

import pytest
import torch

from bertx.attribution.surrogate import KernelShap, Lime
from bertx.errors import InputError
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Needs, Trace
from tests.attribution.test_perturbation import calls_of
from tests.oracles.path import shapley
from tests.oracles.perturbation import perturbed, units_of
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["unbelievable", "the film was really great!", "dull acting"]
LONG = "a book of acting , but dull and never really very good in the plot"
MASK, PAD = 4, 0


def trace_of(model, tokenizer, texts=TEXTS, target=None):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
    return Trace(model, inputs, target, Needs.NOTHING)


def game(model, tokenizer, texts, i, target, operator="mask"):
    """v(S), S the frozenset of kept units, from plain model calls; and the number of units."""
    row = {name: values[i] for name, values in tiny_batch(tokenizer, texts).items()}
    units, _ = units_of(row, "word")

    @cache
    def value(kept):
        gone = {t for u, tokens in enumerate(units) if u not in kept for t in tokens}
        return float(perturbed(model, row, gone, operator, MASK, PAD)[target])

    return value, len(units)


@pytest.mark.parametrize("operator", ["mask", "remove"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_few_units_give_shapley_values(kind, operator, tokenizer):
    model, target = tiny_model(kind), torch.tensor([2, 0, 1])
    trace = trace_of(model, tokenizer, target=target)
    scores = merge_by_unit(KernelShap(operator=operator)(trace), trace.inputs.units)
    for i in range(len(TEXTS)):
        value, units = game(model, tokenizer, TEXTS, i, int(target[i]), operator)
        expected = torch.tensor(shapley(value, units), dtype=torch.double)
        torch.testing.assert_close(scores[i, :units], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("samples", [3, 40, 256])
def test_scores_always_add_up(samples, bert, tokenizer):
    texts = [LONG, *TEXTS, ""]
    trace = trace_of(bert, tokenizer, texts)
    scores = KernelShap(samples)(trace)
    for i in range(len(texts)):
        value, units = game(bert, tokenizer, texts, i, int(trace.target[i]))
        rise = value(frozenset(range(units))) - value(frozenset())
        assert float(scores[i].sum()) == pytest.approx(rise, abs=1e-10)


def test_more_samples_come_nearer_to_shapley_values(bert, tokenizer):
    texts = ["the film was really very good , but dull !"]  # 10 units
    trace = trace_of(bert, tokenizer, texts)
    exact = KernelShap(1022)(trace)  # as many as there are
    assert torch.equal(exact, KernelShap(2000)(trace))
    errors = [
        sum((KernelShap(n, seed)(trace) - exact).square().sum() for seed in range(8))
        for n in (30, 200, 1000)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_the_sizes_of_coalitions_follow_shapleys_kernel():
    generator = torch.Generator().manual_seed(0)
    kept, weights = KernelShap(samples=40_000).coalitions(16, generator)
    assert (weights == 1).all() and torch.equal(kept[::2], ~kept[1::2])
    sizes = torch.arange(1, 16)
    chances = 1 / (sizes * (16 - sizes))
    expected = chances / chances.sum()
    found = torch.bincount(kept.sum(1), minlength=16)[1:] / len(kept)
    assert (found - expected).abs().max() < 0.01
    assert (kept.double().mean(0) - 0.5).abs().max() < 1e-12


@pytest.mark.parametrize(
    "method", [KernelShap(201, seed=3), Lime(200, seed=3, width=0.2, penalty=0.5)]
)
def test_captum_fits_the_same_to_the_same_draws(method, bert, tokenizer, monkeypatch):
    captum = pytest.importorskip("captum.attr")
    pytest.importorskip("sklearn")
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    trace = trace_of(bert, tokenizer, [LONG], torch.tensor([1]))
    scores = merge_by_unit(method(trace), trace.inputs.units)[0]
    kept, _ = method._draw(trace, 0, len(scores))
    value, units = game(bert, tokenizer, [LONG], 0, 1)
    whole = torch.ones(1, units, dtype=torch.bool)
    rows = torch.cat([whole, ~whole, kept]) if isinstance(method, KernelShap) else kept

    def draws(*_, **__):
        yield from (row[None].long() for row in rows)

    def forward(x):
        return torch.tensor([value(frozenset(row.nonzero()[:, 0].tolist())) for row in x])

    if isinstance(method, KernelShap):
        reference = captum.KernelShap(forward)
        reference.perturb_func = draws
    else:
        near = get_exp_kernel_similarity_function("cosine", kernel_width=0.2)
        reference = captum.Lime(forward, SkLearnRidge(alpha=method.penalty), near, draws)
    found = reference.attribute(
        torch.ones(1, units), n_samples=len(rows), perturbations_per_eval=len(rows)
    )
    torch.testing.assert_close(scores.float(), found[0].float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", [KernelShap(40), Lime(40)])
def test_company_order_and_random_state_do_not_matter(method, bert, tokenizer):
    texts, state = [LONG, *TEXTS], torch.random.get_rng_state()
    trace, found = trace_of(bert, tokenizer, texts), []
    assert calls_of(bert, lambda: found.append(method(trace))) == 1
    assert torch.equal(torch.random.get_rng_state(), state)
    backwards = method(trace_of(bert, tokenizer, texts[::-1])).flip(0)
    torch.testing.assert_close(backwards, found[0], rtol=0, atol=1e-10)
    for i, text in enumerate(texts):
        alone = method(trace_of(bert, tokenizer, [text]))[0]
        torch.testing.assert_close(found[0][i, : len(alone)], alone, rtol=0, atol=1e-10)
    for c in range(3):
        assert torch.equal(method.every_class(trace)[:, c], method(trace.towards(c)))
    other = type(method)(40, seed=1)(trace)
    assert not torch.allclose(other[0], found[0][0])


def test_lime_finds_an_additive_game(bert, tokenizer, monkeypatch):
    from bertx.perturb import Perturber

    effect = torch.linspace(-0.3, 0.3, 16, dtype=torch.double)

    def answer(self, inputs, kept):
        p = 0.5 + kept.double() @ effect[: kept.shape[2]]
        return torch.stack([p, 1 - p], 2)

    monkeypatch.setattr(Perturber, "__call__", answer)
    trace = trace_of(bert, tokenizer, [LONG], torch.tensor([0]))
    for method in (Lime(100, penalty=0.0), KernelShap(100)):
        scores = merge_by_unit(method(trace), trace.inputs.units)[0]
        torch.testing.assert_close(scores, effect[: len(scores)], rtol=0, atol=1e-10)
    shrunk = merge_by_unit(Lime(100, penalty=10.0)(trace), trace.inputs.units)[0]
    assert 0 < shrunk.norm() < effect[: len(shrunk)].norm()


def test_nan_comes_through(bert, tokenizer):
    word = tokenizer.convert_tokens_to_ids("dull")
    bert.get_input_embeddings().weight.data[word] = torch.nan
    trace = trace_of(bert, tokenizer)
    for method in (KernelShap(10), Lime(10)):
        scores = method(trace)
        assert scores[:2].isfinite().all() and scores[2, 1:3].isnan().all()


def test_what_cannot_work_is_refused(bert, tokenizer):
    trace = Trace(bert, Inputs.from_batch(tiny_batch(tokenizer, TEXTS)), None, Needs.NOTHING)
    for method in (KernelShap, Lime):
        with pytest.raises(InputError, match=r"operator 'mask'.*'remove'"):
            method()(trace)
        method(operator="remove")(trace)
        for settings in ({"samples": 0}, {"operator": "drop"}, {"token_budget": 0}):
            with pytest.raises(InputError, match=next(iter(settings))):
                method(**settings)
    for settings in ({"width": 0.0}, {"penalty": -1.0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            Lime(**settings)
