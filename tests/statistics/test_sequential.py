"""Sequential comparison: intervals, verdicts, and how often they are wrong."""

from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, stats

from bertx.errors import InputError
from bertx.statistics import MINIMUM, compare_in_order, confidence_sequence
from bertx.statistics.sequential import chance_of_verdict, half_width

MIXTURE = 0.35


def martingale(t, count):
    """The Bayes factor of a Gaussian mixture of effects against none, by quadrature."""
    null = stats.t.pdf(t, count - 1)

    def part(effect):
        there = stats.nct.pdf(t, count - 1, effect * np.sqrt(count))
        return stats.norm.pdf(effect, 0, MIXTURE) * there / null

    return integrate.quad(part, -3, 3, points=[0, t / np.sqrt(count)], limit=200)[0]


@pytest.mark.parametrize(("count", "alpha"), [(12, 0.05), (40, 0.05), (40, 0.001), (100, 0.01)])
def test_the_interval_ends_where_the_martingale_reaches_its_bound(count, alpha):
    end = float(half_width(count, alpha)) * np.sqrt(count)
    assert martingale(end, count) == pytest.approx(1 / alpha, rel=1e-6)


def test_intervals_are_of_the_first_n_differences():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, 60) + 1e3
    low, high = confidence_sequence(values, 0.1)
    for n in (20, 41, 60):
        own = values[:n]
        half = own.std(ddof=1) * float(half_width(n, 0.1))
        assert (low[n - 1], high[n - 1]) == pytest.approx(
            (own.mean() - half, own.mean() + half), abs=1e-9
        )
    none = ~np.isfinite(half_width(np.arange(1, 61), 0.1))
    assert none[0] and not none[9]
    assert (low[none] == -np.inf).all() and (high[none] == np.inf).all()


def test_p_is_the_inverse_of_the_largest_martingale():
    rng = np.random.default_rng(3)
    values = rng.normal(0.1, 1, 50)
    values[:25] += np.where(np.arange(25) < 15, 3, -1)  # clearest before it counts, then less
    [result] = compare_in_order({"a": values, "b": np.zeros(50)}, True, alpha=1e-9)
    scale = np.maximum.accumulate(np.maximum(values, 0)) - np.minimum.accumulate(
        np.minimum(values, 0)
    )
    largest = 1.0
    for n in range(MINIMUM, 51):
        own = values[:n]
        deviation = np.sqrt((((own - own.mean()) ** 2).sum() + scale[n - 1] ** 2 / 2) / (n - 1))
        largest = max(largest, martingale(own.mean() / deviation * np.sqrt(n), n))
    assert result.p == pytest.approx(1 / largest, rel=1e-5)


def drawn(rng, shape, kind):
    """Values of two methods that are equally good on average."""
    if kind == "gaussian":
        return rng.normal(0.5, 0.2, (2, *shape))
    if kind == "skewed":
        return np.stack([rng.beta(0.5, 2, shape), rng.beta(0.5, 2, shape)])
    return (rng.random((2, *shape)) < 0.1).astype(float)  # right or wrong, and mostly right


@pytest.mark.parametrize("kind", ["gaussian", "skewed", "sparse"])
def test_equal_methods_are_told_apart_in_few_runs(kind):
    runs, alpha = 400, 0.05
    values = drawn(np.random.default_rng(1), (runs, 300), kind)
    result = [
        compare_in_order({"a": a, "b": b}, True, 0.001, alpha)[0].verdict
        for a, b in zip(*values, strict=True)
    ]
    wrong = result.count("beats") / runs
    assert wrong <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_rare_large_values_are_not_mistaken_for_equality():
    rng = np.random.default_rng(2)
    runs = 300
    wins = (rng.random((runs, 300)) < 0.04).astype(float)
    floor = (rng.random((runs, 300)) < 0.5).astype(float)
    result = [
        compare_in_order({"a": np.minimum(f + w, 1), "b": f}, True, 0.01)[0].verdict
        for w, f in zip(wins, floor, strict=True)
    ]
    assert result.count("no relevant difference") / runs <= 0.05


def test_verdicts_and_the_examples_they_took():
    rng = np.random.default_rng(4)
    base = rng.uniform(0.2, 0.8, 2000)
    values = {
        "best": base - 0.3 + rng.normal(0, 0.1, 2000),
        "same": base + rng.normal(0, 0.01, 2000),
        "other": base + rng.normal(0, 0.01, 2000),
        "close": base + 0.0095 + rng.normal(0, 0.3, 2000),
    }
    result = {frozenset((c.better, c.worse)): c for c in compare_in_order(values, False)}
    best = result[frozenset(("best", "same"))]
    assert (best.verdict, best.better) == ("beats", "best")
    assert MINIMUM <= best.count == best.needed < 60 and best.low > 0
    same = result[frozenset(("same", "other"))]
    assert same.verdict == "no relevant difference" and same.count < 600
    assert -0.01 < same.low < same.high < 0.01
    close = result[frozenset(("same", "close"))]
    assert close.verdict == "too few examples" and close.count == 2000 < close.needed


