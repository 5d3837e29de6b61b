import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertx.errors import InputError
from bertx.metrics import (
    DeletionCurve,
    InsertionCurve,
    area,
    deletion_masks,
    fractions,
    insertion_masks,
    measure_all,
    ranks,
    removal_counts,
)
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from tests.metrics.texts import with_engine
from tests.oracles.perturbation import curve, trapezoid
from tests.tiny import tiny_batch, tiny_model

TEXTS = ["unbelievable", "the film was great", "a good book but never really great , was it !"]
MASK, PAD = 4, 0
TARGET = torch.tensor([2, 0, 1])


def engine(model, operator="mask"):
    return Perturber(model, operator, mask_token_id=MASK, pad_token_id=PAD)


def random_scores(inputs, methods=1):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(methods, *inputs.units.shape, generator=generator, dtype=torch.float64)


def curves(run, inputs, scores, target, grid):
    """Both curves of M methods (M, B, K) from one call of the engine."""
    texts = with_engine(run, inputs, target)
    metrics = {"deletion": DeletionCurve(len(grid)), "insertion": InsertionCurve(len(grid))}
    values = measure_all(*texts, list(scores), metrics)
    return tuple(own[..., :-1] for own in values.values())


def deletion_curve(run, inputs, scores, target, grid):
    return DeletionCurve(len(grid)).measure(*with_engine(run, inputs, target), scores)[:, :-1]


@pytest.fixture
def batch(tokenizer):
    return tiny_batch(tokenizer, TEXTS)


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator", ["remove", "mask", "pad", "attention", "zero"])
def test_a_loop_over_single_sentences_gives_the_same(operator, unit, bert, batch):
    inputs = Inputs.from_batch(batch, unit)
    (scores,) = random_scores(inputs)
    both = curves(engine(bert, operator), inputs, scores[None], TARGET, fractions(6))
    for name, values in zip(("deletion", "insertion"), both, strict=True):
        for b in range(len(inputs)):
            row = {name: field[b] for name, field in batch.items()}
            arguments = (scores[b], int(TARGET[b]), 6, name, operator, unit, MASK, PAD)
            expected = torch.tensor(curve(bert, row, *arguments), dtype=torch.float64)
            assert torch.allclose(values[0, b], expected, rtol=0, atol=1e-12)
            result = area(values[0, b], fractions(6))
            assert float(result) == pytest.approx(trapezoid(expected.tolist()), abs=1e-12)


