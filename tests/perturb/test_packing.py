"""The cheapest batches, against all possible divisions."""

from itertools import pairwise, product
from random import Random

import pytest
import torch

from bertx.perturb.packing import Budget, budget_for, chunks, pack


def cost(cut, lengths, budget):
    """Tokens with padding, plus the fixed costs of the batches."""
    return sum((end - start) * max(lengths[start], 1) + budget.call for start, end in cut)


def every_cut(lengths):
    """All divisions of a list into consecutive parts."""
    for cuts in product([False, True], repeat=len(lengths) - 1):
        borders = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(lengths)]
        yield list(pairwise(borders))


def fits(cut, lengths, budget):
    return all(e - s == 1 or (e - s) * lengths[s] <= budget.tokens for s, e in cut)


@pytest.mark.parametrize("seed", range(25))
def test_no_division_costs_less(seed):
    draw = Random(seed)
    lengths = sorted((draw.randint(1, 9) for _ in range(draw.randint(1, 9))), reverse=True)
    budget = Budget(10_000, draw.choice([0, 1, 5, 20]))
    cut = list(pack(lengths, budget))
    least = min(cost(own, lengths, budget) for own in every_cut(lengths))
    assert cost(cut, lengths, budget) == least


@pytest.mark.parametrize("seed", range(25))
def test_every_sequence_is_in_one_batch_that_fits(seed):
    draw = Random(seed)
    lengths = sorted((draw.randint(0, 40) for _ in range(draw.randint(0, 200))), reverse=True)
    budget = Budget(draw.randint(1, 300), draw.choice([0, 16, 500]))
    cut = list(pack(lengths, budget))
    assert [row for start, end in cut for row in range(start, end)] == list(range(len(lengths)))
    assert fits(cut, lengths, budget)


def test_what_does_not_fit_is_cut_into_even_batches():
    assert list(pack([4] * 9, Budget(tokens=16))) == [(0, 3), (3, 6), (6, 9)]


def test_expensive_calls_are_saved():
    lengths = list(range(64, 0, -1))
    assert len(list(pack(lengths, Budget(4096, 0)))) == 64
    assert 1 < len(list(pack(lengths, Budget(4096, 64)))) < 16
    assert list(pack(lengths, Budget(4096, 4096))) == [(0, 64)]


def test_items_come_in_batches_of_similar_length():
    words = ["to", "be", "or", "not", "that", "is", "question"]
    result = list(chunks(words, len, Budget(tokens=16, call=3)))
    assert result == [["question"], ["that", "not"], ["to", "be", "or", "is"]]


def test_recording_halves_the_default_budget_only():
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert budget_for(cpu, recorded=True).tokens * 2 == budget_for(cpu).tokens
    assert budget_for(cpu, 7, recorded=True).tokens == 7
    assert budget_for(meta).tokens > budget_for(cpu).tokens
