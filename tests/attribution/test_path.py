"""Integrated gradients against a written-out loop, captum, and completeness."""

from itertools import pairwise

import pytest
import torch

from bertx.attribution.path import IntegratedGradients
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.oracles.path import integrated_gradients
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
MASK, PAD = 4, 0


def trace_of(model, tokenizer, texts=TEXTS, target=None):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
    return Trace(model, inputs, target, Needs.NOTHING)


def alone(trace, i):
    """Keyword arguments and ranked places of one sentence, unpadded."""
    part = trace.inputs.rows(slice(i, i + 1))
    return part.arguments(trace.model), part.units[0] >= 0


def ends(model, row, ranked, baseline):
    table = model.get_input_embeddings().weight.detach()
    words = table[row["input_ids"][0]]
    written = {"mask": table[MASK], "pad": table[PAD], "zero": torch.zeros_like(table[0])}
    away = written[baseline] if isinstance(baseline, str) else table[baseline]
    return words, torch.where(ranked[:, None], away, words)


@pytest.mark.parametrize(
    ("kind", "baseline"),
    [*((kind, "mask") for kind in ARCHITECTURES), *(("bert", b) for b in ("pad", "zero", 7))],
)
def test_it_equals_the_loop_over_points(kind, baseline, tokenizer):
    model, target = tiny_model(kind), torch.tensor([2, 0, 1])
    trace = trace_of(model, tokenizer, target=target)
    scores = IntegratedGradients(baseline, steps=5)(trace)
    for i in range(len(TEXTS)):
        row, ranked = alone(trace, i)
        words, start = ends(model, row, ranked, baseline)
        expected = integrated_gradients(model, row, words, start, int(target[i]), 5)
        torch.testing.assert_close(scores[i, : len(words)], expected, rtol=0, atol=1e-11)
        assert (scores[i, : len(words)][~ranked] == 0).all()


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "albert", "deberta-v2"])
def test_it_equals_captum(kind, tokenizer):
    captum = pytest.importorskip("captum.attr")
    model = tiny_model(kind)
    trace = trace_of(model, tokenizer)
    scores = IntegratedGradients(steps=20)(trace)
    for i in range(len(TEXTS)):
        row, ranked = alone(trace, i)
        others = {k: v for k, v in row.items() if k != "input_ids"}
        ids = row["input_ids"]
        method = captum.LayerIntegratedGradients(
            lambda ids, model=model, others=others: (
                model(ids, **{k: v.expand(len(ids), -1) for k, v in others.items()}).logits
            ),
            model.get_input_embeddings(),
        )
        found = method.attribute(
            ids, torch.where(ranked, MASK, ids), int(trace.target[i]),
            n_steps=20, method="gausslegendre",
        )  # fmt: skip
        torch.testing.assert_close(scores[i, : ids.shape[1]], found[0].sum(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta", "albert", "deberta-v2"])
def test_the_gap_falls_with_the_points(kind, tokenizer):
    trace = trace_of(tiny_model(kind), tokenizer)
    gaps = [IntegratedGradients(steps=n).attribute(trace).gap for n in (4, 16, 64, 256)]
    for coarse, fine in pairwise(gaps):
        assert (fine <= coarse + 1e-9).all()
    assert (gaps[-1] < 1e-8).all() and (gaps[0] > 1e-6).any()


def test_the_gap_is_what_is_missing(bert, tokenizer):
    trace = trace_of(bert, tokenizer)
    found = IntegratedGradients(steps=3).attribute(trace)
    assert torch.equal(found.scores, IntegratedGradients(steps=3).scores(trace))
    for i in range(len(TEXTS)):
        row, ranked = alone(trace, i)
        masked = row | {"input_ids": torch.where(ranked, MASK, row["input_ids"])}
        with torch.no_grad():
            rise = (bert(**row).logits - bert(**masked).logits)[0, trace.target[i]]
        assert float(found.gap[i]) == pytest.approx(abs(float(found.scores[i].sum() - rise)))


def test_a_tolerance_spends_points_where_they_are_needed(bert, tokenizer):
    trace = trace_of(bert, tokenizer)
    gap = IntegratedGradients(steps=4).attribute(trace).gap
    tolerance = float(gap.sort().values[:2].mean())  # some need more, some do not
    method = IntegratedGradients(steps=4, tolerance=tolerance)
    found = method.attribute(trace)
    assert (found.gap <= tolerance).all()
    assert torch.equal(found.steps > 4, gap > tolerance) and found.steps.unique().numel() > 1
    for i, n in enumerate(found.steps.tolist()):
        expected = IntegratedGradients(steps=n)(trace)[i]
        torch.testing.assert_close(method(trace)[i], expected, rtol=0, atol=1e-12)
    capped = IntegratedGradients(steps=4, tolerance=1e-300, max_steps=16).attribute(trace)
    assert capped.steps.tolist() == [16, 16, 16] and (capped.gap > 1e-300).all()


def test_the_budget_is_kept_and_changes_nothing(bert, tokenizer):
    trace = trace_of(bert, tokenizer)
    expected, shapes = IntegratedGradients()(trace), []
    handle = bert.register_forward_pre_hook(
        lambda _m, _a, named: shapes.append(named["input_ids"].shape), with_kwargs=True
    )
    scores = IntegratedGradients(token_budget=30)(trace)
    handle.remove()
    assert all(rows == 1 or rows * longest <= 30 for rows, longest in shapes)
    assert sum(rows for rows, _ in shapes) == 60
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


def test_a_text_without_words_scores_zero(bert, tokenizer):
    found = IntegratedGradients(tolerance=1e-6).attribute(trace_of(bert, tokenizer, ["", "dull"]))
    assert (found.scores[0] == 0).all() and found.gap[0] < 1e-12


def test_what_cannot_work_is_refused(bert, tokenizer):
    unknown = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    trace = Trace(bert, unknown, None, Needs.NOTHING)
    with pytest.raises(InputError, match=r"baseline 'mask'.*'pad' or 'zero'"):
        IntegratedGradients()(trace)
    IntegratedGradients("zero")(trace)
    with pytest.raises(InputError, match="baseline 1000: expected the id of a token, from 0 to"):
        IntegratedGradients(1000)(trace)
    for settings in (
        {"baseline": "none"}, {"baseline": -1}, {"baseline": True}, {"steps": 0},
        {"tolerance": 0.0}, {"token_budget": 0}, {"max_steps": 10, "tolerance": 1.0},
    ):  # fmt: skip
        with pytest.raises(InputError, match=next(iter(settings))):
            IntegratedGradients(**settings)


@pytest.mark.parametrize("number", [10**9, "size"])
def test_a_token_that_the_model_does_not_have_is_refused_before_texts(bert, number):
    size = bert.config.vocab_size
    number = size if number == "size" else number
    with pytest.raises(InputError, match=f"baseline {number}: .* from 0 to {size - 1}"):
        IntegratedGradients(number).check(bert)
    for known in (0, size - 1, "mask", "zero"):
        IntegratedGradients(known).check(bert)
