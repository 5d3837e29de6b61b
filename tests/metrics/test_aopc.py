import math
from statistics import mean

import numpy as np
import pytest
import torch

from bertx.errors import InputError
from bertx.metrics import measure_all
from bertx.metrics.aopc import (
    RATIOS,
    Comprehensiveness,
    LogOdds,
    Sufficiency,
)
from tests.metrics.texts import (
    OPERATORS,
    TARGET,
    TEXTS,
    engine,
    random_scores,
    texts_of,
    undecided,
    with_engine,
)
from tests.oracles.deletion import MASK, asker, ranking, rationale
from tests.tiny import tiny_batch, tiny_model

METRICS = {"comp": Comprehensiveness, "suff": Sufficiency, "log": LogOdds}


@pytest.fixture
def batch(tokenizer):
    return tiny_batch(tokenizer, TEXTS)


def loop(name, ask, ranked, c, ratios):
    """The values of one sentence: each bin by its definition, and their mean."""
    values = []
    for ratio in ratios:
        top = rationale(ranked, ratio)
        rest = [u for u in ranked if u not in top]
        whole, p = ask([])[c], ask(rest if name == "suff" else top)[c]
        values.append(math.log(p / whole) if name == "log" else whole - p)
    return [*values, mean(values)]


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator, seed", OPERATORS)
def test_a_loop_over_single_sentences_gives_the_same(operator, seed, unit, kind, batch):
    model, ratios = tiny_model(kind, seed=seed), (0.01, 0.3, 0.5, 0.75, 1.0)
    texts = texts_of(model, batch, operator=operator, unit=unit)
    scores = random_scores(texts.inputs, seed)
    judged = measure_all(*texts, [scores], {n: METRICS[n](ratios) for n in METRICS})
    for name, (result,) in judged.items():
        alone = METRICS[name](ratios).measure(*texts, scores)
        assert torch.allclose(alone, result, rtol=0, atol=1e-12)
        for b in range(len(TEXTS)):
            ask, _ = asker(model, batch, b, operator, unit)
            ranked = ranking(batch, b, scores[b], unit)
            expected = loop(name, ask, ranked, int(TARGET[b]), ratios)
            assert result[b].tolist() == pytest.approx(expected, abs=1e-10)


def eraser(instances, thresholds, key):
    """The mean over instances and thresholds, and the mean of each threshold, as ERASER's code."""
    dataset = []
    for instance in instances:
        kls = instance["classification"]
        scored = sorted(instance["thresholded_scores"], key=lambda s: s["threshold"])
        deltas = [
            instance["classification_scores"][kls] - s[key][kls]
            for s in scored
            if s["threshold"] in thresholds
        ]
        assert len(deltas) == len(thresholds)
        dataset.append(deltas)
    return np.average(dataset), np.average(dataset, axis=0)


def test_equal_to_eraser_on_the_same_ids(bert, batch):
    texts = texts_of(bert, batch)
    scores, instances = random_scores(texts.inputs), []
    for b in range(len(TEXTS)):
        ask, _ = asker(bert, batch, b)
        ranked = ranking(batch, b, scores[b])
        bins = []
        for ratio in RATIOS:
            top = rationale(ranked, ratio)
            rest = [u for u in ranked if u not in top]
            bins.append({"threshold": ratio, "comp": ask(top), "suff": ask(rest)})
        instances.append(
            {
                "classification": int(TARGET[b]),
                "classification_scores": ask([]),
                "thresholded_scores": bins,
            }
        )
    for name in ("comp", "suff"):
        metric = METRICS[name]()
        metric.update(metric.measure(*texts, scores))
        estimate, (score, points) = metric.compute(), eraser(instances, RATIOS, name)
        assert float(estimate.value) == pytest.approx(score, abs=1e-12)
        assert estimate.mean[:-1].tolist() == pytest.approx(points.tolist(), abs=1e-12)


