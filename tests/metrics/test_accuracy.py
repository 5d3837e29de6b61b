import math

import pytest
import torch

from bertx.errors import InputError
from bertx.metrics import measure_all
from bertx.metrics.accuracy import AccuracyDrop
from tests.metrics.texts import (
    OPERATORS,
    TEXTS,
    engine,
    random_scores,
    texts_of,
    undecided,
    with_engine,
)
from tests.oracles.deletion import asker, ranking
from tests.tiny import tiny_batch, tiny_model

MORE = [*TEXTS, "the plot was awful", "superb acting and a dull script", "bad , very bad"]


@pytest.fixture
def batch(tokenizer):
    return tiny_batch(tokenizer, MORE)


def loop(ask, ranked, label, words):
    """Whether one sentence is classified correctly after each deletion, in its group's columns."""
    right = []
    for k in range(words + 1):
        p = ask(ranked[:k])
        right.append(float(p.index(max(p)) == label))
    no = [math.nan] * (words + 1)
    if label < 0:
        return [*no, *no, math.nan]
    if right[0]:
        return [*right, *no, sum(right[1:]) / words]
    return [*no, *right, math.nan]


@pytest.mark.parametrize("unit", ["word", "token"])
@pytest.mark.parametrize("operator, seed", OPERATORS)
def test_a_loop_over_single_sentences_gives_the_same(operator, seed, unit, batch):
    model, words = undecided(tiny_model(seed=seed), batch), 4
    answer = texts_of(model, batch, None).target
    other = (answer + 1) % 3
    wrong = torch.tensor([False, True, False, True, False, True, False])
    labels = torch.where(wrong, other, answer)
    labels[5] = -100
    texts = texts_of(model, batch, None, operator, unit, labels=labels)
    scores = random_scores(texts.inputs, seed)
    result = AccuracyDrop(words).measure(*texts, scores)
    for b in range(len(MORE)):
        ask, _ = asker(model, batch, b, operator, unit)
        ranked = ranking(batch, b, scores[b], unit)
        expected = loop(ask, ranked, int(labels[b]), words)
        assert result[b].tolist() == pytest.approx(expected, nan_ok=True)
    assert (result[:, : words + 1] == 0).any()  # some predictions do change


def test_the_papers_two_figures(batch):
    """Accuracy by k of both groups, from all texts at once and from batches of any size."""
    model = undecided(tiny_model(seed=6), batch)
    answer = texts_of(model, batch, None).target
    labels = torch.where(torch.arange(len(MORE)) % 2 == 0, answer, (answer + 1) % 3)
    texts = texts_of(model, batch, None, labels=labels)
    metric = AccuracyDrop(3)
    values = metric.measure(*texts, random_scores(texts.inputs))
    for part in values.split((1, 4, 2)):
        metric.update(part)
    estimate = metric.compute()
    first_right = torch.tensor([0, 2, 4, 6])
    first_wrong = torch.tensor([1, 3, 5])
    assert torch.allclose(estimate.mean[:4], values[first_right, :4].double().mean(0))
    assert torch.allclose(estimate.mean[4:8], values[first_wrong, 4:8].double().mean(0))
    assert estimate.counts.tolist() == [4] * 4 + [3] * 4 + [4]
    assert estimate.mean[0] == 1 and estimate.mean[4] == 0
    assert float(estimate.value) == pytest.approx(float(estimate.mean[1:4].mean()))
    assert 0 < estimate.value < 1 and estimate.mean[4:8].max() > 0


def test_the_ranking_matters_and_goes_from_the_top(tokenizer):
    model, batch = tiny_model(labels=2), tiny_batch(tokenizer, ["the film was great"])
    ids = []
    handle = model.register_forward_pre_hook(
        lambda _m, _a, named: ids.extend(named["input_ids"].tolist()), with_kwargs=True
    )
    texts = texts_of(model, batch, None, labels=torch.tensor([0]))
    ids.clear()
    scores = torch.tensor([[0.0, 3.0, -1.0, 2.0, 2.0, 9.0]])
    measure_all(*texts, [scores], {"drop": AccuracyDrop()})
    handle.remove()
    the, film, was, great = batch["input_ids"][0, 1:5].tolist()
    expected = [[the, film, was, great], [4, film, was, great], [4, film, 4, great],
                [4, film, 4, 4], [4, 4, 4, 4]]  # fmt: skip
    assert sorted(row[1:5] for row in ids) == sorted(expected)  # and nothing for k = 5..10


def test_short_texts_stay_in_their_group(bert, batch):
    texts = texts_of(bert, batch, None, labels=texts_of(bert, batch, None).target)
    result = AccuracyDrop().measure(*texts, random_scores(texts.inputs))
    assert result.shape == (len(MORE), 23)
    assert result[:, :11].isfinite().all() and result[:, 11:22].isnan().all()
    assert torch.equal(result[0, 1:11], result[0, 1].expand(10))  # one word: gone at k = 1
    assert (result[2, :11] == 1).all()  # no word at all


def test_padding_and_chunks_do_not_matter(bert, batch):
    texts = texts_of(undecided(bert, batch), batch, None)
    labels, scores = (texts.target + 1) % 3, random_scores(texts.inputs)
    whole = with_engine(texts.perturber, texts.inputs, None, labels)
    together = AccuracyDrop().measure(*whole, scores)
    assert together[:, 11:22].nansum() > 0
    for b in range(len(MORE)):
        rows = texts.inputs.rows(slice(b, b + 1))
        own = scores[b : b + 1, : rows.units.shape[1]]
        part = with_engine(engine(bert, token_budget=1), rows, None, labels[b : b + 1])
        alone = AccuracyDrop().measure(*part, own)
        assert torch.equal(alone[0].nan_to_num(7), together[b].nan_to_num(7))


def test_what_cannot_work_is_refused(bert, batch):
    texts = texts_of(bert, batch, target=0)
    with pytest.raises(InputError, match=r"AccuracyDrop: expected texts with labels.*\(B,\)"):
        measure_all(*texts, [random_scores(texts.inputs)], {"drop": AccuracyDrop()})
    for words in (0, -3):
        with pytest.raises(
            InputError, match=f"words must be a whole number of at least 1, got {words}"
        ):
            AccuracyDrop(words)


def test_columns_and_direction():
    metric = AccuracyDrop(2)
    groups = ("right@0", "right@1", "right@2", "wrong@0", "wrong@1", "wrong@2")
    assert metric.columns == (*groups, "accuracy")
    assert AccuracyDrop().words == 10 and not AccuracyDrop.higher_is_better
