"""Texts that are read while they are used."""

import gzip
import json
import logging
import os
import pickle
import tracemalloc

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch.utils.data import DataLoader

from bertx.data import TextDataModule, stream
from bertx.data.eraser import EraserFolder
from bertx.data.form import Form
from bertx.data.readers import FolderReader, stream_tables
from bertx.data.sampling import ConsecutiveBatches
from bertx.data.stream import StreamedTexts, TextStream, survey
from bertx.errors import InputError
from tests.data.conftest import MINILM

USELESS = {3, 4, 5, 20, 49}


def text(i):
    return " " if i in USELESS else "good " * (i * 7 % 11 + 1) + str(i)


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
    form = Form(tokenizer, "text", label, ["0", "1"])
    source = TextStream(FolderReader(str(folder)), "predict", form, rows=8)
    return StreamedTexts(source, survey(source, 8))


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
def test_every_usable_text_once_with_its_number_and_label(tmp_path, tokenizer, ending):
    write(tmp_path, ending)
    data = opened(tmp_path, tokenizer)
    kept = [i for i in range(50) if i not in USELESS]
    assert len(data) == len(kept) == 45
    items = [data[place] for place in range(45)]
    assert sorted(item["index"] for item in items) == kept
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
    form = Form(tokenizer, "text", None, [])
    source = TextStream(EraserFolder(str(tmp_path)), "predict", form, rows=8)
    data = StreamedTexts(source, survey(source, 8))
    assert len(data) == 16
    assert all(data[i]["text"] == f"good {data[i]['index']}" for i in range(16))


def test_quoted_lines_and_a_header_are_no_rows(tmp_path, tokenizer):
    lines = ["text", *(f'"good\n{i}"' if i % 5 else '""' for i in range(20))]
    (tmp_path / "predict.csv").write_text("\n".join(lines))
    data = opened(tmp_path, tokenizer, label=None)
    assert len(data) == 16
    assert all(data[i]["text"] == f"good\n{data[i]['index']}" for i in range(16))


def test_neighbours_have_similar_lengths(tmp_path, tokenizer, monkeypatch):
    write(tmp_path, "tsv")
    data = opened(tmp_path, tokenizer)
    lengths = [len(data[place]["text"]) for place in range(5)]  # the first 8 rows, 3 useless
    assert lengths == sorted(lengths, reverse=True)
    assert {data[place]["index"] for place in range(5)} == {0, 1, 2, 6, 7}


def test_going_back_and_fillers(tmp_path, tokenizer):
    write(tmp_path, "jsonl.gz")
    data = opened(tmp_path, tokenizer)
    late, early = data[40], data[2]
    assert data[40] == late and data[2] == early
    assert data[~40] == {**late, "index": -1}
    assert data[[2, 40, ~2]] == [early, late, {**early, "index": -1}]
    with pytest.raises(IndexError):
        data[45]


def test_reading_in_order_opens_the_source_once(tmp_path, tokenizer, monkeypatch):
    write(tmp_path, "tsv")
    data, opened_ = opened(tmp_path, tokenizer), []
    real = FolderReader.stream
    monkeypatch.setattr(
        FolderReader, "stream", lambda self, *a: opened_.append(a) or real(self, *a)
    )
    for size, ranks in ((4, 1), (3, 2), (5, 3)):
        for rank in range(ranks):
            opened_.clear()
            data._leave()
            for batch in ConsecutiveBatches(data, size, ranks, rank):
                assert data[batch]
            assert len(opened_) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_with_and_without_workers(tmp_path, tokenizer, workers):
    write(tmp_path, "csv")
    data = opened(tmp_path, tokenizer)
    assert data[0]  # a place of its own in this process
    loader = DataLoader(
        data, batch_size=None, sampler=ConsecutiveBatches(data, 4), collate_fn=list,
        num_workers=workers, multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
    assert len(loader) == 12
    seen = [item["index"] for batch in loader for item in batch]
    assert sorted(seen) == [i for i in range(50) if i not in USELESS]
    assert seen == [data[i]["index"] for i in range(45)]


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
    source = data._stretches
    monkeypatch.setattr(os, "getpid", lambda: -2)
    assert data[10] == before and data._stretches is not source


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


@pytest.mark.parametrize("row, part", [({"label": 1}, "text"), ({"text": "a"}, "a label")])
def test_json_lines_without_a_field(tmp_path, tokenizer, row, part):
    rows = [{"text": "good", "label": 0}] * 8 + [row] * 8
    (tmp_path / "predict.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=f"line 9: expected {part} in column"):
        opened(tmp_path, tokenizer)


def test_no_usable_text(tmp_path, tokenizer):
    (tmp_path / "predict.tsv").write_text("text\tlabel\n" + " \t0\n" * 20)
    with pytest.raises(InputError, match="all 20 are without a word"):
        opened(tmp_path, tokenizer)


def test_skipped_and_overlong_texts_are_reported_once(tmp_path, tokenizer, caplog):
    write(tmp_path, "tsv")
    with caplog.at_level(logging.INFO, "bertx.data"):
        opened(tmp_path, tokenizer)
    skipped, cut = caplog.messages
    assert skipped.startswith("predict: 5 of 50 texts are without a word")
    assert skipped.endswith(f"the first is {tmp_path}/predict.tsv, line 5")
    overlong = sum(len(tokenizer(text(i))["input_ids"]) > 8 for i in range(50))
    assert cut == f"predict: {overlong} of 45 texts are longer than 8 tokens and are cut"


def test_many_overlong_texts_are_estimated(tmp_path, tokenizer, caplog, monkeypatch):
    monkeypatch.setattr(stream, "ESTIMATE_FROM", 10)
    monkeypatch.setattr(stream, "_SAMPLED", 2)
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
    with pytest.raises(InputError, match="expected 45 texts as before"):
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
        module.predicted[places]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("ending", ["jsonl", "csv.gz", "parquet"])
def test_memory_does_not_grow_with_the_number_of_texts(tmp_path, monkeypatch, tokenizer, ending):
    monkeypatch.setattr("bertx.data.splits.STRETCH", 512)
    few, many = (peak(tmp_path / str(n), n, ending, tokenizer) for n in (2_000, 20_000))
    assert many < few + 100_000, (few, many)  # bytes; 18,000 texts are over two million


def test_it_is_what_predict_reads(tmp_path):
    write(tmp_path, "tsv")
    module = TextDataModule(MINILM, path=str(tmp_path), labels=["no", "yes"], eval_batch_size=4)
    with pytest.raises(RuntimeError, match=r"setup\('predict'\)"):
        module.predicted  # noqa: B018
    module.setup("predict")
    batches = list(module.predict_dataloader())
    assert len(batches) == 12 and all(len(batch["text"]) <= 4 for batch in batches)
    assert torch.cat([b["index"] for b in batches]).sort().values.tolist() == [
        i for i in range(50) if i not in USELESS
    ]