def test_the_empty_bin_of_erasers_formula_is_the_ratio_0(bert, batch):
    """1 / (|B| + 1) Σ_{k=0}^{|B|}: with the whole text, or nothing, as the bin k = 0."""
    texts = texts_of(bert, batch)
    five, with_empty = (
        Comprehensiveness(ratios).measure(*texts, random_scores(texts.inputs))
        for ratios in (RATIOS, (0, *RATIOS))
    )
    assert torch.allclose(with_empty[:, -1], five[:, -1] * 5 / 6, rtol=0, atol=1e-12)
    nothing = Sufficiency((0,)).measure(*texts, random_scores(texts.inputs))[:, 0]
    for b, value in enumerate(nothing.tolist()):
        ask, units = asker(bert, batch, b)
        c = int(TARGET[b])
        assert value == pytest.approx(ask([])[c] - ask(range(units))[c], abs=1e-12)


@pytest.mark.parametrize("remove", [True, False])
def test_equal_to_ferret_where_no_bin_is_left_out(remove, tokenizer):
    """ferret with only_pos=False, on ten tokens, where all rationales differ."""
    batch = tiny_batch(tokenizer, ["a good unbelievable film but not great !"])
    assert batch["input_ids"].shape == (1, 12)
    model = tiny_model()
    texts = texts_of(model, batch, TARGET[:1], "remove" if remove else "mask", "token")
    scores, thresholds = random_scores(texts.inputs), np.arange(0.1, 1.1, 0.1)
    inner, numbers = batch["input_ids"][0, 1:-1].numpy(), scores[0, 1:-1].numpy()

    def forward(ids):
        with torch.no_grad():
            logits = model(torch.tensor([[2, *ids, 3]])).logits
        return logits.softmax(-1)[0, TARGET[0]].item()

    compr, suff = [], []
    for v in thresholds:
        id_top = numbers.argsort()[-int(v * len(numbers)) :][::-1]
        not_top = np.setdiff1d(np.arange(len(inner)), id_top)
        for places, result in ((id_top, compr), (not_top, suff)):
            sample = inner.copy()
            sample[places] = MASK
            ids = np.delete(inner, places) if remove else sample
            result.append(forward(inner) - forward(ids))
    for metric, expected in ((Comprehensiveness, compr), (Sufficiency, suff)):
        result = metric(thresholds.clip(max=1).tolist()).measure(*texts, scores)
        assert result[0].tolist() == pytest.approx([*expected, mean(expected)], abs=1e-12)


@pytest.mark.parametrize("metric", METRICS.values())
def test_repeated_rationales_and_negative_scores_have_all_bins(metric, tokenizer):
    """Mistakes 2 and 12: same K bins for every method, and the mean is over K."""
    batch, model = tiny_batch(tokenizer, ["never really great"]), tiny_model()
    texts = texts_of(model, batch, TARGET[:1])
    up = torch.tensor([[0.0, 1.0, 2.0, 3.0, 0.0]])
    for scores in (up, up - 9, -up, torch.zeros(1, 5)):
        result = metric().measure(*texts, scores)
        assert result.shape == (1, len(RATIOS) + 1)
        one, two = result[0, 0], result[0, 4]
        assert torch.equal(result[0, :4], one.expand(4)) and one != two  # 1, 1, 1, 1 and 2 words
        assert float(result[0, -1]) == pytest.approx(float(4 * one + two) / 5, abs=1e-12)


@pytest.mark.parametrize("name", ["comp", "suff"])
def test_the_class_is_the_callers(name, bert, batch):
    """Mistake 6: probabilities of all classes sum to 1, so their drops sum to 0."""
    texts, total = texts_of(bert, batch), 0
    scores = random_scores(texts.inputs)
    for c in range(3):
        target = torch.full((len(TEXTS),), c)
        total += METRICS[name]().measure(
            *with_engine(texts.perturber, texts.inputs, target), scores
        )
    assert torch.allclose(total, torch.zeros_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_values_go_up_and_down(name, bert, batch):
    """Mistake 7: no running minimum or maximum."""
    texts = texts_of(bert, batch)
    tenths = [k / 10 for k in range(11)]
    steps = METRICS[name](tenths).measure(*texts, random_scores(texts.inputs))[3, :-1].diff()
    assert (steps > 0).any() and (steps < 0).any()


@pytest.mark.parametrize("metric", METRICS.values())
def test_padding_is_not_a_unit_and_bins_are_never_empty(metric, bert, tokenizer):
    """Mistake 8: a short text has the same values in a batch with a long one and alone."""
    batch = tiny_batch(tokenizer, ["not great", *TEXTS])
    alone = tiny_batch(tokenizer, ["not great"])
    texts = texts_of(bert, batch, torch.tensor([1, *TARGET]))
    scores = random_scores(texts.inputs)
    own = texts_of(bert, alone, torch.tensor([1]))
    expected = metric().measure(*own, scores[:1, :4])
    result = metric().measure(*texts, scores)[:1]
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)
    assert (expected != 0).all()
    assert (metric().measure(*texts, scores)[3] == 0).all()  # the text without words


