"""ERASER's format: documents, evidences, and what is wrong with them."""

import io
import json
import logging
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from bertx.cli import main
from bertx.data import TextDataModule
from bertx.errors import InputError
from bertx.training import TextClassifier
from tests.data.conftest import MINILM
from tests.runs import arguments, last_value, save_model

DOCUMENTS = {
    "a.txt": "the film is not bad .\nin fact it is\tvery  good !\n",
    "b.txt": "  a dull\u00a0film \n\n the worst .\u2003\n",
    "c/d.txt": "bad",
}
TOKENS = {
    "a.txt": ["the", "film", "is", "not", "bad", ".", "in", "fact", "it", "is\tvery", "good", "!"],
    "b.txt": ["a", "dull\u00a0film", "the", "worst", "."],
    "c/d.txt": ["bad"],
}


def evidence(name, start, end, **more):
    text = " ".join(TOKENS[name][start:end])
    places = {"docid": name, "start_token": start, "end_token": end, "text": text}
    return {**places, "start_sentence": -1, "end_sentence": -1, **more}


def row(name="a.txt", *groups, label="POS", **more):
    return {
        "annotation_id": name, "classification": label, "evidences": [list(g) for g in groups],
        "query": "is it good?", "query_type": None, **more,
    }  # fmt: skip


GOOD = row("a.txt", [evidence("a.txt", 3, 5)], [evidence("a.txt", 9, 11)])
BAD = row("b.txt", [evidence("b.txt", 3, 4)], label="NEG")


def as_folder(folder):
    for name, document in DOCUMENTS.items():
        file = folder / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(document.encode())


def as_archive(folder, top="docs/"):
    with tarfile.open(folder / "docs.tar.gz", "w:gz") as archive:
        archive.addfile(_directory(top or "c"))
        for name, document in DOCUMENTS.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(document.encode())
            archive.addfile(member, io.BytesIO(document.encode()))


