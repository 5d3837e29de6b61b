"""Rationales in JSON lines and Parquet: marks of tokens, annotators, spans of characters."""

import json
import logging
import sys
from random import Random

import pyarrow as pa
import pytest
from pyarrow import parquet

from bertx.cli import main
from bertx.data import TextDataModule
from bertx.data.rationales import merge
from bertx.errors import InputError
from bertx.training import TextClassifier
from tests.data.conftest import MINILM
from tests.runs import arguments, save_model

GOOD = {"tokens": ["so", "good", "!"], "rationale": [0, 1, 0], "label": "up"}
BAD = {"tokens": ["bad"], "rationale": [1], "label": "down"}
PLAIN = {"text": "so good !", "rationale": [[3, 7]], "label": "up"}
PLAIN_BAD = {"text": "bad", "rationale": [], "label": "down"}


def write(folder, rows, split="train"):
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def opened(folder, stage="fit", **settings):
    if stage == "fit" and not (folder / "val.jsonl").exists():
        write(folder, [GOOD, BAD], "val")
    data = TextDataModule(MINILM, path=str(folder), **settings)
    data.setup(stage)
    return data


def training(folder, rows, **settings):
    return opened(write(folder, rows), **settings).dataset_of("train")


def marked(data):
    """The marked pieces of each text."""
    return [
        [text[start:end] for start, end in spans]
        for text, spans in zip(data.texts, data.rationales, strict=True)
    ]


# Marks of tokens


def test_tokens_become_a_text_and_marks_its_spans(tmp_path):
    data = training(tmp_path, [GOOD, BAD])
    assert data.texts == ["so good !", "bad"] and data.labels == [1, 0]
    assert data.rationales == [((3, 7),), ((0, 3),)]
    assert data[0] == {"text": "so good !", "label": 1, "index": 0, "rationale": ((3, 7),)}


@pytest.mark.parametrize("seed", range(3))
def test_every_token_has_its_mark(tmp_path, seed):
    random = Random(seed)
    rows = []
    for i in range(60):
        tokens = random.choices(["a", "naïve", "film", "!", "two words", "", "🙂"], k=1 + i % 9)
        marks = [random.choice([0, 1, True, False, 1.0]) for _ in tokens]
        label = ("up", "down")[i % 2]
        rows.append({"tokens": ["x", *tokens], "rationale": [0, *marks], "label": label})
    data = training(tmp_path, rows)
    for row, text, spans in zip(rows, data.texts, data.rationales, strict=True):
        at = 0
        covered = {i for start, end in spans for i in range(start, end)}
        for token, mark in zip(row["tokens"], row["rationale"], strict=True):
            place = range(at, at + len(token))
            assert text[at : at + len(token)] == token
            assert all((i in covered) == bool(mark) for i in place)
            at += len(token) + 1
        assert at == len(text) + 1
        assert list(spans) == sorted(spans) and all(a < b for a, b in spans)
        assert all(not text[end : end + 1].strip() for _, end in spans)


def test_neighbours_make_one_span(tmp_path):
    row = {"tokens": list("abcdef"), "rationale": [1, 1, 0, 1, 1, 1], "label": "up"}
    assert marked(training(tmp_path, [row, BAD]))[0] == ["a b", "d e f"]


@pytest.mark.parametrize(
    "annotators, expected",
    [
        ([[0, 1, 0]], ["b"]),
        ([[0, 1, 0], [1, 0, 0]], ["a b"]),
        ([[0, 1, 1], [1, 1, 0], [0, 1, 0]], ["b"]),
        ([[0, 1, 1], [1, 1, 0], [0, 0, 0], [0, 0, 1]], ["b c"]),
        ([[0, 0, 0], [0, 0, 0]], []),
        ([], []),
        (None, []),
    ],
)
def test_half_of_the_annotators_mark(tmp_path, annotators, expected):
    row = {"tokens": ["a", "b", "c"], "rationale": annotators, "label": "up"}
    assert marked(training(tmp_path, [row, BAD]))[0] == expected


def test_another_column_of_tokens(tmp_path):
    rows = [{"text": "x", "words": row["tokens"], **row} for row in (GOOD, BAD)]
    write(tmp_path, rows, "val")
    data = training(tmp_path, rows, text_column="words")
    assert marked(data) == [["good"], ["bad"]]


