import math
from itertools import permutations

import pytest
import torch

from bertx.errors import InputError
from bertx.metrics import measure_all
from bertx.metrics.normalized import (
    NormalizedComprehensiveness,
    NormalizedSufficiency,
)
from bertx.models.inputs import spread_by_unit
from bertx.perturb import packing
from bertx.perturb.search import Search
from tests.metrics.texts import (
    OPERATORS,
    TARGET,
    TEXTS,
    engine,
    random_scores,
    texts_of,
    with_engine,
)
from tests.oracles.deletion import asker, ranking
from tests.tiny import tiny_batch, tiny_model

METRICS = {"comp": NormalizedComprehensiveness, "suff": NormalizedSufficiency}
SHORT = ["unbelievable", "the zebra film was", "", "not very good !", "great film"]
SHORT_TARGET = torch.tensor([2, 0, 1, 1, 0])


def aopc(ask, order, c):
    """Mean over k = 1..n of the drop of p_c when the first k units of an order are deleted."""
    falls = [ask([])[c] - ask(order[: k + 1])[c] for k in range(len(order))]
    return sum(falls) / len(falls) if falls else math.nan


def loop(name, ask, ranked, c):
    """The four values of one sentence, its limits by trying all orders."""
    value = aopc(ask, ranked if name == "comp" else ranked[::-1], c)
    every = [aopc(ask, order, c) for order in permutations(ranked)]
    lower, upper = min(every), max(every)
    normalized = (value - lower) / (upper - lower) if len(ranked) > 1 else math.nan
    return [value, lower, upper, normalized]


def scores_of(texts, orders):
    """Token scores that rank the units of each text in a given order."""
    units = torch.zeros(texts.inputs.unit_mask().shape)
    for row, order in zip(units, orders, strict=True):
        row[list(order)] = torch.arange(len(order), 0, -1.0)
    return spread_by_unit(units, texts.inputs.units)


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator, seed", OPERATORS)
def test_all_orders_tried_one_by_one_give_the_same(operator, seed, unit, tokenizer):
    sentences, model = ["unbelievable", *SHORT[1:]], tiny_model(seed=seed)
    batch = tiny_batch(tokenizer, sentences)
    texts = texts_of(model, batch, SHORT_TARGET, operator, unit)
    scores = random_scores(texts.inputs, seed)
    judged = measure_all(*texts, [scores], {name: METRICS[name]() for name in METRICS})
    for name, (result,) in judged.items():
        for b in range(len(sentences)):
            ask, _ = asker(model, batch, b, operator, unit)
            ranked = ranking(batch, b, scores[b], unit)
            expected = loop(name, ask, ranked, int(SHORT_TARGET[b]))
            assert result[b].tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("operator", ["mask", "remove"])
def test_over_all_orders_from_0_to_1_and_sufficiency_is_the_reverse(operator, tokenizer):
    batch = tiny_batch(tokenizer, ["the zebra film was", "never really great !"])
    texts = texts_of(tiny_model(seed=1), batch, torch.tensor([0, 2]), operator)
    orders = list(permutations(range(4)))
    scores = [scores_of(texts, [order] * 2) for order in orders]
    result = measure_all(*texts, scores, {name: METRICS[name]() for name in METRICS})
    for values in result.values():
        assert torch.allclose(values[..., 3].amin(0), torch.zeros(2).double(), rtol=0, atol=1e-12)
        assert torch.allclose(values[..., 3].amax(0), torch.ones(2).double(), rtol=0, atol=1e-12)
    backwards = [orders.index(order[::-1]) for order in orders]
    same = torch.allclose(result["suff"], result["comp"][backwards], rtol=0, atol=1e-12)
    assert same and not torch.allclose(result["suff"], result["comp"], rtol=0, atol=1e-3)


def test_the_order_of_the_search_is_the_best_there_is(bert, tokenizer):
    texts = texts_of(bert, tiny_batch(tokenizer, TEXTS))
    for name, metric, best in (("comp", METRICS["comp"], 1), ("suff", METRICS["suff"], 0)):
        ceiling = Search(texts.perturber, texts.inputs, texts.target).ceiling(metric.limit, beam=5)
        scores = spread_by_unit(ceiling, texts.inputs.units)
        values = measure_all(*texts, [scores], {name: metric()})[name][0, :, 3]
        assert values[[1, 3]].tolist() == pytest.approx([best, best], abs=1e-9)


def test_equal_to_naopc_on_the_same_ids(bert, tokenizer):
    """naopc: sum the drops of the probability, word by word, from the top or the bottom."""
    batch = tiny_batch(tokenizer, [TEXTS[3]])
    texts = texts_of(bert, batch, TARGET[:1])
    scores = random_scores(texts.inputs)
    word_ranking = torch.argsort(scores[0, 1:-1], descending=True) + 1

    def forward(ids):
        with torch.no_grad():
            return bert(ids).logits.softmax(1)[0, TARGET[0]].item()

    for metric, words in (
        (NormalizedComprehensiveness(), word_ranking),
        (NormalizedSufficiency(), word_ranking.flip(0)),
    ):
        total, ids = 0, batch["input_ids"].clone()
        full = forward(ids)
        for word in words:
            ids[:, word] = 4
            total += full - forward(ids)
        result = metric.measure(*texts, scores)
        assert float(result[0, 0]) == pytest.approx(total / len(word_ranking), abs=1e-12)