@pytest.mark.parametrize("operator", ["mask", "remove"])
def test_chunks_of_the_engine_do_not_matter(operator, bert, batch):
    """Mistake 9: in batches of any size, sufficiency keeps the top units and never deletes them."""
    texts = texts_of(bert, batch, operator=operator)
    scores = random_scores(texts.inputs)
    for metric in METRICS.values():
        expected = metric().measure(*texts, scores)
        for budget in (1, 30, 100):
            run = engine(bert, operator, budget)
            result = metric().measure(*with_engine(run, texts.inputs, TARGET), scores)
            assert torch.allclose(result, expected, rtol=0, atol=1e-12)


def test_sufficiency_of_a_ratio_is_comprehensiveness_of_the_rest(bert, tokenizer):
    batch = tiny_batch(tokenizer, ["a good book but never really great , was it"])
    texts = texts_of(bert, batch, TARGET[:1])
    scores = random_scores(texts.inputs)
    kept = Sufficiency((0.2, 0.5, 0.9)).measure(*texts, scores)
    deleted = Comprehensiveness((0.8, 0.5, 0.1)).measure(*texts, -scores)
    assert texts.inputs.unit_counts.tolist() == [10]
    assert torch.allclose(kept, deleted, rtol=0, atol=1e-12)


def test_the_whole_text_is_predicted_too(bert, batch):
    """Probabilities of the trace may differ by the precision, or by a training step in between."""
    texts = texts_of(bert, batch)
    texts.trace.logits.fill_(9)
    with torch.no_grad():
        bert.classifier.bias.add_(torch.tensor([1.0, 0.0, -1.0]))
    metrics = {"comp": Comprehensiveness((0,)), "suff": Sufficiency((1,)), "log": LogOdds((0,))}
    for values in measure_all(*texts, [random_scores(texts.inputs)], metrics).values():
        assert (values == 0).all()


def test_log_odds_stay_finite_where_a_probability_underflows(batch):
    model = undecided(tiny_model(dtype=torch.float32), batch, 1e4)
    texts = texts_of(model, batch)
    floor, result = math.log(torch.finfo(torch.float32).tiny), []
    assert round(floor, 1) == -87.3
    for c in range(3):
        target, scores = torch.full((len(TEXTS),), c), random_scores(texts.inputs)
        result.append(
            LogOdds().measure(*with_engine(texts.perturber, texts.inputs, target), scores)
        )
    values = torch.stack(result)
    assert values.dtype == torch.float32 and values.isfinite().all()
    for extreme in (values.min(), values.max()):
        assert abs(float(extreme)) == pytest.approx(-floor, abs=1e-4)  # from 1 to 0 and back


def test_columns_directions_and_settings():
    assert Comprehensiveness().columns == (
        "drop@1%", "drop@5%", "drop@10%", "drop@20%", "drop@50%", "aopc",
    )  # fmt: skip
    assert LogOdds([0.125]).columns == ("log_odds@12.5%", "log_odds")
    assert Sufficiency([0.2, 0.4]).ratios == (0.2, 0.4)
    directions = [METRICS[name].higher_is_better for name in ("comp", "suff", "log")]
    assert directions == [True, False, False]


@pytest.mark.parametrize("ratios", [(), (10, 20), (-0.1,), (0.1, math.nan)])
def test_invalid_fractions_are_refused(ratios):
    for metric in METRICS.values():
        with pytest.raises(InputError, match=r"between 0 and 1, got \["):
            metric(ratios)
