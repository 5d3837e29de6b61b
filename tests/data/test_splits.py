"""Texts that are read while they are used."""

import gzip
import json
import logging
import os
import pickle
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from bertx.data import TextDataModule, splits
from bertx.data.eraser import EraserFolder
from bertx.data.examples import ExampleReader
from bertx.data.files import FolderReader, stream_tables
from bertx.data.loading import ConsecutiveBatches, load_batches
from bertx.data.splits import StreamedTexts
from bertx.errors import InputError
from tests.data.conftest import MINILM

WORDLESS = {3, 4, 5, 20, 49}


def text(i):
    return " " if i in WORDLESS else "good " * (i * 7 % 11 + 1) + str(i)


def write(folder, ending, count=50):
    rows = [{"text": text(i), "label": i % 2} for i in range(count)]
    file = folder / f"predict.{ending}"
    kind = ending.removesuffix(".gz")
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=7)
        return file
    if kind == "jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = [f"{row['text']}{',' if kind == 'csv' else chr(9)}{row['label']}" for row in rows]
        lines.insert(0, "text,label" if kind == "csv" else "text\tlabel")
    content = "".join(f"{line}\n" for line in lines).encode()
    file.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return file


def opened(folder, tokenizer, label="label"):
    reader = ExampleReader(tokenizer, "text", label, ["0", "1"], unknown=True)
    return StreamedTexts(FolderReader(str(folder)), "predict", reader, 8, rows=8)