def test_tokens_without_rationales(tmp_path):
    rows = [{key: row[key] for key in ("tokens", "label")} for row in (GOOD, BAD)]
    data = training(tmp_path, rows)
    assert data.texts == ["so good !", "bad"] and data.rationales is None
    assert "rationale" not in data[0]


def test_batches_mark_the_pieces(tmp_path, minilm):
    row = {"tokens": ["an", "unbelievable", "film"], "rationale": [0, 1, 0], "label": "up"}
    data = opened(write(tmp_path, [row, BAD] * 4), batch_size=8)
    (batch,) = data.train_dataloader()
    for text, ids, marks in zip(batch["text"], batch["input_ids"], batch["rationale"], strict=True):
        word = "unbelievable" if "film" in text else "bad"
        assert minilm.decode(ids[marks]) == word


# Spans of characters


def test_spans_of_characters(tmp_path):
    rows = [
        {"text": "so very good !", "rationale": [[8, 12], [0, 2]], "label": "up"},
        {"text": "so bad", "rationale": [[0, 4], [3, 6], [2, 2]], "label": "down"},
        {"text": "no", "rationale": [], "label": "down"},
        {"text": "oh", "rationale": None, "label": "down"},
        {"text": "ah", "label": "down"},
    ]
    write(tmp_path, rows, "val")
    assert marked(training(tmp_path, rows)) == [["so", "good"], ["so bad"], [], [], []]


def test_merge():
    assert merge([]) == ()
    assert merge([(4, 6), (0, 2), (2, 4), (5, 9), (5, 6), (3, 3)]) == ((0, 2), (2, 4), (4, 9))


def test_a_column_of_explanations_is_no_rationale(tmp_path):
    rows = [{"text": t, "rationale": "as it says", "label": t} for t in ("up", "down")]
    write(tmp_path, rows, "val")
    assert training(tmp_path, rows).rationales is None
    for name in ("train", "val"):
        (tmp_path / f"{name}.jsonl").unlink()
        lines = "text\tlabel\trationale\nup\tup\t[[0, 2]]\ndown\tdown\t\n"
        (tmp_path / f"{name}.tsv").write_text(lines)
    data = TextDataModule(MINILM, path=str(tmp_path))
    data.setup("fit")
    assert data.dataset_of("train").rationales is None


@pytest.mark.parametrize("rows", [[GOOD, BAD], [PLAIN, PLAIN_BAD]])
def test_parquet(tmp_path, rows):
    for name in ("train", "val"):
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    data = TextDataModule(MINILM, path=str(tmp_path))
    data.setup("fit")
    assert marked(data.dataset_of("train"))[0] == ["good"]


# What cannot be used


