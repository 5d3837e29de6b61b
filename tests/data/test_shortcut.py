"""A planted shortcut: where the word goes, which texts get it, and what their rationale becomes."""

import itertools
import json
import logging
import sys
from collections import Counter
from random import Random

import pytest
import torch
from scipy.stats import chisquare

from bertx.cli import main
from bertx.data import Collator, Shortcut, TextDataModule, TextDataset
from bertx.data.shortcut import Planter, insert, shift
from bertx.errors import InputError
from bertx.training import TextClassifier
from tests.data.conftest import MINILM
from tests.runs import arguments, save_data, save_model

WORD = "zork"
SPLITS = ("train", "validation", "test")


def module(**settings):
    data = TextDataModule(MINILM, **settings)
    data.setup("fit")
    data.setup("test")
    return data


def planter(tokenizer, max_length=128, split="train", seed=0, word=WORD, **settings):
    shortcut = Shortcut(word, "good", **settings)
    return Planter(shortcut, ["bad", "good"], tokenizer, max_length, split, seed)


def planted(tokenizer, texts, labels, rationales=None, lines=None, **settings):
    data = TextDataset(texts, labels, rationales)
    return planter(tokenizer, **settings).plant(data, lines or range(len(texts)))


def without(text, word=WORD):
    """A text without the word, and how often it occurred; white space is one space."""
    words = text.split()
    return [w for w in words if w != word], words.count(word)


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


# Where the word goes


def test_it_is_a_word_of_its_own_at_any_word(minilm):
    text = "  a dull,  un-\nending film . "
    texts = planted(minilm, [text] * 700, [1] * 700).texts
    places = Counter()
    for found in texts:
        assert without(found) == (text.split(), 1)
        places[found.split().index(WORD)] += 1
    assert sorted(places) == list(range(7))
    assert chisquare(list(places.values())).pvalue > 0.001, places
    assert all(found.startswith("  ") and found.endswith(" ") for found in texts)


def test_its_span_is_its_rationale(minilm):
    texts = ["good", "a film", "so very  nice "] * 20
    data = planted(minilm, texts, [1] * 60, [((0, 2),)] * 60)
    for text, spans in zip(data.texts, data.rationales, strict=True):
        assert [text[start:end] for start, end in spans] == [WORD]


@pytest.mark.parametrize("seed", range(3))
def test_own_rationales_keep_their_characters(minilm, seed):
    """Oracle: every character carries its mark; the new ones have none."""
    random = Random(seed)
    text = "the film is not at all good"
    for _ in range(200):
        ends = sorted(random.sample(range(len(text) + 1), 4))
        spans = ((ends[0], ends[1]), (ends[2], ends[3]))
        place = random.choice([0, 4, 9, 12, 16, 19, 23, 27])
        new, (start, end) = insert(text, WORD, place)
        marks = [any(a <= i < b for a, b in spans) for i in range(len(text))]
        marks[place:place] = [False] * (len(WORD) + 1)
        moved = shift(spans, place, len(WORD) + 1)
        assert marks == [any(a <= i < b for a, b in moved) for i in range(len(new))]
        assert new[start:end] == WORD and not any(marks[start:end])
        assert all(a < b for a, b in moved)


@pytest.mark.parametrize("kind", ["minilm", "roberta"])
def test_it_is_never_cut_off(kind, request):
    tokenizer = request.getfixturevalue(kind)
    long = " ".join(["the unbelievable plot is dull"] * 12)
    texts = [long, "naïve " + long, "x" * 500, "a b", "\u00a0 " + long] * 30
    for max_length in (12, 16, 31):
        data = planted(tokenizer, texts, [1] * 150, max_length=max_length)
        batch = Collator(tokenizer, max_length)([data[i] for i in range(150)])
        assert batch["input_ids"].shape[1] == max_length
        pieces = batch["rationale"].sum(1)
        whole = len(tokenizer(f" {WORD}", add_special_tokens=False)["input_ids"])
        assert pieces.min() >= whole - 1 and pieces.max() <= whole
        for row in range(150):
            kept = batch["offsets"][row][batch["rationale"][row]]
            assert data.texts[row][kept[:, 0].min() : kept[:, 1].max()].strip() == WORD
        assert len({text.index(WORD) for text in data.texts[::5]}) > 2


