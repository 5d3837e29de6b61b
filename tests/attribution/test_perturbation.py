"""Leave-one-out against a loop of plain model calls."""

import pytest
import torch

from bertx.attribution.perturbation import Occlusion
from bertx.errors import InputError
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Needs, Trace
from tests.oracles.perturbation import perturbed, units_of
from tests.tiny import tiny_batch

TEXTS = ["unbelievable", "the film was really great!", "a book of acting , but dull"]
MASK, PAD = 4, 0


def calls_of(model, work):
    """How often the engine is asked."""
    from bertx.perturb import Perturber

    calls, ask = [], Perturber.__call__
    Perturber.__call__ = lambda self, *args: calls.append(args) or ask(self, *args)
    try:
        work()
    finally:
        Perturber.__call__ = ask
    return len(calls)


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator", ["mask", "remove", "pad", "attention", "zero"])
def test_it_equals_the_loop(operator, unit, bert, tokenizer):
    batch = tiny_batch(tokenizer, TEXTS)
    inputs = Inputs.from_batch(batch, unit, tokenizer)
    trace = Trace(bert, inputs, torch.tensor([2, 0, 1]), Needs.NOTHING)
    scores = Occlusion(operator)(trace)
    by_unit = merge_by_unit(scores, inputs.units)
    for b in range(len(TEXTS)):
        row = {name: values[b] for name, values in batch.items()}
        whole = perturbed(bert, row, set(), operator, MASK, PAD)
        for u, tokens in enumerate(units_of(row, unit)[0]):
            p = whole - perturbed(bert, row, set(tokens), operator, MASK, PAD)
            assert abs(float(by_unit[b, u] - p[trace.target[b]])) < 1e-12
            assert scores[b, tokens].unique().numel() == 1
    assert (scores[inputs.units < 0] == 0).all()


def test_all_classes_come_from_one_call_of_the_engine(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), "word", tokenizer)
    trace, found = Trace(bert, inputs, None, Needs.NOTHING), []
    assert calls_of(bert, lambda: found.append(Occlusion().every_class(trace))) == 1
    for c in range(3):
        assert torch.equal(found[0][:, c], Occlusion()(trace.towards(c)))
    # probabilities of all classes add up to 1 before and after
    assert found[0].sum(1).abs().max() < 1e-12


def test_the_budget_is_kept(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), "word", tokenizer)
    trace, sizes = Trace(bert, inputs, None, Needs.NOTHING), []
    bert.base_model.embeddings.register_forward_hook(lambda *a: sizes.append(a[2].shape[:2]))
    Occlusion(token_budget=30)(trace)
    assert all(rows == 1 or rows * longest <= 30 for rows, longest in sizes)


def test_a_text_without_words_scores_zero(bert, tokenizer):
    for texts in (["", "dull"], [""]):
        inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
        assert (Occlusion()(Trace(bert, inputs, None, Needs.NOTHING))[0] == 0).all()


def test_what_cannot_work_is_refused(bert, tokenizer):
    trace = Trace(bert, Inputs.from_batch(tiny_batch(tokenizer, TEXTS)), None, Needs.NOTHING)
    with pytest.raises(InputError, match=r"operator 'mask'.*'remove'"):
        Occlusion()(trace)
    Occlusion("remove")(trace)
    with pytest.raises(InputError, match="operator"):
        Occlusion("drop")
    with pytest.raises(InputError, match="token_budget"):
        Occlusion(token_budget=0)
