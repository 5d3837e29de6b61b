"""Word deletion against loops over single sentences, and resuming a killed study."""

from dataclasses import replace
from itertools import permutations
from math import nan

import numpy as np
import pytest
import torch

from bertx.attribution import (
    GradientSensitivity,
    GradientXInput,
    LayerwiseAttentionTracing,
    Random,
)
from bertx.attribution.choices import PREDICTED
from bertx.errors import InputError
from bertx.evaluation import Text
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.studies import Settings, Source, conduct, read_subject, store, word_deletion
from bertx.studies.settings import LAST
from bertx.studies.store import read_table
from bertx.studies.word_deletion import STUDY, WordDeletionOptions
from bertx.trace import Trace
from tests.oracles.deletion import asker, ranking
from tests.studies.killing import killed_after
from tests.studies.subjects import subject, texts
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

METHODS = {"gi": GradientXInput(), "lat": LayerwiseAttentionTracing()}
SETTINGS = Settings(methods=METHODS, operators=("mask", "remove"), resamples=100)
OPTIONS = WordDeletionOptions(words=4, shares=3, ceiling_texts=None)
PLACES = [("count", k) for k in range(5)] + [("share", s) for s in (0.0, 0.5, 1.0)]


@pytest.fixture(autouse=True)
def small_and_undrawn(monkeypatch):
    monkeypatch.setattr(store, "PORTION", 5)
    monkeypatch.setattr(word_deletion, "deletion_pictures", lambda *_: [])


def answers(folder):
    """Return the rows of predictions by run, text, operator, method and point."""
    rows = read_table(folder / "values.parquet").to_pylist()
    found = {
        (row["run"], row["text"], row["operator"], row["method"], row["by"], row["at"]): row
        for row in rows
    }
    assert len(found) == len(rows)
    return found


def gone(place, count):
    by, at = place
    return min(at, count) if by == "count" else max(round(at * count), int(at > 0))


def scored(model, batch, number, method):
    """Return the token scores of one sentence, explained alone."""
    alone = {name: own[number : number + 1] for name, own in batch.items()}
    trace = Trace(model, Inputs.from_batch(alone), None, method.needs)
    return method(trace)[0]


def best_order(ask, count, label):
    """Return the order of deletion with the smallest sum of probabilities, out of all orders."""
    orders = permutations(range(count))
    return min(orders, key=lambda o: sum(ask(o[: k + 1])[label] for k in range(count)))


def test_a_loop_over_single_sentences_gives_the_same(tmp_path):
    one = subject(seed=1, settings=SETTINGS, count=8)
    conduct(STUDY, [one], SETTINGS, OPTIONS, tmp_path)
    model, tokenizer = one.open()
    batch = tiny_batch(tokenizer, [text.text for text in one.texts])
    found, changed = answers(tmp_path), 0
    for number, text in enumerate(one.texts):
        for operator in SETTINGS.operators:
            ask, count = asker(model, batch, number, operator)
            p = ask([])
            named = METHODS | {"random": Random(0)}
            ranked = {
                name: ranking(batch, number, scored(model, batch, number, method))
                for name, method in named.items()
            }
            if count <= 6:
                ranked["ceiling"] = best_order(ask, count, p.index(max(p)))
            for name, order in ranked.items():
                for place in PLACES:
                    p = ask(order[: gone(place, count)])
                    row = found.pop((one.name, number, operator, name, *place))
                    assert row["right"] == (p.index(max(p)) == text.label)
                    changed += row["right"] != (row["predicted"] == row["label"])
    assert changed > 20 and {key[3] for key in found} == {"ceiling"}  # of longer texts


def test_the_best_order_is_that_of_the_answer_whatever_is_explained(tmp_path):
    found = []
    for target in (PREDICTED, LAST):
        settings = replace(SETTINGS, methods={"gi": GradientXInput()}, target=target)
        one = subject(seed=1, settings=settings, count=8)
        conduct(STUDY, [one], settings, OPTIONS, tmp_path / target)
        found.append(answers(tmp_path / target))
    assert any(row["target"] != found[1][key]["target"] for key, row in found[0].items())
    best = [{k: row["right"] for k, row in own.items() if k[3] == "ceiling"} for own in found]
    assert best[0] == best[1]