@pytest.mark.parametrize(("mean", "relevant"), [(0.02, 0.01), (0.001, 0.03)])
def test_the_needed_examples_decide_a_pair(mean, relevant):
    noise = np.random.default_rng(9).normal(0, 0.2, 200)
    values = {"a": 0.5 + mean + noise - noise.mean(), "b": np.full(200, 0.5), "c": np.zeros(200)}
    pair = compare_in_order(values, True, relevant)[0]
    assert (pair.verdict, pair.difference) == ("too few examples", pytest.approx(mean))
    counts = np.arange(201, 20_000)
    deviation = pair.detectable / half_width(200, 0.05 / 3)
    half = deviation * half_width(counts, 0.05 / 3)
    decided = counts[(half < mean) | (half < relevant - mean)]
    assert pair.needed == pytest.approx(decided[0], rel=0.01)


def test_a_decided_pair_stays_as_it_was():
    rng = np.random.default_rng(5)
    values = {name: rng.normal(mean, 0.2, 400) for name, mean in (("a", 0.6), ("b", 0.4))}
    [whole] = compare_in_order(values, True)
    cut = {name: own[: whole.count] for name, own in values.items()}
    [again] = compare_in_order(cut, True)
    assert (again.count, again.verdict) == (whole.count, "beats") and whole.count < 400
    assert (again.low, again.p) == pytest.approx((whole.low, whole.p), rel=1e-9)
    before = {name: own[: whole.count - 1] for name, own in values.items()}
    assert compare_in_order(before, True)[0].verdict == "too few examples"


def test_examples_without_a_value_do_not_count():
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.5, 0.2, 200), rng.normal(0.4, 0.2, 200)
    holes = a.copy()
    holes[::3] = np.nan
    [result] = compare_in_order({"a": holes, "b": b}, True)
    [expected] = compare_in_order({"a": a[~np.isnan(holes)], "b": b[~np.isnan(holes)]}, True)
    assert result.count == expected.count and result.verdict == expected.verdict
    b[190] = 9.0  # seen by all intervals from there on, though it is compared with none
    holes[190] = np.nan
    [wide] = compare_in_order({"a": holes, "b": b}, True, alpha=1e-9)
    apart = (holes - b)[~np.isnan(holes)]
    spread = np.nanmax([holes, b]) - np.nanmin([holes, b])
    squares = ((apart - apart.mean()) ** 2).sum() + spread**2 / 2
    half = np.sqrt(squares / (len(apart) - 1)) * float(half_width(len(apart), 1e-9))
    assert (wide.count, wide.detectable) == (len(apart), pytest.approx(half))
    [nothing] = compare_in_order({"a": np.full(3, np.nan), "b": b[:3]}, True)
    assert (nothing.count, nothing.verdict) == (0, "too few examples")


def test_the_level_is_shared_by_all_pairs():
    rng = np.random.default_rng(7)
    values = {name: rng.normal(0.5, 0.2, 100) for name in "abcd"}
    spread = np.ptp(np.stack(list(values.values())))
    for pair, result in zip(combinations(values, 2), compare_in_order(values, True), strict=True):
        apart = values[pair[0]] - values[pair[1]]
        deviation = np.sqrt(
            (((apart - apart.mean()) ** 2).sum() + spread**2 / 2) / (result.count - 1)
        )
        assert result.count == 100
        half = deviation * float(half_width(100, 0.05 / 6))
        assert result.high - result.difference == pytest.approx(half, rel=1e-9)
        assert result.adjusted == pytest.approx(min(1, 6 * result.p))


@pytest.mark.parametrize(("mean", "relevant", "count"), [(0.12, 0.01, 60), (0.0, 0.4, 30)])
def test_the_chance_of_a_verdict_is_how_often_there_is_one(mean, relevant, count):
    rng = np.random.default_rng(8)
    of, alpha, deviation = 240, 0.01, 1.0
    half = deviation * float(half_width(count, alpha))
    chance = chance_of_verdict(mean, half, count, of, relevant, alpha)
    truth = rng.normal(mean, deviation / np.sqrt(count), 200_000)
    rest = rng.normal(truth, deviation / np.sqrt(of - count))
    last = (count * mean + (of - count) * rest) / of
    end, size = deviation * float(half_width(of, alpha)), np.abs(last)
    told = (size > end) | (size < relevant - end)
    assert chance == pytest.approx(told.mean(), abs=0.005)
    assert chance_of_verdict(mean, half, of, of, 0.01, alpha) == 0
    assert chance_of_verdict(mean, np.inf, 5, of, 0.01, alpha) == 1


def test_several_seeds_are_refused():
    with pytest.raises(InputError, match="several seeds"):
        compare_in_order({"a": np.zeros((2, 30)), "b": np.ones((2, 30))}, True)
