import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertx.metrics.ranking import kendall, spearman

NUMBERS = st.integers(-3, 3) | st.floats(-5, 5)
ROWS = st.lists(
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=0, max_size=9), min_size=1, max_size=5
)
PAIRS = [(kendall, scipy.stats.kendalltau), (spearman, scipy.stats.spearmanr)]


def padded(rows):
    """Scores a and b (B, U), with arbitrary scores outside the mask, and the mask."""
    width = max(map(len, rows)) + 1
    filled = [[*row, *[(9.0 * k, -7.0) for k in range(width - len(row))]] for row in rows]
    a, b = torch.tensor(filled, dtype=torch.float64).unbind(2)
    return a, b, torch.arange(width) < torch.tensor([[len(row)] for row in rows])


def constant(numbers):
    return len(set(numbers)) < 2


@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.parametrize("ours, theirs", PAIRS)
@given(ROWS)
@settings(max_examples=80, deadline=None)
def test_equal_to_scipy_ties_included(ours, theirs, rows):
    result = ours(*padded(rows))
    for row, value in zip(rows, result.tolist(), strict=True):
        a, b = [x for x, _ in row], [y for _, y in row]
        if constant(a) or constant(b):
            assert value != value
        else:
            assert value == pytest.approx(theirs(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize("size", [5, 50, 400])
def test_many_units(ours, theirs, size):
    generator = torch.Generator().manual_seed(size)
    a = torch.randn(3, size, generator=generator)
    b = a + torch.randn(3, size, generator=generator)
    ties = torch.randint(-size // 4, size // 4 + 1, (3, size), generator=generator)
    own = torch.ones(3, size, dtype=torch.bool)
    for other in (b, ties):
        result = ours(a, other, own)
        for i in range(3):
            expected = theirs(a[i].numpy(), other[i].numpy()).statistic
            assert float(result[i]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", [kendall, spearman])
def test_units_may_be_anywhere(function):
    a, b = torch.randn(2, 4, 9)
    own = torch.tensor([[True, False, True, True, False, True, False, True, True]]).expand(4, -1)
    dense = torch.ones(4, 6, dtype=torch.bool)
    alone = function(a[own].view(4, 6), b[own].view(4, 6), dense)
    assert torch.equal(function(a, b, own), alone)


@pytest.mark.parametrize("function", [kendall, spearman])
def test_one_and_minus_one_are_exact(function):
    for size in range(2, 60):
        a, own = torch.randn(1, size), torch.ones(1, size, dtype=torch.bool)
        assert function(a, a.exp(), own) == 1
        assert function(a, -a, own) == -1


@pytest.mark.parametrize("function", [kendall, spearman])
def test_nothing_to_compare_is_nan(function):
    a = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    b = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [4.0, 4.0, 4.0], [1.0, 3.0, 2.0]])
    own = torch.arange(3) < torch.tensor([[1], [2], [3], [0]])
    assert function(a, b, own).isnan().all()