def _directory(name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def as_lines(folder):
    lines = [json.dumps({"docid": n, "document": d}) + "\n" for n, d in DOCUMENTS.items()]
    (folder / "docs.jsonl").write_text("".join(lines))


def write(folder, rows, split="train"):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (Path(folder) / f"{split}.jsonl").write_text(lines)


@pytest.fixture
def folder(tmp_path):
    as_folder(tmp_path)
    write(tmp_path, [GOOD, BAD], "train")
    write(tmp_path, [BAD, GOOD], "val")
    return tmp_path


def opened(folder, stage="fit", **settings):
    data = TextDataModule(MINILM, path=str(folder), **settings)
    data.setup(stage)
    return data


def marked(data):
    return [
        [text[start:end] for start, end in spans]
        for text, spans in zip(data.texts, data.rationales, strict=True)
    ]


def training(folder, *rows):
    write(folder, rows)
    return opened(folder).dataset_of("train")


# What is read


@pytest.mark.parametrize(
    "pack", [as_folder, as_archive, lambda f: as_archive(f, ""), lambda f: as_archive(f, "./docs/"),
             as_lines],
)  # fmt: skip
def test_documents_and_evidences(tmp_path, pack):
    pack(tmp_path)
    nested = row("c/d.txt", [evidence("c/d.txt", 0, 1)], label="NEG")
    for split in ("train", "val", "test"):
        write(tmp_path, [GOOD, BAD, nested], split)
    data = opened(tmp_path)
    data.setup("test")
    assert data.labels == ["NEG", "POS"]
    for split in ("train", "validation", "test"):
        texts = data.dataset_of(split)
        assert texts.texts == list(DOCUMENTS.values()) and texts.labels == [1, 0, 0]
        assert marked(texts) == [["not bad", "is\tvery  good"], ["worst"], ["bad"]]


@pytest.mark.parametrize("name", list(TOKENS))
def test_every_token_can_be_an_evidence(folder, name):
    """Tokens are divided by spaces alone, lines trimmed of any white space: ERASER's own reader."""
    count = len(TOKENS[name])
    rows = [
        row(name, [evidence(name, i, i + 1)], label=["NEG", "POS"][i % 2]) for i in range(count)
    ]
    found = training(folder, *rows, BAD, GOOD)
    assert marked(found)[:count] == [[token] for token in TOKENS[name]]


def test_evidences_are_joined(folder):
    groups = ([evidence("a.txt", 8, 11), evidence("a.txt", 0, 2)], [evidence("a.txt", 1, 4)])
    assert marked(training(folder, row("a.txt", *groups), BAD))[0] == [
        "the film is not", "it is\tvery  good",
    ]  # fmt: skip


def test_no_evidence_and_empty_ones(folder, caplog):
    empty = evidence("a.txt", 12, 12)
    rows = [
        row("a.txt"), row("a.txt", [empty]), row("a.txt", []), row("a.txt", evidences=None), BAD,
        row("a.txt", [empty, evidence("a.txt", 4, 5)]),
    ]  # fmt: skip
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = training(folder, *rows)
    assert marked(data) == [[], [], [], [], ["worst"], ["bad"]]
    first = f"{folder}/train.jsonl, line 1"
    assert caplog.messages == [f"train: 4 of 6 texts are without a rationale; the first is {first}"]


def test_several_documents(folder):
    both = [evidence("b.txt", 0, 1)], [evidence("a.txt", 10, 12)]
    named = {"docids": ["a.txt", "b.txt", "a.txt"]}
    data = training(
        folder, row("x", *both), row("x", *both, **named), BAD, row("x", docids=["c/d.txt"])
    )
    a, b, c = DOCUMENTS.values()
    assert data.texts == [f"{b}\n{a}", f"{a}\n{b}", b, c]
    assert marked(data) == [["a", "good !"], ["good !", "a"], ["worst"], []]


def test_files_that_are_not_erasers_are_read_beside_documents(folder):
    for name in ("train", "val"):
        (folder / f"{name}.jsonl").unlink()
        (folder / f"{name}.tsv").write_text("text\tlabel\na good film\t1\na dull film\t0\n")
    data = opened(folder).dataset_of("train")
    assert data.texts == ["a good film", "a dull film"] and data.rationales is None


def test_batches_mark_the_evidence(folder, minilm):
    data = opened(folder, eval_batch_size=2)
    (batch,) = data.val_dataloader()
    words = dict(zip(batch["labels"].tolist(), batch["input_ids"], strict=True))
    marks = dict(zip(batch["labels"].tolist(), batch["rationale"], strict=True))
    assert [minilm.decode(words[label][marks[label]]) for label in (0, 1)] == [
        "worst", "not bad is very good",
    ]  # fmt: skip


def test_different_queries_are_reported(folder, caplog):
    with caplog.at_level(logging.INFO, "bertx.data"):
        training(folder, GOOD, {**BAD, "query": "is it dull?"})
    assert caplog.messages == [
        "train: the texts have 2 different queries, which are not added to them"
    ]


# What cannot be used


@pytest.mark.parametrize(
    "bad, parts",
    [
        (row("z.txt"), ["no document 'z.txt'"]),
        (row("x", docids=["a.txt", "z.txt"]), ["no document 'z.txt'"]),
        (row("", docids=[]), ["no document ''"]),
        (row("c"), ["no document 'c'"]),
        (
            row("a.txt", [evidence("a.txt", 10, 13)]),
            ["within the 12 tokens of 'a.txt'", "got tokens 10 to 13"],
        ),
        (row("a.txt", [evidence("a.txt", 13, 13)]), ["within the 12 tokens", "13 to 13"]),
        (row("a.txt", [evidence("a.txt", -1, -1)]), ["within the 12 tokens", "-1 to -1"]),
        (row("a.txt", [evidence("a.txt", 5, 3)]), ["within the 12 tokens", "5 to 3"]),
        (row("a.txt", [evidence("a.txt", 3, 4, end_token="4")]), ["got tokens 3 to 4"]),
        (
            row("a.txt", [evidence("a.txt", 3, 5, text="not good")]),
            ["the evidence 'not good'", "tokens 3 to 5 of 'a.txt'", "the document has 'not bad'"],
        ),
        (row("a.txt", [evidence("a.txt", 3, 3, text="not")]), ["'not'", "the document has ''"]),
        (row("a.txt", [evidence("b.txt", 0, 1)], docids=["a.txt"]), ["'b.txt'", "docids"]),
        (row("a.txt", evidences=[evidence("a.txt", 3, 5)]), ["expected evidences [[{"]),
        (row("a.txt", evidences=[[{"docid": "a.txt"}]]), ["expected evidences [[{"]),
        (row("a.txt", evidences=[[["docid", "start_token", "end_token"]]]), ["evidences"]),
        (row("a.txt", evidences="not bad"), ["evidences", "'not bad'"]),
        (row("a.txt", evidences=3), ["expected evidences", "3"]),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_used(folder, caplog, bad, parts):
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = training(folder, GOOD, bad, BAD)
    assert marked(data) == [["not bad", "is\tvery  good"], ["worst"]]
    assert data.labels == [1, 0] and data[1]["index"] == 1
    reason, count = caplog.messages
    assert reason.startswith(f"{folder}/train.jsonl, line 2: ")
    assert all(part in reason for part in parts), reason
    assert "orrect the row" in reason
    assert count.startswith("train: 1 of 3 texts cannot be used and are left out")


def test_no_row_is_left(folder):
    write(folder, [row("z.txt"), row("y.txt")], "val")
    with pytest.raises(InputError, match=r"validation: none of 2 texts .* line 1: no document 'z"):
        opened(folder)


def test_no_documents(tmp_path):
    write(tmp_path, [GOOD, BAD])
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert f"data folder {tmp_path}: expected the documents" in str(caught.value)
    assert "docs, docs.tar.gz, docs.jsonl" in str(caught.value)


def test_documents_that_cannot_be_read(tmp_path):
    write(tmp_path, [GOOD, BAD])
    as_archive(tmp_path)
    archive = tmp_path / "docs.tar.gz"
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(InputError, match=r"docs.tar.gz cannot be read: .* Download or write"):
        opened(tmp_path)
    archive.unlink()
    (tmp_path / "docs.jsonl").write_text('{"id": "a.txt", "document": "x"}\n')
    with pytest.raises(InputError, match=r"docs.jsonl: expected docid and document.*id, document"):
        opened(tmp_path)
    as_folder(tmp_path)
    (tmp_path / "docs" / "a.txt").write_bytes(b"caf\xe9 good")
    with pytest.raises(InputError, match=r"docs/a.txt: expected UTF-8"):
        opened(tmp_path)


def test_a_test_split_without_classification(folder):
    hidden = {key: value for key, value in GOOD.items() if key != "classification"}
    write(folder, [hidden], "test")
    with pytest.raises(InputError, match="test: expected labels"):
        opened(folder, "test")
    data = opened(folder, "predict")
    assert data.predicted[0]["label"] == -100 and data.predicted[0]["text"] == DOCUMENTS["a.txt"]


def test_predictions_are_read_in_parts(folder, monkeypatch, caplog):
    monkeypatch.setattr("bertx.data.splits.CHUNK", 2)
    write(folder, [GOOD, BAD, row("z.txt"), BAD, row("a.txt")], "predict")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = opened(folder, "predict", num_workers=1)
    reason, count, unmarked = caplog.messages
    assert "predict.jsonl, line 3" in reason and count.startswith("predict: 1 of 5 texts")
    assert unmarked.startswith("predict: 1 of 4 texts are without a rationale; the first is")
    assert unmarked.endswith("predict.jsonl, line 5")
    (batch,) = data.predict_dataloader()
    order = batch["index"].argsort()
    assert [batch["text"][i] for i in order] == [DOCUMENTS[f"{n}.txt"] for n in "abba"]
    assert batch["rationale"].any(1)[order].tolist() == [True, True, True, False]


# Runs


def test_from_the_command_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["bertx"])
    real, seen = TextClassifier.validation_step, Counter()

    def noting(self, batch, batch_idx):
        seen.update(zip(batch["labels"].tolist(), batch["rationale"].sum(1).tolist(), strict=True))
        return real(self, batch, batch_idx)

    monkeypatch.setattr(TextClassifier, "validation_step", noting)
    write(folder, [GOOD, BAD, row("z.txt")] * 4)
    model = save_model(folder / "model")
    main(arguments("fit", model, folder, "--trainer.max_epochs=1"))
    assert seen == {(0, 1): 1, (1, 5): 1}
    assert 0 <= last_value("lightning_logs/version_0", "val/accuracy") <= 1


# Real data


@pytest.fixture(scope="module")
def movies(data_folder):
    folder = data_folder / "eraser_movies"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    return folder


def test_all_spans_of_the_movie_reviews(movies, caplog):
    """The marked tokens of every document, by the file itself and by what was read of it."""
    with tarfile.open(movies / "docs.tar.gz") as archive:
        documents = {m.name: archive.extractfile(m).read().decode() for m in archive if m.isfile()}
    # Nothing is long, so that nothing has to be tokenized to count what is.
    data = TextDataModule(MINILM, path=str(movies), max_length=100_000)
    with caplog.at_level(logging.INFO, "bertx.data"):
        data.setup("fit")
        data.setup("test")
    assert data.labels == ["NEG", "POS"]
    assert not any("cannot be used" in message for message in caplog.messages)
    assert "train: 1 of 1,600 texts are without a rationale" in caplog.text
    spans = 0
    for split, name, size in (
        ("train", "train", 1600), ("validation", "val", 200), ("test", "test", 199),
    ):  # fmt: skip
        texts = data.dataset_of(split)
        lines = (movies / f"{name}.jsonl").read_text().splitlines()
        assert len(texts) == len(lines) == size
        for record, text, label, read in zip(
            map(json.loads, lines), texts.texts, texts.labels, texts.rationales, strict=True
        ):
            assert text == documents[f"docs/{record['annotation_id']}"]
            assert record["classification"] == data.labels[label]
            tokens, wanted = text.split(), set()
            for each in (each for group in record["evidences"] for each in group):
                spans += 1
                places = range(each["start_token"], each["end_token"])
                assert [tokens[i] for i in places] == each["text"].split()
                wanted.update(places)
            found, at = set(), 0
            for i, token in enumerate(tokens):
                at = text.index(token, at)
                if any(start <= at and at + len(token) <= end for start, end in read):
                    found.add(i)
                at += len(token)
            assert found == wanted
            covered = sum(len("".join(text[start:end].split())) for start, end in read)
            assert covered == sum(len(tokens[i]) for i in wanted)
    assert spans == 17_462
