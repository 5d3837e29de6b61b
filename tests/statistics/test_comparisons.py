"""Paired bootstrap, Holm and sample sizes against worked examples, scipy, and their levels."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bertx.errors import InputError
from bertx.statistics import (
    MINIMUM,
    compare,
    examples_needed,
    holm,
    paired_bootstrap,
    summarize,
)
from bertx.statistics import bootstrap as bootstrap_module
from bertx.statistics.spread import weighted_spread


def generator(seed=0):
    return np.random.default_rng(seed)


def anova(table):
    """Variance of a table's mean from the mean squares of rows, columns and residuals."""
    seeds, examples = len(table), len(table[0])
    mean = sum(map(sum, table)) / seeds / examples
    rows = [sum(row) / examples for row in table]
    columns = [sum(row[i] for row in table) / seeds for i in range(examples)]
    between = seeds * sum((c - mean) ** 2 for c in columns) / (examples - 1)
    if seeds == 1:
        return between / examples
    along = examples * sum((r - mean) ** 2 for r in rows) / (seeds - 1)
    rest = sum(
        (table[s][i] - rows[s] - columns[i] + mean) ** 2
        for s in range(seeds)
        for i in range(examples)
    ) / ((seeds - 1) * (examples - 1))
    return max(between, along, between + along - rest) / seeds / examples


@pytest.mark.parametrize("shape", [(40,), (1, 40), (2, 7), (5, 30)])
def test_the_error_of_a_mean_is_that_of_a_two_way_analysis(shape):
    values = generator(1).exponential(size=shape) + generator(2).normal(size=(*shape[:-1], 1))
    result = summarize(values)
    table = np.atleast_2d(values).tolist()
    assert result.mean == pytest.approx(values.mean())
    assert result.se == pytest.approx(sqrt(anova(table)), rel=1e-9)
    assert result.count == shape[-1]
    if len(table) == 1:
        assert result.se == pytest.approx(stats.sem(table[0]))


def test_an_example_counts_that_has_a_value_in_every_seed():
    values = np.array([[1.0, nan, 3.0, 7.0], [2.0, 5.0, nan, 9.0]])
    assert summarize(values) == summarize(values[:, [0, 3]])
    assert summarize([nan, 2.0])[0::2] == (2.0, 1) and isnan(summarize([2.0]).se)
    assert isnan(summarize([]).mean) and summarize([nan]).count == 0


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_weights_are_draws_with_replacement(seeds):
    """The closed form of each resample's mean and error equals that of the resampled table."""
    rng, examples = generator(3), 9
    values = rng.normal(size=(2, seeds, examples))
    rows, columns = rng.integers(seeds, size=(6, seeds)), rng.integers(examples, size=(6, examples))
    shares = np.array([np.bincount(r, minlength=seeds) / seeds for r in rows])
    counts = np.array([np.bincount(c, minlength=examples) for c in columns], dtype=float)
    result = weighted_spread(values, shares, counts)
    for p in range(2):
        for r in range(6):
            table = values[p][rows[r]][:, columns[r]]
            assert result.mean[p, r] == pytest.approx(table.mean())
            assert result.variance[p, r] == pytest.approx(anova(table.tolist()), rel=1e-9)


def test_draws_are_uniform_and_enough(monkeypatch):
    monkeypatch.setattr(bootstrap_module, "_CELLS", 70)  # in many blocks
    draws = list(bootstrap_module._resampled((3, 20), 1000, 0))
    seeds, examples = (np.concatenate(part) for part in zip(*draws, strict=True))
    assert seeds.shape == (1000, 3) and examples.shape == (1000, 20)
    assert np.allclose(seeds.sum(1), 1) and (examples.sum(1) == 20).all()
    assert stats.chisquare(examples.sum(0)).pvalue > 0.001
    assert np.var(examples) == pytest.approx(1 - 1 / 20, rel=0.05)  # not shuffled, but drawn


@pytest.mark.parametrize("effect", [0.0, 0.05, 0.2])
def test_many_normal_examples_give_the_t_test_and_scipys_bootstrap(effect):
    rng = generator(4)
    a = rng.normal(effect, 1, 600)
    b = a - rng.normal(effect, 1, 600)
    result, test = paired_bootstrap(a, b), stats.ttest_rel(a, b)
    assert result.mean == pytest.approx((a - b).mean()) and result.count == 600
    assert result.p == pytest.approx(max(test.pvalue, 1e-4), abs=0.02)
    low, high = test.confidence_interval()
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.01)
    theirs = stats.bootstrap((a - b,), np.mean, rng=generator(5)).confidence_interval
    assert (result.low, result.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5).map(lambda v: round(v, 1)), min_size=2, max_size=30))