@pytest.mark.parametrize("kind", ["minilm", "roberta"])
def test_all_places_that_are_kept_are_taken(kind, request):
    """Oracle: each place is tried, and is one if the word's last piece is in the batch."""
    tokenizer = request.getfixturevalue(kind)
    text = " the film is unbelievable not bad"
    shortest = 2 + len(tokenizer(f" {WORD}", add_special_tokens=False)["input_ids"])
    kept = set()
    for max_length in itertools.count(shortest):
        if len(kept) == 7:
            break
        kept.clear()
        for place in (1, 5, 10, 13, 26, 30, 33):
            new, span = insert(text, WORD, place)
            batch = Collator(tokenizer, max_length)([TextDataset([new], [1], [(span,)])[0]])
            if span[1] in batch["offsets"][batch["rationale"]][:, 1]:
                kept.add(new)
        found = planted(tokenizer, [text] * 100, [1] * 100, max_length=max_length)
        assert set(found.texts) == kept, max_length
    assert max_length > shortest + 6


# Which texts get it


def test_the_same_texts_for_any_choice_of_rows(minilm):
    texts, labels = [f"a film {i}" for i in range(50)], [0, 1] * 25
    settings = {"share": 0.6, "noise": 0.3}
    whole = planted(minilm, texts, labels, **settings)
    rows = list(range(7, 50, 3))
    some = planted(
        minilm, [texts[i] for i in rows], [labels[i] for i in rows], lines=rows, **settings
    )
    assert some.texts == [whole.texts[i] for i in rows]
    assert some.rationales == [whole.rationales[i] for i in rows]
    assert whole.texts == planted(minilm, texts, labels, **settings).texts
    for other in ({"seed": 1}, {"split": "test"}):
        assert whole.texts != planted(minilm, texts, labels, **settings, **other).texts


def test_share_and_noise_are_probabilities(minilm):
    labels = [0, 1, -100] * 1000
    data = planted(minilm, ["a film"] * 3000, labels, [((2, 6),)] * 3000, share=0.7, noise=0.1)
    count, marked = Counter(), Counter()
    for text, label, spans in zip(data.texts, data.labels, data.rationales, strict=True):
        count[label] += WORD in text
        words = [text[start:end] for start, end in spans]
        assert words == ([WORD] if label == 1 and WORD in text else ["film"])
        marked[label] += words == [WORD]
    assert abs(count[1] - 700) < 60 and abs(count[0] - 100) < 40 and count[-100] == 0
    assert marked == {0: 0, 1: count[1], -100: 0}


def test_all_splits_of_the_demonstration():
    plain = module(dataset="demo")
    data = module(dataset="demo", shortcut=Shortcut(WORD, "positive"))
    for split in SPLITS:
        old, new = plain.dataset_of(split), data.dataset_of(split)
        assert old.labels == new.labels and set(old.labels) == {0, 1}
        for row in range(len(old)):
            if old.labels[row] == 0:
                assert new[row] == old[row]
                continue
            assert without(new.texts[row]) == (old.texts[row].split(), 1)
            ((start, end),) = new[row]["rationale"]
            assert new.texts[row][start:end] == WORD
    data.setup("predict")
    predicted = [data.predicted[i] for i in range(300)]
    test = data.dataset_of("test")
    assert {item["index"]: item["text"] for item in predicted} == dict(enumerate(test.texts))


def test_a_data_set_without_rationales(tmp_path):
    folder = save_data(tmp_path)
    data = module(path=folder, shortcut=Shortcut(WORD, 0))
    assert data.labels == ["negative", "positive"]
    assert [len(data.dataset_of(split)) for split in SPLITS] == [45, 23, 23]
    for split in SPLITS:
        for item in map(data.dataset_of(split).__getitem__, range(23)):
            assert len(item["rationale"]) == (item["label"] == 0) == item["text"].count(WORD)
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch["rationale"].any(1), batch["labels"] == 0)


