import math

import pytest
import scipy.stats
import torch

from bertx.attribution.perturbation import Occlusion
from bertx.metrics import measure_all
from bertx.metrics.tau import LeaveOneOutTau
from bertx.models.inputs import Inputs
from tests.metrics.texts import (
    OPERATORS,
    TARGET,
    TEXTS,
    engine,
    random_scores,
    texts_of,
    with_engine,
)
from tests.oracles.deletion import asker
from tests.oracles.perturbation import units_of
from tests.tiny import tiny_batch, tiny_model


@pytest.fixture
def batch(tokenizer):
    return tiny_batch(tokenizer, TEXTS)


def sums(batch, b, scores, unit):
    row = {name: field[b] for name, field in batch.items()}
    return [sum(float(scores[t]) for t in tokens) for tokens in units_of(row, unit)[0]]


def falls(model, batch, b, operator, unit):
    """p_c(x) - p_c(x without the unit), for each unit of one sentence."""
    ask, units = asker(model, batch, b, operator, unit)
    c = int(TARGET[b])
    return [ask([])[c] - ask([u])[c] for u in range(units)]


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator, seed", OPERATORS)
def test_a_loop_over_single_sentences_gives_the_same(operator, seed, unit, batch):
    model = tiny_model(seed=seed)
    texts = texts_of(model, batch, operator=operator, unit=unit)
    scores = random_scores(texts.inputs, seed).round()  # with ties
    result = LeaveOneOutTau().measure(*texts, scores)
    for b in range(len(TEXTS)):
        a = sums(batch, b, scores[b], unit)
        expected = math.nan
        if len(set(a)) > 1:
            expected = scipy.stats.kendalltau(a, falls(model, batch, b, operator, unit)).statistic
        assert float(result[b, 0]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_equal_to_ferret_on_the_same_ids(tokenizer):
    """ferret: kendalltau(-(p without the token - p), scores), over tokens without [CLS], [SEP]."""
    batch, model = tiny_batch(tokenizer, TEXTS[1:2]), tiny_model()
    texts = texts_of(model, batch, TARGET[1:2], operator="remove", unit="token")
    scores = random_scores(texts.inputs)
    ids, without = batch["input_ids"][0], []
    with torch.no_grad():
        baseline = model(ids[None]).logits.softmax(-1)[0, TARGET[1]].item()
        for t in range(1, len(ids) - 1):
            left = torch.cat([ids[:t], ids[t + 1 :]])[None]
            without.append(model(left).logits.softmax(-1)[0, TARGET[1]].item())
    importance = [-(p - baseline) for p in without]
    expected = scipy.stats.kendalltau(importance, scores[0, 1:-1].numpy())[0]
    result = LeaveOneOutTau().measure(*texts, scores)
    assert float(result[0, 0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("operator", ["mask", "remove"])
def test_occlusion_with_the_same_operator_reaches_one(operator, tokenizer):
    model, batch = tiny_model(), tiny_batch(tokenizer, TEXTS)
    texts = texts_of(model, batch, operator=operator)
    texts.trace.inputs = Inputs.from_batch(batch, "word", tokenizer)
    for sign in (1, -1):
        scores = sign * Occlusion(operator)(texts.trace)
        tau = measure_all(*texts, [scores], {"tau": LeaveOneOutTau()})["tau"][0, :, 0]
        assert tau[[1, 3]].tolist() == pytest.approx([sign, sign], abs=1e-12)


def test_a_text_without_a_value_does_not_count(bert, batch):
    texts = texts_of(bert, batch)
    scores = random_scores(texts.inputs)
    metric = LeaveOneOutTau()
    metric.update(LeaveOneOutTau().measure(*texts, scores))
    assert metric.compute().value_count == 2 and metric.compute().value.isfinite()
    flat = LeaveOneOutTau()
    flat.update(LeaveOneOutTau().measure(*texts, torch.zeros_like(scores)))
    assert flat.compute().value_count == 0


def test_padding_and_company_do_not_matter(bert, batch):
    texts = texts_of(bert, batch)
    scores = random_scores(texts.inputs)
    together = LeaveOneOutTau().measure(*texts, scores)
    for b in (1, 3):
        rows = texts.inputs.rows(slice(b, b + 1))
        own = scores[b : b + 1, : rows.units.shape[1]]
        alone = LeaveOneOutTau().measure(*with_engine(engine(bert), rows, TARGET[b : b + 1]), own)
        assert float(alone) == pytest.approx(float(together[b]), abs=1e-12)
    assert LeaveOneOutTau().columns == ("tau",) and LeaveOneOutTau.higher_is_better
