"""The linear rule of the paper, where it is delicate."""

import pytest
import torch

from bertx.errors import InputError
from bertx.trace.rules import STABILIZER, AlphaBeta, Epsilon, one_hot, split_weights
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


def test_tokens_are_rescaled_each_for_itself():
    torch.manual_seed(1)
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(4, 5), torch.randn(4)
    x, weight, bias = x.double(), weight.double(), bias.double()
    relevance = torch.randn(2, 3, 4).double() * torch.tensor([1.0, 1000.0])[:, None, None]
    out = split_weights(x, x @ weight.T + bias, weight, bias, relevance)
    size = relevance.abs().sum(-1)  # next to nothing is lost to the stabilizers
    assert ((out.sum(-1) - relevance.sum(-1)).abs() < 1e-6 * size).all()
    assert (out.sign() == relevance.sum(-1, keepdim=True).sign()).all()


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


def loop(x, weight, bias, relevance, share):
    """Relevance of one input vector: every contribution z_ij on its own."""
    out = torch.zeros_like(x)
    for j in range(len(weight)):
        contributions = [x[i] * weight[j, i] for i in range(len(x))]
        for i, z in enumerate(contributions):
            out[i] += share(z, contributions, bias[j]) * relevance[j]
    return out


def epsilon_share(epsilon):
    def share(z, contributions, bias):
        total = sum(contributions) + bias
        return z / (total + epsilon * (1 if total >= 0 else -1))

    return share


def alpha_beta_share(alpha):
    def share(z, contributions, bias):
        positive = sum(c for c in contributions if c > 0) + max(bias, 0)
        negative = sum(c for c in contributions if c < 0) + min(bias, 0)
        if z > 0:
            return alpha * z / positive
        return (1 - alpha) * z / negative if z < 0 else 0

    return share


@pytest.mark.parametrize(
    ("rule", "share"),
    [
        (Epsilon(0.0), epsilon_share(0.0)),
        (Epsilon(0.25), epsilon_share(0.25)),
        (AlphaBeta(1.0), alpha_beta_share(1.0)),
        (AlphaBeta(2.0), alpha_beta_share(2.0)),
        (AlphaBeta(1.5), alpha_beta_share(1.5)),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_textbook_rules_equal_the_sum_over_contributions(rule, share, biased):
    for seed in range(10):
        torch.manual_seed(seed)
        width, height = int(torch.randint(1, 8, ())), int(torch.randint(1, 8, ()))
        x, weight = torch.randn(3, width).double(), torch.randn(height, width).double()
        bias = torch.randn(height).double() * biased
        relevance = torch.randn(3, height).double()
        y = x @ weight.T + bias
        found = x * rule(x, y, weight, bias if biased else None, relevance / y)
        for row in range(3):
            expected = loop(x[row], weight, bias, relevance[row], share)
            torch.testing.assert_close(found[row], expected, rtol=1e-10, atol=1e-12)


def test_alpha_one_is_the_z_plus_rule_and_alpha_beta_conserves_without_bias():
    torch.manual_seed(0)  # wide enough for contributions of both signs
    x, weight = torch.randn(4, 40).double(), torch.randn(5, 40).double()
    y, relevance = x @ weight.T, torch.randn(4, 5).double()
    contributions = x[:, None] * weight  # (B, O, I)
    plus = contributions.clamp(min=0)
    z_plus = (plus / plus.sum(-1, keepdim=True) * relevance[..., None]).sum(1)
    torch.testing.assert_close(
        x * AlphaBeta(1.0)(x, y, weight, None, relevance / y), z_plus, rtol=1e-10, atol=1e-12
    )
    for alpha in (1.0, 2.0, 3.0):
        down = x * AlphaBeta(alpha)(x, y, weight, None, relevance / y)
        torch.testing.assert_close(down.sum(1), relevance.sum(1))


def test_numbers_that_are_no_rule_are_refused():
    with pytest.raises(InputError, match=r"alpha of at least 1, got 0.5"):
        AlphaBeta(0.5)
    with pytest.raises(InputError, match="epsilon of at least 0, got -1"):
        Epsilon(-1)