ENDINGS = ["tsv", "csv", "jsonl", "parquet", "tsv.gz", "csv.gz", "jsonl.gz"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_in_parts_has_the_rows_of_the_whole(tmp_path, ending):
    file = write(tmp_path, ending)
    (whole,) = stream_tables(file, None)
    for rows in (1, 7, 8, 49, 50, 51):
        parts = list(stream_tables(file, rows))
        assert max(map(len, parts)) <= rows and len(parts) == -(-50 // rows)
        for name in whole.columns:
            assert [v for part in parts for v in part.columns[name]] == list(whole.columns[name])
        assert [part.where(i) for part in parts for i in range(len(part))] == [
            whole.where(i) for i in range(50)
        ]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_text_once_with_its_number_and_label(tmp_path, tokenizer, ending):
    """Also those without a word."""
    write(tmp_path, ending)
    data = opened(tmp_path, tokenizer)
    assert len(data) == 50
    items = [data[place] for place in range(50)]
    assert sorted(item["index"] for item in items) == list(range(50))
    for item in items:
        row = item["index"]
        assert item == {"text": text(row), "label": row % 2, "index": row}


def test_rows_without_a_usable_rationale_are_counted_too(tmp_path, tokenizer):
    rows = [{"text": f"good {i}", "rationale": [[0, 99 if i % 3 == 1 else 4]]} for i in range(20)]
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = opened(tmp_path, tokenizer, label=None)
    assert len(data) == 13
    assert all(data[i]["text"] == f"good {data[i]['index']}" for i in range(13))


def test_rows_of_eraser_without_a_document_are_counted_too(tmp_path, tokenizer):
    (tmp_path / "docs").mkdir()
    rows = [{"annotation_id": f"d{i}", "evidences": []} for i in range(20)]
    for i in {*range(20)} - {0, 7, 8, 13}:
        (tmp_path / f"docs/d{i}").write_text(f"good {i}")
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reader = ExampleReader(tokenizer, "text", None, [])
    data = StreamedTexts(EraserFolder(str(tmp_path)), "predict", reader, 8, rows=8)
    assert len(data) == 16
    assert all(data[i]["text"] == f"good {data[i]['index']}" for i in range(16))


def test_quoted_lines_and_a_header_are_no_rows(tmp_path, tokenizer):
    lines = ["text", *(f'"good\n{i}"' if i % 5 else '""' for i in range(20))]
    (tmp_path / "predict.csv").write_text("\n".join(lines))
    data = opened(tmp_path, tokenizer, label=None)
    assert len(data) == 20
    items = {data[i]["index"]: data[i]["text"] for i in range(20)}
    assert items == {i: f"good\n{i}" if i % 5 else "" for i in range(20)}


def test_neighbours_have_similar_lengths(tmp_path, tokenizer, monkeypatch):
    write(tmp_path, "tsv")
    data = opened(tmp_path, tokenizer)
    lengths = [len(data[place]["text"]) for place in range(8)]
    assert lengths == sorted(lengths, reverse=True)
    assert {data[place]["index"] for place in range(8)} == {*range(8)}


def test_going_back_and_fillers(tmp_path, tokenizer):
    write(tmp_path, "jsonl.gz")
    data = opened(tmp_path, tokenizer)
    late, early = data[40], data[2]
    assert data[40] == late and data[2] == early
    assert data[~40] == {**late, "index": -1}
    with pytest.raises(IndexError):
        data[50]


def test_reading_in_order_opens_the_source_once(tmp_path, tokenizer, monkeypatch):
    write(tmp_path, "tsv")
    data, opened_ = opened(tmp_path, tokenizer), []
    real = FolderReader.tables
    monkeypatch.setattr(
        FolderReader, "tables", lambda self, *a: opened_.append(a) or real(self, *a)
    )
    for size, ranks in ((4, 1), (3, 2), (5, 3)):
        for rank in range(ranks):
            opened_.clear()
            data._rewind()
            for batch in ConsecutiveBatches(data, size, ranks, rank):
                assert [data[place] for place in batch]
            assert len(opened_) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_with_and_without_workers(tmp_path, tokenizer, workers):
    write(tmp_path, "csv")
    data = opened(tmp_path, tokenizer)
    assert data[0]  # a place of its own in this process
    loader = load_batches(data, None, ConsecutiveBatches(data, 4), list, workers)
    assert len(loader) == 13
    seen = [item["index"] for batch in loader for item in batch]
    assert sorted(seen) == list(range(50))
    assert seen == [data[i]["index"] for i in range(50)]


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_row_once_over_several_processes(tmp_path, tokenizer, ranks):
    """The last text, which is repeated to fill up, is without a word."""
    write(tmp_path, "tsv")
    data, seen = opened(tmp_path, tokenizer), []
    for rank in range(ranks):
        data._rewind()
        for batch in ConsecutiveBatches(data, 3, ranks, rank):
            seen += [data[place]["index"] for place in batch]
    assert data[49]["index"] == 49 and 49 in WORDLESS
    assert sorted(i for i in seen if i >= 0) == list(range(50))
    assert seen.count(-1) == -50 % ranks


def test_a_copy_begins_anew(tmp_path, tokenizer):
    write(tmp_path, "tsv")
    data = opened(tmp_path, tokenizer)
    late = data[40]
    copy = pickle.loads(pickle.dumps(data))
    assert copy[0] == data[0] and copy[40] == late


def test_a_forked_process_opens_the_file_anew(tmp_path, tokenizer, monkeypatch):
    write(tmp_path, "tsv")
    data = opened(tmp_path, tokenizer)
    before = data[10]
    source = data._chunks
    monkeypatch.setattr(os, "getpid", lambda: -2)
    assert data[10] == before and data._chunks is not source


# What is wrong is said before anything is used


@pytest.mark.parametrize(
    "line, parts",
    [
        ("good\t2", ["predict.tsv, line 42", "unknown label '2'"]),
        ("good", ["predict.tsv, line 42", "expected 2 columns"]),
        ("caf\udce9\t1", ["predict.tsv, line 42", "UTF-8"]),
    ],
)
def test_errors_far_into_a_file_name_the_line(tmp_path, tokenizer, line, parts):
    file = write(tmp_path, "tsv")
    lines = file.read_text().split("\n")
    lines[41] = line
    file.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        opened(tmp_path, tokenizer)
    for part in parts:
        assert part in str(caught.value)


def test_json_lines_without_a_field(tmp_path, tokenizer):
    rows = [{"text": "good", "label": 0}] * 8 + [{"label": 1}] * 8 + [{"text": "bad"}] * 8
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = opened(tmp_path, tokenizer)
    found = sorted((data[i] for i in range(len(data))), key=lambda item: item["index"])
    assert [item["label"] for item in found] == [0] * 8 + [1] * 8 + [-100] * 8
    assert ["error" in item for item in found] == [False] * 8 + [True] * 8 + [False] * 8


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_missing_text_costs_its_row(tmp_path, tokenizer, ending, caplog):
    texts = ["good", None, "", "a fine film", None]
    frame = pd.DataFrame({"text": texts, "label": -1})
    file = tmp_path / f"predict.{ending}"
    if ending == "parquet":
        frame.to_parquet(file)
    else:
        frame.to_json(file, orient="records", lines=ending == "jsonl")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = opened(tmp_path, tokenizer)
    wordless, missing = caplog.messages
    assert wordless.startswith("predict: 1 of 5 texts are without a word")
    where = f"{file}, {'line' if ending == 'jsonl' else 'row'}"
    assert missing == (
        f"predict: 2 of 5 texts are missing and have no prediction; the first is {where} 2"
    )
    found = {item["index"]: item for item in (data[i] for i in range(len(data)))}
    assert [found[i]["text"] for i in range(5)] == ["good", "", "", "a fine film", ""]
    error = ": expected text in column 'text', but it is missing."
    assert [found[i].get("error") for i in range(5)] == [
        None, f"{where} 2{error}", None, None, f"{where} 5{error}",
    ]  # fmt: skip


def test_shards_are_read_in_a_row(tmp_path, tokenizer):
    for part in range(3):
        rows = [{"text": f"good {part} {i}"} for i in range(5)]
        (tmp_path / f"predict-{part}-of-3.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = opened(tmp_path, tokenizer, label=None)
    found = {item["index"]: item["text"] for item in (data[i] for i in range(15))}
    assert found == {i: f"good {i // 5} {i % 5}" for i in range(15)}


WORDLESS_KINDS = ["", " \t", "\u200b", "[SEP]", "[MASK] [CLS]\ufeff"]


def bare(tokenizer):
    """The tokenizer without what it puts around a text."""
    copy = pickle.loads(pickle.dumps(tokenizer))
    copy.backend_tokenizer.post_processor = None
    assert copy.num_special_tokens_to_add() == 0
    return copy


def test_a_text_is_skipped_where_there_would_be_no_token_at_all(tmp_path, tokenizer, caplog):
    texts = ["good", *WORDLESS_KINDS, "a film"]
    (tmp_path / "predict.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = opened(tmp_path, bare(tokenizer), label=None)
    assert sorted(data[i]["index"] for i in range(len(data))) == [0, 4, 5, 6]
    skipped, wordless = caplog.messages
    assert skipped.startswith("predict: 3 of 7 texts") and "are skipped" in skipped
    assert skipped.endswith("line 2")
    assert wordless.startswith("predict: 2 of 7 texts") and wordless.endswith("line 5")
    assert "are classified" in wordless


@pytest.mark.parametrize("around", [True, False])
def test_no_text_with_a_word(tmp_path, tokenizer, around):
    lines = [json.dumps({"text": text}) for text in WORDLESS_KINDS]
    (tmp_path / "predict.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match="expected texts, but all 5 are without"):
        opened(tmp_path, tokenizer if around else bare(tokenizer), label=None)


def test_what_is_no_text_is_refused(tmp_path, tokenizer):
    rows = [{"text": "good"}, {"text": None}, {"text": 7}]
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match="line 3: expected text in column 'text'"):
        opened(tmp_path, tokenizer, label=None)


def test_a_text_without_a_word_is_not_one_without_a_rationale(tmp_path, tokenizer, caplog):
    rows = [{"text": t, "rationale": r} for t, r in (("good", [[0, 4]]), ("", []), ("dull", []))]
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = opened(tmp_path, tokenizer, label=None)
    assert len(data) == 3
    assert [m.partition(" are ")[0] for m in caplog.messages] == ["predict: 1 of 3 texts"] * 2
    assert caplog.messages[1].endswith("without a rationale; the first is "
                                       f"{tmp_path}/predict.jsonl, line 3")  # fmt: skip


def test_wordless_and_overlong_texts_are_reported_once(tmp_path, tokenizer, caplog):
    write(tmp_path, "tsv")
    with caplog.at_level(logging.INFO, "bertx.data"):
        opened(tmp_path, tokenizer)
    wordless, cut = caplog.messages
    assert wordless == (
        "predict: 5 of 50 texts are without a word (empty, white space, special tokens or "
        "invisible characters only); they are classified, but have no words to explain; the first "
        f"is {tmp_path}/predict.tsv, line 5"
    )
    overlong = sum(len(tokenizer(text(i))["input_ids"]) > 8 for i in range(50))
    assert (
        cut == f"predict: {overlong} of 50 texts are longer than 8 tokens (max_length) and are cut"
    )


def test_many_overlong_texts_are_estimated(tmp_path, tokenizer, caplog, monkeypatch):
    monkeypatch.setattr(splits, "ESTIMATE_FROM", 10)
    monkeypatch.setattr(splits, "_SAMPLED", 2)
    write(tmp_path, "tsv")
    exact = sum(len(tokenizer(text(i))["input_ids"]) > 8 for i in range(50))
    with caplog.at_level(logging.INFO, "bertx.data"):
        opened(tmp_path, tokenizer)
    about = caplog.messages[1].removeprefix("predict: about ").split()[0]
    assert abs(int(about) - exact) <= 6


def test_texts_that_are_gone(tmp_path, tokenizer):
    file = write(tmp_path, "tsv")
    data = opened(tmp_path, tokenizer)
    file.write_text("\n".join(file.read_text().split("\n")[:20]))
    with pytest.raises(InputError, match="expected 50 texts as before"):
        data[40]


# Memory


def peak(folder, count, ending, tokenizer):
    """Most memory while a split of so many texts is set up and read in batches."""
    folder.mkdir()
    write(folder, ending, count)
    module = TextDataModule(MINILM, path=str(folder), labels=["no", "yes"], eval_batch_size=64)
    module.tokenizer = tokenizer
    tracemalloc.start()
    module.setup("predict")
    batches = module.predict_dataloader()
    assert sum(len(places) for places in batches.sampler) == len(module.predicted)
    for places in batches.sampler:
        assert all(module.predicted[place] for place in places)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("ending", ["jsonl", "csv.gz", "parquet"])
def test_memory_does_not_grow_with_the_number_of_texts(tmp_path, monkeypatch, tokenizer, ending):
    monkeypatch.setattr("bertx.data.splits.CHUNK", 512)
    few, many = (peak(tmp_path / str(n), n, ending, tokenizer) for n in (2_000, 20_000))
    assert many < few + 100_000, (few, many)  # bytes; 18,000 texts are over two million


def test_it_is_what_predict_reads(tmp_path):
    write(tmp_path, "tsv")
    module = TextDataModule(MINILM, path=str(tmp_path), labels=["no", "yes"], eval_batch_size=4)
    with pytest.raises(RuntimeError, match=r"setup\('predict'\)"):
        module.predicted  # noqa: B018
    module.setup("predict")
    batches = list(module.predict_dataloader())
    assert len(batches) == 13 and all(len(batch["text"]) <= 4 for batch in batches)
    indices = torch.cat([b["index"] for b in batches])
    assert indices.sort().values.tolist() == list(range(50))
    words = torch.cat([b["word_ids"].amax(1) for b in batches])
    assert {*indices[words < 0].tolist()} == WORDLESS