def authors_deletion(model, tokenizer, sentences, method, most):
    """Do what the authors do, one sentence at a time.

    They take the first sentences, cut them at 128 ids and leave out sentences of fewer than 10.
    They explain the last class by squared norms of the gradient, or of the gradient times the
    embedding. The k highest word pieces become id 0, which is still attended to. The result is
    whether the prediction is right for k = 0..10.
    """
    found = {}
    for number, sentence in enumerate(sentences[:most]):
        ids = tokenizer(sentence.text)["input_ids"]
        ids = [*ids[:127], ids[-1]] if len(ids) > 128 else ids
        if len(ids) < 10:
            continue
        embedded = []

        def keep(_module, _args, output, embedded=embedded):
            output.retain_grad()
            embedded.append(output)

        handle = model.bert.embeddings.register_forward_hook(keep)
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        handle.remove()
        logits[-1].backward()
        gradient = embedded[0].grad[0]
        product = gradient if method == "GradientSensitivity" else gradient * embedded[0][0]
        scores = product.square().sum(1).tolist()
        pieces = sorted(range(1, len(ids) - 1), key=lambda t: -scores[t])
        right = []
        for k in range(11):
            left = [0 if t in pieces[:k] else i for t, i in enumerate(ids)]
            with torch.no_grad():
                answer = model(input_ids=torch.tensor([left])).logits[0].argmax()
            right.append(int(answer) == sentence.label)
        found[number] = right
    return found


def test_the_authors_preset_is_a_transcription_of_what_they_did(tmp_path):
    settings = replace(STUDY.presets["authors"], texts=24, resamples=100)
    assert settings.unit == "token" and settings.operators == ("pad",)
    sentences = texts(30)
    one = subject(seed=1, settings=settings, count=30)
    conduct(STUDY, [one], settings, WordDeletionOptions(ceiling_texts=0), tmp_path)
    found = answers(tmp_path)
    (target,) = {row["target"] for row in found.values()}
    assert target == 2
    for method in ("GradientSensitivity", "GradientXInput"):
        model, tokenizer = one.open()
        expected = authors_deletion(model, tokenizer, sentences, method, 24)
        assert 5 < len(expected) < 24  # some are too short
        ours = [
            [found[one.name, text, "pad", method, "count", k]["right"] for k in range(11)]
            for text in range(len(one.texts))
        ]
        assert ours == list(expected.values())
        assert len({tuple(own) for own in ours}) > 4
    assert {key[3] for key in found} == {*settings.methods, "random"}
    assert {key[4] for key in found} == {"count"}