@pytest.mark.parametrize("seed, highest, normalized", [(3, True, 0), (6, False, 1)])
def test_limits_come_from_the_beam_and_may_be_missed(seed, highest, normalized, tokenizer):
    """A greedy search misses a limit here, and a better order has a value outside [0, 1]."""
    batch, model = tiny_batch(tokenizer, ["never really great , was"]), tiny_model(seed=seed)
    texts = texts_of(model, batch, TARGET[:1])
    ask, units = asker(model, batch, 0)
    every = [aopc(ask, order, 2) for order in permutations(range(units))]
    search = Search(texts.perturber, texts.inputs, texts.target)
    at_limit = scores_of(texts, [search.orders(1, 8, highest=highest)[0].order])
    greedy, exact, wide = (
        NormalizedComprehensiveness(beam, size).measure(*texts, at_limit)[0].tolist()
        for beam, size in ((1, 0), (1, 8), (99, 0))
    )
    assert exact == pytest.approx(wide, abs=1e-10)
    assert exact[1:] == pytest.approx([min(every), max(every), normalized], abs=1e-10)
    lower, upper = (aopc(ask, search.orders(1, 0, h)[0].order, 2) for h in (True, False))
    expected = [exact[0], lower, upper, (exact[0] - lower) / (upper - lower)]
    assert greedy == pytest.approx(expected, abs=1e-10)
    assert greedy[3] < -0.01 if highest else greedy[3] > 1.01


@pytest.mark.parametrize("name", METRICS)
def test_equal_limits_have_no_normalized_value(name, bert, tokenizer):
    batch = tiny_batch(tokenizer, SHORT)
    texts = texts_of(bert, batch, SHORT_TARGET)
    result = METRICS[name]().measure(*texts, random_scores(texts.inputs))
    assert result[0, :3].isfinite().all() and result[0, 1] == result[0, 2] and result[0, 3].isnan()
    assert result[2].isnan().all()  # no word
    assert result[[1, 3, 4]].isfinite().all()
    bert.classifier.weight.data.zero_()
    fresh = texts_of(bert, batch, SHORT_TARGET)
    indifferent = METRICS[name]().measure(*fresh, random_scores(texts.inputs))
    assert indifferent[:, 3].isnan().all()
    assert indifferent[[0, 1, 3, 4], :3].abs().max() < 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_float32_of_one_word_is_not_noise_over_noise(name, tokenizer):
    model = tiny_model(dtype=torch.float32)
    model.classifier.weight.data *= 1e-7
    batch = tiny_batch(tokenizer, TEXTS)
    texts = texts_of(model, batch)
    result = METRICS[name]().measure(*texts, random_scores(texts.inputs))
    assert result[:, 3].isnan().all()


@pytest.mark.parametrize("name", METRICS)
def test_the_class_is_the_callers(name, bert, tokenizer):
    batch, total = tiny_batch(tokenizer, TEXTS), 0
    inputs = texts_of(bert, batch).inputs
    for c in range(3):
        target = torch.full((len(TEXTS),), c)
        total += METRICS[name]().measure(
            *with_engine(engine(bert), inputs, target), random_scores(inputs)
        )[:, 0]
    assert total[[0, 1, 3]].abs().max() < 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_padding_and_chunks_do_not_matter(name, bert, tokenizer):
    texts = texts_of(bert, tiny_batch(tokenizer, SHORT), SHORT_TARGET)
    scores, run = random_scores(texts.inputs), engine(bert, token_budget=1)
    together = METRICS[name](2, 3).measure(*texts, scores)
    for b in range(len(SHORT)):
        rows = texts.inputs.rows(slice(b, b + 1))
        own = scores[b : b + 1, : rows.units.shape[1]]
        alone = METRICS[name](2, 3).measure(*with_engine(run, rows, SHORT_TARGET[b : b + 1]), own)
        assert torch.allclose(alone[0], together[b], rtol=0, atol=1e-10, equal_nan=True)


def test_both_metrics_and_all_methods_share_one_search(bert, tokenizer, monkeypatch):
    monkeypatch.setattr(packing, "CPU", packing.Budget(10**6, 10**6))
    texts = texts_of(bert, tiny_batch(tokenizer, TEXTS))
    scores = [random_scores(texts.inputs, seed) for seed in range(3)]
    metrics = {"comp": NormalizedComprehensiveness(), "suff": NormalizedSufficiency()}
    measure_all(*texts, scores[:1], {"comp": metrics["comp"]})
    alone = texts.perturber.work.batches
    measure_all(*texts, scores, metrics)
    assert texts.perturber.work.batches == 2 * alone > 2


@pytest.mark.parametrize("name", METRICS)
def test_what_cannot_work_is_refused(name):
    for settings in ({"beam": 0}, {"exact": 17}, {"exact": -1}):
        with pytest.raises(InputError, match=next(iter(settings))):
            METRICS[name](**settings)


def test_columns_and_directions():
    for metric in METRICS.values():
        assert metric().columns == ("aopc", "lower", "upper", "normalized")
    assert NormalizedComprehensiveness.higher_is_better
    assert not NormalizedSufficiency.higher_is_better