def test_the_interval_excludes_zero_if_and_only_if_p_is_small(differences):
    zeros = [0.0] * len(differences)
    for alpha in (k / 20 for k in range(1, 20)):  # all p-values that 19 draws allow
        result = paired_bootstrap(differences, zeros, alpha, 19)
        assert (result.low > 0 or result.high < 0) == (result.p <= alpha)
    swapped = paired_bootstrap(zeros, differences, alpha, 19)
    assert swapped.p == result.p and swapped.low == pytest.approx(-result.high)


def test_pairs_without_both_values_are_dropped():
    rng = generator(6)
    a, b = rng.normal(size=(2, 50)), rng.normal(size=(2, 50))
    full = paired_bootstrap(a[:, :40], b[:, :40])
    a[0, 40:45], b[1, 45:] = nan, nan
    assert paired_bootstrap(a, b) == full and full.count == 40
    few = paired_bootstrap([1.0, nan], [0.5, 1.0])
    assert few[0] == 0.5 and few.p == 1 and few.count == 1 and isnan(few.low)
    none = paired_bootstrap([nan], [1.0])
    assert isnan(none.mean) and none.p == 1 and none.count == 0


def test_differences_that_hardly_vary():
    same = paired_bootstrap([0.3] * 30, [0.3] * 30)
    assert same == (0.0, 0.0, 0.0, 1.0, 30)
    always = paired_bootstrap([0.1 * 3] * 30, [0.0] * 30, resamples=999)
    assert always.p == 0.001 and always.low == always.high == always.mean
    wins = np.ones(128)
    wins[5] = 0
    assert paired_bootstrap(wins, 0 * wins, resamples=999).p == 0.001
    assert paired_bootstrap(np.eye(1, 128)[0], np.zeros(128)).p > 0.3


def test_seeds_that_disagree_are_no_evidence():
    rng = generator(7)
    a = np.array([[0.3], [-0.1], [0.05]]) + 0.01 * rng.normal(size=(3, 400))
    assert paired_bootstrap(a[:1], np.zeros((1, 400))).p < 0.001
    assert paired_bootstrap(a, 0 * a).p > 0.1
    assert paired_bootstrap(a + 2, 0 * a).p < 0.01


def test_holm_by_hand():
    # sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and none below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1] and holm([]).tolist() == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.5]))
def test_holm_rejects_step_by_step(p, alpha):
    """Holm's formulation: continue while the k-th smallest is at most alpha / (m - k + 1)."""
    order, rejected = sorted(range(len(p)), key=p.__getitem__), set()
    for k, index in enumerate(order):
        if p[index] * (len(p) - k) > alpha:
            break
        rejected.add(index)
    assert {i for i, adjusted in enumerate(holm(p)) if adjusted <= alpha} == rejected


KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape),
    "sparse": lambda rng, shape: (rng.random(shape) < 0.15) * 1.0,
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_methods_are_seldom_told_apart(kind):
    """Family-wise: any "beats" among the 10 pairs of 5 equal methods, in at most 5 % of cases."""
    rng, cases = generator(8), 300
    single = any_shown = 0
    for _ in range(cases):
        shared = rng.exponential(size=60)
        values = {str(m): shared + KINDS[kind](rng, 60) for m in range(5)}
        result = compare(values, True, resamples=999)
        any_shown += any(c.verdict == "beats" for c in result)
        single += any(c.p <= 0.05 for c in result)
    assert any_shown / cases <= 0.05 + 2.6 * sqrt(0.05 * 0.95 / cases)
    assert single / cases > 0.1  # without Holm


@pytest.mark.parametrize(("seeds", "low", "high"), [(5, 0, 0.08), (3, 0.04, 0.14), (2, 0.1, 0.25)])
def test_the_level_with_few_seeds(seeds, low, high):
    """As documented in `paired_bootstrap`, if seeds contribute more variance than examples."""
    rng, cases, shown = generator(9), 400, 0
    for _ in range(cases):
        a = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, 60)) + rng.normal(size=(seeds, 60))
        shown += paired_bootstrap(a, 0 * a, resamples=399).p <= 0.05
    assert low <= shown / cases <= high


def exact(rng, mean, sd, count):
    drawn = rng.normal(size=count)
    return mean + sd * (drawn - drawn.mean()) / drawn.std(ddof=1)