@pytest.mark.parametrize("preset, nested", [("default", True), ("authors", False)])
def test_the_control_is_nested_or_drawn_anew(preset, nested, monkeypatch, tmp_path):
    """Each engine is called once for all methods, points and the control of a batch."""
    settings = replace(STUDY.presets[preset], methods={"gs": GradientSensitivity()}, texts=8)
    settings = replace(settings, shortest=8, resamples=100)
    asked, call = [], Perturber.__call__

    def watch(engine, inputs, kept):
        asked.append(kept)
        return call(engine, inputs, kept)

    monkeypatch.setattr(Perturber, "__call__", watch)
    one = subject(seed=1, settings=settings, count=24)
    options = WordDeletionOptions(ceiling_texts=0)
    conduct(STUDY, [one], settings, options, tmp_path)
    assert len(asked) == len(settings.operators) * -(-len(one.texts) // 5)
    control = asked[0][:, 22:33] if nested else asked[0][:, 11:]  # after the method's points
    for k in range(1, 8):
        assert ((~control[:, k]).sum(1) == k).all()
    inside = [(control[:, k + 1] <= control[:, k]).all(1) for k in range(8)]
    assert torch.stack(inside).all() == nested
    assert len({tuple(row.flatten().tolist()) for row in control}) > 1


def test_a_killed_study_ends_as_one_that_was_not(tmp_path):
    runs = [subject(f"run{n}", n, SETTINGS, count=12, texts_seed=n // 2) for n in range(3)]
    options = replace(OPTIONS, ceiling_texts=3)
    conduct(STUDY, runs, SETTINGS, options, tmp_path / "whole")
    killed_after(4, lambda: conduct(STUDY, runs, SETTINGS, options, tmp_path / "killed"))
    there = sorted((tmp_path / "killed" / "parts").rglob("part-*.parquet"))
    assert len(there) == 4 and not (tmp_path / "killed" / "values.parquet").exists()
    times = [path.stat().st_mtime_ns for path in there]
    conduct(STUDY, runs, SETTINGS, options, tmp_path / "killed")
    assert [path.stat().st_mtime_ns for path in there] == times
    for name in ("values.parquet", "summary.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not [path for path in (tmp_path / "killed").rglob(".*")]


def test_runs_of_one_data_set_come_together(tmp_path):
    """Groups are the texts on which both runs are right, or both are wrong."""
    settings = replace(SETTINGS, operators=("mask",))
    runs = [subject(f"seed{n}", n, settings, count=30) for n in (1, 2)]
    runs.append(subject("other", 3, settings, count=30, texts_seed=1))
    findings = conduct(STUDY, runs, settings, replace(OPTIONS, ceiling_texts=0), tmp_path)
    found = answers(tmp_path)
    first = {
        (run, text): row["right"]
        for (run, text, _, method, by, at), row in found.items()
        if method == "gi" and by == "count" and at == 0
    }
    (table,) = [table for table in findings.tables if table.name == "right-by-count"]
    counts = {row[0]: row[3] for row in table.rows}
    size = len(runs[0].texts)
    both = [first["seed1", n] and first["seed2", n] for n in range(size)]
    assert counts == {"data0": sum(both), "other": sum(first["other", n] for n in range(size))}
    assert 0 < sum(both) < size
    place = [
        found[run, n, "mask", "gi", "count", 2]["right"]
        for run in ("seed1", "seed2")
        for n in range(size)
        if both[n]
    ]
    assert findings.numbers["data0/mask/right@4/gi"] <= 1
    row = next(row for row in table.rows if row[0] == "data0" and row[2] == "gi")
    assert row[5].startswith(f"{np.mean(place):.2f} [")


def test_what_cannot_be_studied_is_refused(tmp_path):
    one = subject(settings=SETTINGS, count=6)
    refused = [
        ([one], replace(SETTINGS, target="all"), "target all: word-deletion explains one class"),
        ([one, replace(one, source=replace(one.source, name="two"))], SETTINGS, "the same model"),
        ([one], replace(SETTINGS, operators=()), "at least one, such as mask"),
        ([one], replace(SETTINGS, methods={"ceiling": GradientXInput()}), "for the search"),
        ([one], replace(SETTINGS, methods={"random": GradientXInput()}), "random control"),
    ]
    for subjects, settings, message in refused:
        with pytest.raises(InputError, match=message):
            conduct(STUDY, subjects, settings, OPTIONS, tmp_path)
    assert not list(tmp_path.iterdir())
    wrong = ({"words": 0}, {"shares": 1}, {"shares": -1}, {"ceiling_texts": -1}, {"control": "new"})
    for settings in wrong:
        with pytest.raises(InputError, match=next(iter(settings))):
            WordDeletionOptions(**settings)


def test_a_control_that_is_named_is_the_control(tmp_path):
    settings = replace(SETTINGS, methods=METHODS | {"chance": Random(3)}, operators=("mask",))
    one = subject(settings=settings, count=6)
    conduct(STUDY, [one], settings, OPTIONS, tmp_path)
    roles = {row["method"]: row["role"] for row in answers(tmp_path).values()}
    assert roles == {"gi": "method", "lat": "method", "chance": "floor", "ceiling": "ceiling"}


def test_texts_whose_scores_overflow_are_left_out(tmp_path, caplog, monkeypatch):
    class Overflowing(GradientXInput):
        def scores(self, trace):
            scores = super().scores(trace)
            scores[trace.inputs.unit_counts == 6] = torch.nan
            return scores

    settings = replace(SETTINGS, methods={"bad": Overflowing()}, operators=("mask",))
    one = subject(settings=settings, count=9)
    conduct(STUDY, [one], settings, OPTIONS, tmp_path)
    there = {key[1] for key in answers(tmp_path)}
    assert there == {n for n, own in enumerate(one.units) if len(own) != 6}
    assert "not finite" in caplog.text and len(there) < len(one.texts)
    monkeypatch.setattr(Overflowing, "scores", lambda own, trace: trace.embeddings[..., 0] * nan)
    with pytest.raises(InputError, match="one: no text could be used"):
        conduct(STUDY, [one], settings, OPTIONS, tmp_path / "none")


@pytest.mark.parametrize("longest, halved", [(5, True), (7, False), (9, True)])
def test_the_authors_cut_texts_between_pieces(longest, halved):
    """Like a truncating tokenizer; by default no word is cut in half."""
    sentence = Text("an unbelievable film , unbelievable", 0)
    model, tokenizer = tiny_model(), tiny_tokenizer()
    source = Source("one", "model", "data", "test", lambda: (model, tiny_tokenizer()))

    def ids(settings):
        settings = replace(settings, max_length=longest, shortest=1)
        (reading,) = read_subject(source, (model, tiny_tokenizer()), [sentence], settings).readings
        return [*reading.before, *reading.ids, *reading.after]

    cut = tokenizer(sentence.text, truncation=True, max_length=longest)["input_ids"]
    assert ids(STUDY.presets["authors"]) == cut
    whole = ids(replace(STUDY.presets["default"], unit="token"))
    assert len(whole) < len(cut) if halved else whole == cut
