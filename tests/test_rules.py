"""The linear rule of the paper, where it is delicate."""

import torch

from bertx.rules import STABILIZER, one_hot, split_weights
from tests.oracles.encoder import linear_rule


def test_it_equals_the_written_out_rule_for_other_shares_too():
    torch.manual_seed(1)
    x, weight, bias = torch.randn(4, 5), torch.randn(3, 5), torch.randn(3)
    x, weight, bias = x.double(), weight.double(), bias.double()
    relevance = torch.randn(4, 3).double()
    y = x @ weight.T + bias
    for alpha in (0.5, 0.8):
        found = split_weights(x[None], y[None], weight, bias, relevance[None], alpha)[0]
        expected = linear_rule(x, (weight, bias), relevance, alpha)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_examples_of_a_batch_are_rescaled_each_for_itself():
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4)
    relevance = torch.rand(2, 3, 4) * torch.tensor([1.0, 1000.0])[:, None, None]
    out = split_weights(x, x @ weight.T + bias, weight, bias, relevance)
    torch.testing.assert_close(out.sum((1, 2)), relevance.sum((1, 2)), rtol=1e-4, atol=0)


def test_a_sum_that_is_exactly_zero_in_float32_gives_no_infinity():
    x = torch.tensor([[4.0, 4.0]])
    weight = torch.tensor([[1.0, -1e-12], [1e-12, -1.0]])  # lost beside 4
    bias = torch.zeros(2)
    out = split_weights(x, x @ weight.T, weight, bias, torch.ones(1, 2))
    assert out.isfinite().all()
    zero = split_weights(torch.zeros(1, 2), bias[None], weight, bias, torch.ones(1, 2))
    assert zero.isfinite().all() and (zero == 0).all()


def test_one_hot_places_values():
    assert one_hot(torch.tensor([0.5, 2.0]), torch.tensor([2, 0]), 3).tolist() == [
        [0, 0, 0.5],
        [2.0, 0, 0],
    ]
    assert STABILIZER == 1e-7