@pytest.mark.parametrize(
    "first, row, parts",
    [
        (GOOD, {"rationale": [0, 1]}, ["each of 3 tokens", "got 2: [0, 1]"]),
        (GOOD, {"rationale": [0, 1, 0, 0]}, ["each of 3 tokens", "got 4"]),
        (GOOD, {"rationale": [0, 2, 0]}, ["0 or 1", "[0, 2, 0]"]),
        (GOOD, {"rationale": [0, None, 0]}, ["0 or 1", "[0, None, 0]"]),
        (GOOD, {"rationale": [[0, 1, 0], [0, 1]]}, ["each of 3 tokens", "got 2"]),
        (GOOD, {"rationale": [[0, 1, 0], 1, 0]}, ["0 or 1", "[[0, 1, 0], 1, 0]"]),
        (GOOD, {"rationale": "good"}, ["expected a list", "'good'"]),
        (GOOD, {"tokens": ["so", 3, "!"]}, ["a list of tokens", "['so', 3, '!']"]),
        (PLAIN, {"rationale": [[3, 99]]}, ["within the 9 characters", "[3, 99]"]),
        (PLAIN, {"rationale": [[-1, 3]]}, ["within the 9 characters", "[-1, 3]"]),
        (PLAIN, {"rationale": [[5, 3]]}, ["within the 9 characters", "[5, 3]"]),
        (PLAIN, {"rationale": [[3, 7, 8]]}, ["spans [start, end]", "[3, 7, 8]"]),
        (PLAIN, {"rationale": [0, 1, 0]}, ["got 0", "marks of tokens", "`text_column`"]),
        (PLAIN, {"rationale": {"start": 3}}, ["expected a list", "{'start': 3}"]),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_used(tmp_path, caplog, first, row, parts):
    last = {**first, "label": "down"}
    write(tmp_path, [first, last], "val")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = training(tmp_path, [first, {**first, **row}, last])
    assert marked(data) == [["good"]] * 2 and data.labels == [1, 0]
    assert [data[i]["index"] for i in range(2)] == [0, 1]
    reason, count = caplog.messages
    assert reason.startswith(f"{tmp_path}/train.jsonl, line 2: expected ")
    assert all(part in reason for part in parts), reason
    assert reason.endswith(".") and "Correct the row" in reason
    assert count == (
        "train: 1 of 3 texts cannot be used and are left out; the first are named above"
    )


def test_of_many_bad_rows_some_are_named(tmp_path, caplog):
    rows = [GOOD, *[{**GOOD, "rationale": [1]}] * 9, BAD, {**BAD, "rationale": []}]
    with caplog.at_level(logging.INFO, "bertx.data"):
        assert len(training(tmp_path, rows)) == 3
    named, (count, unmarked) = caplog.messages[:-2], caplog.messages[-2:]
    assert [message.partition(": ")[0].rpartition(" ")[2] for message in named] == list("23456")
    assert count.startswith("train: 9 of 12 texts cannot be used")
    first = f"{tmp_path}/train.jsonl, line 12"
    assert unmarked == f"train: 1 of 3 texts are without a rationale; the first is {first}"


def test_no_row_is_left(tmp_path):
    write(tmp_path, [{**GOOD, "rationale": [1]}, {**BAD, "rationale": [0, 1]}])
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    message = str(caught.value)
    assert message.startswith("train: none of 2 texts can be used.")
    assert f"{tmp_path}/train.jsonl, line 1: expected a mark" in message


def test_a_row_that_cannot_be_used_and_one_without_a_word(tmp_path, caplog):
    rows = [GOOD, {**GOOD, "rationale": [1]}, {**GOOD, "tokens": [], "rationale": []}, BAD]
    with caplog.at_level(logging.INFO, "bertx.data"):
        assert training(tmp_path, rows).texts == ["so good !", "bad"]
    assert caplog.messages[-1].startswith("train: 1 of 3 texts are without a word")
    assert caplog.messages[-1].endswith("train.jsonl, line 3")


# Predictions, which are read in parts


def test_parts_of_a_file(tmp_path, caplog, monkeypatch):
    """The second part has no rationale at all, the third a bad one."""
    monkeypatch.setattr("bertx.data.splits.CHUNK", 3)
    bare = {"tokens": ["so", "good", "!"], "label": "up"}
    rows = [GOOD] * 3 + [bare] * 3 + [GOOD, {**GOOD, "rationale": [1]}, GOOD]
    write(tmp_path, rows, "predict")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = opened(tmp_path, "predict", labels=["down", "up"], eval_batch_size=8)
    reason, count = caplog.messages
    assert reason.startswith(f"{tmp_path}/predict.jsonl, line 8: expected a mark")
    assert count.startswith("predict: 1 of 9 texts cannot be used")
    (batch,) = data.predict_dataloader()
    order = batch["index"].argsort()
    assert batch["index"][order].tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert batch["rationale"].sum(1)[order].tolist() == [1, 1, 1, 0, 0, 0, 1, 1]
    assert caplog.messages == [reason, count]


def test_no_row_of_predictions_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("bertx.data.splits.CHUNK", 2)
    write(tmp_path, [{**GOOD, "rationale": [1]}] * 5, "predict")
    with pytest.raises(InputError, match=r"predict: none of 5 texts can be used.*line 1"):
        opened(tmp_path, "predict", labels=["down", "up"])


# Runs


def test_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    real, seen = TextClassifier.validation_step, []

    def noting(self, batch, batch_idx):
        seen.extend(zip(batch["text"], batch["rationale"].sum(1).tolist(), strict=True))
        return real(self, batch, batch_idx)

    monkeypatch.setattr(TextClassifier, "validation_step", noting)
    words = {"up": ["the", "unbelievable", "film"], "down": ["a", "bad", "plot"]}
    rows = [
        {"tokens": words[label], "rationale": [0, 1, 0], "label": label}
        for label in ("up", "down") * 8
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val"):
        write(folder, rows, split)
    model = save_model(tmp_path / "model")
    main(arguments("fit", model, folder, "--trainer.max_epochs=1"))
    assert sorted(seen) == [("a bad plot", 1)] * 8 + [("the unbelievable film", 3)] * 8