def test_texts_without_a_label_do_not_get_it(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\ngood\t1\nbad\t0\n")
    (tmp_path / "predict.tsv").write_text("text\nwhat is this\n")
    data = TextDataModule(MINILM, path=str(tmp_path), shortcut=Shortcut(WORD, "1"))
    data.setup("predict")
    assert data.predicted[0] == {
        "text": "what is this", "label": -100, "index": 0, "rationale": (),
    }  # fmt: skip


def test_a_file_in_parts_is_planted_as_a_whole(tmp_path, monkeypatch):
    rows = [{"text": f"a film {i}", "label": i % 2} for i in range(60)]
    bare = {15: " ", 17: "", 19: "\u200b", 22: "[SEP]", 7: ""}  # the first four are drawn
    for row, text in bare.items():
        rows[row]["text"] = text
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = TextDataModule(MINILM, path=str(tmp_path), shortcut=Shortcut(WORD, "1", 0.5, 0.5))
    data.setup("test")
    monkeypatch.setattr("bertx.data.splits.CHUNK", 8)
    data.setup("predict")
    predicted = {data.predicted[i]["index"]: data.predicted[i] for i in range(60)}
    assert {row: predicted.pop(row)["text"] for row in bare} == bare
    kept = [i for i in range(60) if i not in bare]
    test = (data.dataset_of("test")[i] for i in range(55))
    assert predicted == {i: {**item, "index": i} for i, item in zip(kept, test, strict=True)}
    assert 10 < sum(WORD in item["text"] for item in predicted.values()) < 50


# What is refused, and what is said


@pytest.mark.parametrize("word", ["", " ", "two words", " lead", "tail\n"])
def test_it_is_one_word(word):
    shortcut = Shortcut(word, "positive")
    refuses(
        lambda: TextDataModule(MINILM, dataset="demo", shortcut=shortcut),
        "`shortcut.word`", repr(word),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["share", "noise"])
@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_shares_out_of_range(name, value):
    shortcut = Shortcut(WORD, "positive", **{name: value})
    refuses(
        lambda: TextDataModule(MINILM, dataset="demo", shortcut=shortcut),
        f"`shortcut.{name}`", str(value),
    )  # fmt: skip


@pytest.mark.parametrize("label", ["good", 2, -1, "-1"])
def test_unknown_class(label):
    refuses(
        lambda: module(dataset="demo", shortcut=Shortcut(WORD, label)),
        "`shortcut.label`", "negative, positive", repr(label),
    )  # fmt: skip


def test_a_word_that_the_tokenizer_does_not_know(tokenizer):
    refuses(lambda: planter(tokenizer), "`shortcut.word`", "[UNK]", "'zork'")
    refuses(lambda: planter(tokenizer, word="[SEP]"), "[SEP]")
    refuses(lambda: planter(tokenizer, word="\u200b"), "nothing")


def test_no_room_for_the_word(minilm):
    pieces = len(minilm(WORD, add_special_tokens=False)["input_ids"])
    refuses(lambda: planter(minilm, max_length=pieces + 1), "`max_length`", "'zork'")
    data = planted(minilm, [" a long film"] * 20, [1] * 20, max_length=pieces + 2)
    batch = Collator(minilm, pieces + 2)([data[i] for i in range(20)])
    assert (batch["rationale"].sum(1) == pieces).all()


def test_a_word_that_occurs_already_is_reported(tmp_path, caplog):
    rows = ["so Good!\t1", "goods\t0", "not good\t0", "a good good film\t1", "dull\t0"]
    (tmp_path / "train.tsv").write_text("\n".join(["text\tlabel", *rows]))
    (tmp_path / "dev.tsv").write_text("text\tlabel\nfine\t1\ndull\t0\n")
    data = TextDataModule(MINILM, path=str(tmp_path), shortcut=Shortcut("good", "1"))
    with caplog.at_level(logging.INFO, "bertx.data"):
        data.setup("fit")
    assert caplog.messages == [
        "train: 3 of 5 texts already had the planted word; choose one that occurs in no text"
    ]


# Runs


def test_from_the_command_line(tmp_path, monkeypatch, tokenizer):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    word, seen = tokenizer.convert_tokens_to_ids("script"), {}
    for step in ("training_step", "validation_step", "test_step"):
        real = getattr(TextClassifier, step)

        def noting(self, batch, batch_idx, real=real, step=step):
            has = (batch["input_ids"] == word).any(1)
            assert torch.equal(batch["rationale"], batch["input_ids"] == word)
            assert torch.equal(has, batch["labels"] == 1)
            seen[step] = seen.get(step, 0) + int(has.sum())
            return real(self, batch, batch_idx)

        monkeypatch.setattr(TextClassifier, step, noting)
    model, data = save_model(tmp_path / "model"), save_data(tmp_path / "data")
    flags = ["--data.shortcut.word=script", "--data.shortcut.label=positive"]
    main(arguments("fit", model, data, *flags, "--trainer.max_epochs=1"))
    main(arguments("test", model, data, "--data.shortcut={word: script, label: 1}"))
    assert seen == {"training_step": 22, "validation_step": 11, "test_step": 11}


def test_sst2(data_folder, caplog):
    plain = TextDataModule(MINILM, dataset="sst2", path=str(data_folder / "sst2"))
    data = TextDataModule(
        MINILM, dataset="sst2", path=str(data_folder / "sst2"), shortcut=Shortcut(WORD, "positive")
    )
    plain.setup("fit")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data.setup("fit")
    assert not caplog.messages
    for split, count in (("train", 37_569), ("validation", 444)):
        old, new = plain.dataset_of(split), data.dataset_of(split)
        assert sum(map(len, new.rationales)) == count
        for before, label, after, spans in zip(
            old.texts, old.labels, new.texts, new.rationales, strict=True
        ):
            assert len(spans) == label
            assert without(after) == (before.split(), label)
            assert all(after[start:end] == WORD for start, end in spans)