def test_methods_in_one_call_are_methods_each_alone(bert, batch):
    inputs = Inputs.from_batch(batch)
    scores, run = random_scores(inputs, methods=4), engine(bert, "remove")
    calls = []
    handle = bert.register_forward_pre_hook(lambda *_: calls.append(1))
    deletion, insertion = curves(run, inputs, scores, TARGET, fractions(5))
    handle.remove()
    assert deletion.shape == insertion.shape == (4, 3, 5)
    assert len(calls) == run.work.batches + 1  # the clean forward
    for m, own in enumerate(scores):
        expected = deletion_curve(run, inputs, own, TARGET, fractions(5))
        assert torch.allclose(deletion[m], expected, rtol=0, atol=1e-12)
        expected = InsertionCurve(5).measure(*with_engine(run, inputs, TARGET), own)[:, :-1]
        assert torch.allclose(insertion[m], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_company_padding_and_order_do_not_matter(dtype, atol, batch):
    run, inputs = engine(tiny_model(dtype=dtype)), Inputs.from_batch(batch)
    scores, order = random_scores(inputs, methods=2), torch.tensor([1, 2, 0])
    together = torch.stack(curves(run, inputs, scores, TARGET, fractions()))
    shuffled = curves(run, inputs.rows(order), scores[:, order], TARGET[order], fractions())
    assert torch.allclose(torch.stack(shuffled), together[:, :, order], rtol=0, atol=atol)
    for b in range(3):
        own = inputs.rows(slice(b, b + 1))
        cut = scores[:, b : b + 1, : own.units.shape[1]]
        alone = curves(run, own, cut, TARGET[b : b + 1], fractions())
        assert torch.allclose(torch.stack(alone)[:, :, 0], together[:, :, b], rtol=0, atol=atol)


def test_the_class_is_the_callers(bert, batch):
    inputs = Inputs.from_batch(batch)
    (scores,) = random_scores(inputs)
    by_class = [
        deletion_curve(engine(bert), inputs, scores, torch.full((3,), c), fractions())
        for c in range(3)
    ]
    total = torch.stack(by_class).sum(0)  # fails if any step followed an argmax of its own
    assert torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_curves_that_go_up_and_down_stay(bert, batch):
    inputs = Inputs.from_batch(batch)
    (scores,) = random_scores(inputs)
    steps = deletion_curve(engine(bert), inputs, scores, TARGET, fractions()).diff(dim=1)
    assert (steps[2] > 0).any() and (steps[2] < 0).any()


def test_ends_of_both_curves_meet(bert, batch):
    inputs = Inputs.from_batch(batch)
    deletion, insertion = curves(engine(bert), inputs, random_scores(inputs), TARGET, fractions())
    assert torch.equal(deletion[..., 0], insertion[..., -1])
    assert torch.equal(deletion[..., -1], insertion[..., 0])
    with torch.no_grad():
        clean = bert(**inputs.arguments(bert)).logits.softmax(-1)
    expected = clean.gather(1, TARGET[:, None])[:, 0]
    assert torch.allclose(deletion[0, :, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_curves_made_in_inference_mode_are_ordinary_tensors(mode, bert, batch):
    with mode():
        inputs = Inputs.from_batch(batch).rows(torch.arange(3))  # copied: inference tensors
        both = curves(engine(bert), inputs, random_scores(inputs), TARGET.clone(), fractions())
    for values in both:
        assert not values.is_inference()
        values += 1


def test_k_counts_words_not_pieces_nor_padding(tokenizer):
    batch = tiny_batch(tokenizer, ["unbelievable film", TEXTS[2]])
    words, tokens = Inputs.from_batch(batch), Inputs.from_batch(batch, "token")
    assert words.unit_counts.tolist() == [2, 11]
    assert tokens.unit_counts.tolist() == [4, 11]
    half = torch.tensor([0.5])
    assert removal_counts(words.unit_counts, half).tolist() == [[1], [6]]
    assert removal_counts(tokens.unit_counts, half).tolist() == [[2], [6]]


def test_deletion_takes_whole_words_from_the_highest_score(bert, tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the unbelievable film"]))
    scores = torch.tensor([[9.0, 1.0, 0.4, 0.4, 0.4, 1.1, 9.0]])  # sums 1.0, 1.2, 1.1; [CLS] 9
    seen = []
    handle = bert.register_forward_pre_hook(
        lambda _m, _a, named: seen.extend(named["input_ids"].tolist()), with_kwargs=True
    )
    deletion_curve(engine(bert), inputs, scores, torch.tensor([0]), fractions(4))
    handle.remove()
    the, film = (int(i) for i in inputs.input_ids[0, [1, 5]])
    pieces = inputs.input_ids[0, 2:5].tolist()
    expected = [
        [2, the, *pieces, film, 3],  # the clean forward
        [2, the, *pieces, film, 3],
        [2, the, MASK, MASK, MASK, film, 3],
        [2, the, MASK, MASK, MASK, MASK, 3],
        [2, MASK, MASK, MASK, MASK, MASK, 3],
    ]
    assert sorted(seen) == sorted(expected)


def test_fractions_are_exact():
    assert fractions().tolist() == [k / 10 for k in range(11)]
    assert fractions(2).dtype == torch.float64
    for points in (1, 0, -3):
        with pytest.raises(InputError, match=f"at least 2 .* got {points}"):
            fractions(points)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(2, 30))
@settings(max_examples=50, deadline=None)
def test_counts_by_the_definition(sizes, points):
    counts = removal_counts(torch.tensor(sizes), fractions(points))
    for n, row in zip(sizes, counts.tolist(), strict=True):
        assert len(row) == points
        for k, count in enumerate(row):
            least = 1 if k and n else 0  # a short text changes too
            assert count == max(least, round(k / (points - 1) * n))
        assert (row[0], row[-1]) == (0, n)


@given(st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=8), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_ranks_and_masks_by_the_definition(rows):
    width = max(map(len, rows))
    scores = torch.tensor([[*map(float, row), *[5.0] * (width - len(row))] for row in rows])
    sizes = torch.tensor([len(row) for row in rows])
    places = ranks(scores, sizes)
    deletion = deletion_masks(scores, sizes, fractions(5))
    insertion = insertion_masks(scores, sizes, fractions(5))
    for b, row in enumerate(rows):
        order = sorted(range(len(row)), key=lambda u: (-row[u], u))
        assert places[b].argsort().tolist() == [*order, *range(len(row), width)]
        for k, count in enumerate(removal_counts(sizes, fractions(5))[b].tolist()):
            top = set(order[:count])
            assert {u for u in range(len(row)) if not deletion[b, k, u]} == top
            assert {u for u in range(width) if insertion[b, k, u]} == top


def test_area_is_the_trapezoid_of_any_shape():
    values, grid = torch.rand(2, 3, 7, dtype=torch.float64), fractions(7)
    expected = np.trapezoid(values.numpy(), grid.numpy(), axis=-1)
    assert np.allclose(area(values, grid).numpy(), expected, rtol=0, atol=1e-15)
    assert area(torch.ones(4), fractions(4)) == 1
    assert area(values.float(), grid).dtype == torch.float32