def test_the_formula_of_the_examples_needed():
    differences = exact(generator(10), 0.1, 0.5, 80)
    for alpha, power in ((0.05, 0.8), (0.01, 0.9)):
        z, more = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
        expected = np.ceil((0.5 * (z + more) / 0.1) ** 2 + z**2 / 2)
        assert examples_needed(differences, power, alpha) == expected
        assert examples_needed(-differences, power, alpha) == expected
    assert examples_needed(exact(generator(10), 3, 0.5, 80)) == MINIMUM
    assert examples_needed([1.0, 1.0]) == MINIMUM
    assert examples_needed([1.0, -1.0]) is None and examples_needed([1.0, nan]) is None


@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_the_examples_needed_have_the_power_promised(alpha):
    rng, cases = generator(11), 400
    count = examples_needed(exact(rng, 0.3, 1, 500), 0.8, alpha)
    assert 80 < count < 170
    shown = sum(
        paired_bootstrap(rng.normal(0.3, 1, count), np.zeros(count), alpha, 999).p <= alpha
        for _ in range(cases)
    )
    assert shown / cases == pytest.approx(0.8, abs=0.06)


def test_more_examples_do_not_help_where_seeds_differ():
    noise = 0.1 * generator(12).normal(size=(3, 50))
    assert examples_needed(noise + np.array([[0.9], [1.0], [1.1]])) == MINIMUM
    assert examples_needed(noise + np.array([[0.9], [-0.6], [0.3]])) is None


def three(count=100, seed=13):
    rng = generator(seed)
    base = rng.random(count)
    noise = {name: 0.05 * rng.normal(size=count) for name in "abc"}
    return {"a": base + noise["a"], "b": base + 0.2 + noise["b"], "c": base + 0.2 + noise["c"]}


def test_all_pairs_with_their_verdicts():
    values = three()
    result = compare(values, False)
    assert [(c.better, c.worse) for c in result[:2]] == [("a", "b"), ("a", "c")]
    assert [c.verdict for c in result] == ["beats", "beats", "too few examples"]
    single = [paired_bootstrap(values[x], values[y]) for x, y in ("ab", "ac", "bc")]
    assert [c.p for c in result] == [s.p for s in single]
    assert [c.adjusted for c in result] == holm([s.p for s in single]).tolist()
    assert [c.needed for c in result] == [
        examples_needed(values[x] - values[y], alpha=0.05 / 3) for x, y in ("ab", "ac", "bc")
    ]
    first = result[0]
    assert first.difference == pytest.approx((values["b"] - values["a"]).mean())
    assert 0 < first.low < first.difference < first.high and first.count == 100
    assert [(c.better, c.worse) for c in compare(values, True)[:2]] == [("b", "a"), ("c", "a")]


def test_too_few_examples_or_no_difference():
    [few] = compare({"b": three()["b"], "c": three()["c"]}, True)
    spread_of = summarize(three()["b"] - three()["c"]).se
    errors = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert few.detectable == pytest.approx(errors * spread_of) and few.detectable > 0.01
    for relevant, verdict in (
        (few.detectable * 0.99, "too few examples"),
        (few.detectable, "no difference shown"),
    ):
        [result] = compare({"b": three()["b"], "c": three()["c"]}, True, relevant)
        assert result.verdict == verdict
    short = {name: own[: MINIMUM - 1] for name, own in three().items()}
    assert {c.verdict for c in compare(short, True, relevant=9.0)} == {"too few examples"}
    enough = {name: own[:MINIMUM] for name, own in three().items()}
    assert compare(enough, True)[0].verdict == "beats"


def test_pairs_that_lack_other_examples_do_not_change_each_other():
    values = three()
    values["c"] = np.where(np.arange(100) < 30, nan, values["c"])
    result = compare(values, True)
    assert [c.count for c in result] == [100, 70, 70]
    for c, (x, y) in zip(result, ("ab", "ac", "bc"), strict=True):
        assert c.p == paired_bootstrap(values[x], values[y]).p
    assert compare({"a": values["a"]}, True) == [] == compare({}, True)


def test_what_cannot_be_compared_is_refused():
    for call, words in (
        (lambda: paired_bootstrap([1.0, 2.0], [1.0]), "same examples"),
        (lambda: paired_bootstrap([np.inf], [1.0]), "1 are infinite"),
        (lambda: paired_bootstrap(np.zeros((1, 1, 1)), np.zeros((1, 1, 1))), "shape"),
        (lambda: paired_bootstrap([1.0], [1.0], resamples=18), "at least 1 / alpha - 1"),
        (lambda: compare({"a": [1.0], "b": [1.0, 2.0]}, True), "'b': \\(2,\\)"),
        (lambda: compare({"a": [1.0], "b": [-np.inf]}, True), "b: expected finite"),
        (lambda: examples_needed(3.0), "shape"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    assert paired_bootstrap([1.0], [1.0], resamples=19).p == 1
