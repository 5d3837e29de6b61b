"""The oracle's orders against permutations and a greedy loop, and against other methods."""

import pytest
import torch

from bertx.attribution import GradientSensitivity, GradientXInput, Random
from bertx.attribution.oracle import BeamOracle
from bertx.attribution.perturbation import Occlusion
from bertx.errors import InputError
from bertx.models.inputs import Inputs, merge_by_unit, spread_by_unit
from bertx.perturb import Perturber
from bertx.perturb.search import Search
from bertx.trace import Needs, Trace
from tests.attribution.test_perturbation import calls_of
from tests.attribution.test_surrogate import game, trace_of
from tests.oracles.path import best_order, greedy_order
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["unbelievable", "the film was really great!", "dull acting of it", ""]
LONG = ["a book of acting , but dull and very good", "the food was never bad , not awful but great"]


def orders(method, trace):
    """Units of each text, first deleted first."""
    scores = merge_by_unit(method(trace), trace.inputs.units)
    counts = trace.inputs.unit_counts.tolist()
    return [tuple(row[:n].argsort(descending=True).tolist())
            for row, n in zip(scores, counts, strict=True)]  # fmt: skip


def costs(trace, method):
    """Σ p_c after each deletion in the method's order."""
    units = torch.arange(int(trace.inputs.unit_counts.max()))
    run = Perturber(trace.model, mask_token_id=4, pad_token_id=0)
    found = []
    for i, order in enumerate(orders(method, trace)):
        kept = torch.stack([~torch.isin(units, torch.tensor(order[: k + 1]))
                            for k in range(len(order))])[None]  # fmt: skip
        p = run(trace.inputs.rows(slice(i, i + 1)), kept)
        found.append(float(p[0, :, trace.target[i]].sum()))
    return torch.tensor(found)


@pytest.mark.parametrize("operator", ["mask", "remove"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_exact_equals_all_permutations_and_beam_1_a_greedy_loop(kind, operator, tokenizer):
    model, target = tiny_model(kind), torch.tensor([2, 0, 1, 0])
    trace = trace_of(model, tokenizer, TEXTS, target)
    best = orders(BeamOracle(operator=operator), trace)
    greedy = orders(BeamOracle(1, operator, exact=0), trace)
    for i in range(3):
        value, units = game(model, tokenizer, TEXTS, i, int(target[i]), operator)
        assert best[i] == best_order(value, units)
        assert greedy[i] == greedy_order(value, units)
    assert best[3] == greedy[3] == ()


def test_a_full_beam_is_exact_and_the_curve_is_its_cost(bert, tokenizer):
    trace = trace_of(bert, tokenizer, TEXTS)
    run = Perturber(bert, mask_token_id=4, pad_token_id=0)
    for highest in (False, True):
        exact = Search(run, trace.inputs, trace.target).orders(1, 8, highest)
        beam = Search(run, trace.inputs, trace.target).orders(99, 0, highest)
        for i, (one, other) in enumerate(zip(exact, beam, strict=True)):
            assert one.order == other.order and one.cost == pytest.approx(other.cost, abs=1e-12)
            value, units = game(bert, tokenizer, TEXTS, i, int(trace.target[i]))
            left = set(range(units))
            for unit, p in zip(one.order, one.curve, strict=True):
                left.remove(unit)
                assert p == pytest.approx(value(frozenset(left)), abs=1e-12)
    low = Search(run, trace.inputs, trace.target).orders(1, 8)
    assert all(a.cost <= b.cost for a, b in zip(low, exact, strict=True))


def test_no_set_is_asked_for_twice(bert, tokenizer):
    trace = trace_of(bert, tokenizer, [*TEXTS, *LONG])
    run = Perturber(bert, mask_token_id=4, pad_token_id=0)
    search = Search(run, trace.inputs, trace.target)
    low = search.orders(1, 5)
    asked = run.work.requested
    assert search.orders(1, 5) == low and run.work.requested == asked
    high = search.orders(1, 5, highest=True)
    between = run.work.requested - asked
    fresh = Perturber(bert, mask_token_id=4, pad_token_id=0)
    assert high == Search(fresh, trace.inputs, trace.target).orders(1, 5, highest=True)
    assert 0 < between < fresh.work.requested


def test_larger_beams_are_not_worse_on_average(tokenizer):
    totals = []
    for beam in (1, 3, 9):
        total = 0.0
        for seed in range(4):
            trace = trace_of(tiny_model(seed=seed), tokenizer, LONG)
            total += float(costs(trace, BeamOracle(beam, exact=0)).sum())
        totals.append(total)
    assert totals[0] >= totals[1] >= totals[2] and totals[0] > totals[2]


@pytest.mark.parametrize("seed", range(3))
def test_exact_is_never_worse_than_any_method(seed, tokenizer):
    model = tiny_model(seed=seed)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS[:3]), "word", tokenizer)
    trace = Trace(model, inputs, None, Needs.GRADIENT)
    best = costs(trace, BeamOracle())
    others = (Random(), GradientXInput(), GradientSensitivity(), Occlusion(),
              BeamOracle(1, exact=0))  # fmt: skip
    for method in others:
        assert (best <= costs(trace, method) + 1e-12).all()
    assert (best < costs(trace, Random()) - 1e-3).any()


def test_scores_say_the_place_in_the_order(bert, tokenizer):
    trace = trace_of(bert, tokenizer, TEXTS)
    scores = BeamOracle()(trace)
    places = merge_by_unit(scores, trace.inputs.units)
    for row, n in zip(places, trace.inputs.unit_counts.tolist(), strict=True):
        expected = torch.arange(1, n + 1).double() / max(n, 1)
        torch.testing.assert_close(row[:n].sort().values, expected)
    assert torch.allclose(scores, spread_by_unit(places, trace.inputs.units))


def test_texts_advance_together_and_company_does_not_matter(bert, tokenizer):
    texts = [*LONG, *TEXTS]
    trace, method, found = trace_of(bert, tokenizer, texts), BeamOracle(3), []
    calls = calls_of(bert, lambda: found.append(method(trace)))
    assert calls == 1 + int(trace.inputs.unit_counts.max())
    backwards = method(trace_of(bert, tokenizer, texts[::-1])).flip(0)
    assert torch.equal(backwards, found[0])
    for i, text in enumerate(texts):
        alone = method(trace_of(bert, tokenizer, [text]))[0]
        assert torch.equal(found[0][i, : len(alone)], alone)


def test_what_cannot_work_is_refused(bert, tokenizer):
    trace = Trace(bert, Inputs.from_batch(tiny_batch(tokenizer, TEXTS)), None, Needs.NOTHING)
    with pytest.raises(InputError, match=r"operator 'mask'.*'remove'"):
        BeamOracle()(trace)
    BeamOracle(operator="remove")(trace)
    for settings in ({"beam": 0}, {"operator": "drop"}, {"exact": 17}, {"token_budget": 0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            BeamOracle(**settings)
