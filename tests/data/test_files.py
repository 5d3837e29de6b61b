import csv
import gzip
import json

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from bertx.data.columns import text_values
from bertx.data.files import FolderReader, stream_tables
from bertx.errors import InputError

ROWS = [('a "fine" film', "1"), ("dull", "0"), ("NA", "1"), ("null", "0")]


def write(folder, name, text, encoding="utf-8"):
    file = folder / name
    data = text if isinstance(text, bytes) else text.encode(encoding)
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


def read_table(file):
    (table,) = stream_tables(file)
    return table


def split_of(folder, name):
    (table,) = FolderReader(str(folder)).tables(name)
    return table


def tsv(rows):
    return "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows)


def comma(rows):
    quoted = ('"{}",{}\n'.format(text.replace('"', '""'), label) for text, label in rows)
    return "sentence,label\n" + "".join(quoted)


def jsonl(rows):
    return "".join(json.dumps({"sentence": t, "label": n}) + "\n" for t, n in rows)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("kind, render", [("tsv", tsv), ("csv", comma), ("jsonl", jsonl)])
def test_text_formats_give_the_same_rows(tmp_path, kind, render, ending):
    write(tmp_path, f"train.{kind}{ending}", render(ROWS))
    table = split_of(tmp_path, "train")
    assert list(zip(table.columns["sentence"], table.columns["label"], strict=True)) == ROWS
    assert list(table.lines) == ([1, 2, 3, 4] if kind == "jsonl" else [2, 3, 4, 5])


def test_parquet_has_the_same_rows_and_counts_rows(tmp_path):
    texts, labels = zip(*ROWS, strict=True)
    file = tmp_path / "train.parquet"
    parquet.write_table(pa.table({"sentence": texts, "label": labels}), file)
    table = split_of(tmp_path, "train")
    assert list(zip(table.columns["sentence"], table.columns["label"], strict=True)) == ROWS
    assert table.where(1) == f"{file}, row 2"


def test_lone_quotation_mark_in_tsv_is_text(tmp_path):
    text = tsv([('" a lone quote', 1), ('ends with "', 0), ("after", 1)])
    table = read_table(write(tmp_path, "train.tsv", text))
    assert list(table.columns["sentence"]) == ['" a lone quote', 'ends with "', "after"]


def test_only_line_feeds_end_a_line_of_tsv(tmp_path):
    text = "text\tlabel\r\none\x85two\u2028three\rfour\t1\r\n"
    table = read_table(write(tmp_path, "train.tsv", text))
    assert list(table.columns["text"]) == ["one\x85two\u2028three\rfour"]
    assert list(table.columns["label"]) == ["1"]


def test_csv_fields_of_several_lines_keep_the_line_where_they_begin(tmp_path):
    text = 'text,label\n"one\ntwo\nthree",1\n\nfour,0\n'
    table = read_table(write(tmp_path, "train.csv", text))
    assert list(table.columns["text"]) == ["one\ntwo\nthree", "four"]
    assert list(table.lines) == [2, 6]


def test_huge_csv_field_is_read_and_the_limit_restored(tmp_path):
    before = csv.field_size_limit()
    table = read_table(write(tmp_path, "train.csv", f"text,label\n{'x' * 300_000},1\n"))
    assert len(table.columns["text"][0]) == 300_000
    assert csv.field_size_limit() == before


def test_blank_line_is_an_empty_text_only_where_there_is_one_column(tmp_path):
    one = read_table(write(tmp_path, "one.tsv", "text\na\n\nb\n"))
    two = read_table(write(tmp_path, "two.tsv", "text\tlabel\na\t1\n\nb\t0\n"))
    assert list(one.columns["text"]) == ["a", "", "b"]
    assert list(two.columns["text"]) == ["a", "b"] and list(two.lines) == [2, 4]


@pytest.mark.parametrize("name, render", [("a.tsv", tsv), ("a.csv", comma), ("a.jsonl", jsonl)])
def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path, name, render):
    assert "sentence" in read_table(write(tmp_path, name, render(ROWS), "utf-8-sig")).columns


@pytest.mark.parametrize("name", ["dev", "val", "validation"])
def test_names_of_the_validation_file(tmp_path, name):
    write(tmp_path, f"{name}.tsv", tsv(ROWS))
    reader = FolderReader(str(tmp_path))
    assert reader.has("validation") and not reader.has("train")
    assert len(split_of(tmp_path, "validation")) == 4


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_missing_folder(tmp_path):
    refuses(lambda: FolderReader(str(tmp_path / "no")), "no", "does not exist", "`path`")
    refuses(lambda: FolderReader(str(write(tmp_path, "f.csv", "x"))), "f.csv", "is a file")


def test_missing_split_lists_what_is_there(tmp_path):
    write(tmp_path, "dev.tsv", tsv(ROWS))
    refuses(
        lambda: split_of(tmp_path, "train"),
        str(tmp_path),
        "train split",
        "jsonl.gz",
        "found: dev.tsv",
    )


def test_two_files_of_a_split(tmp_path):
    write(tmp_path, "dev.tsv", tsv(ROWS))
    write(tmp_path, "val.csv.gz", comma(ROWS))
    refuses(lambda: split_of(tmp_path, "validation"), "dev.tsv, val.csv.gz", "Keep one")


BAD = {
    "short.tsv": ("text\tlabel\na\t1\nb\n", ["line 3", "expected 2 columns", "got 1", "'b'"]),
    "long.tsv": ("text\tlabel\na\tb\t1\n", ["line 2", "expected 2 columns (text, label)", "got 3"]),
    "short.csv": ('text,label\n"a\nb",1\nc\n', ["line 4", "expected 2 columns", "got 1"]),
    "open.csv": ('text,label\na,1\n"b,0\nc,1\n', ["lines 3 to 4, one record", "quoted", ".tsv"]),
    "broken.jsonl": ('{"text": "a"}\n{"text": \n', ["line 2", "JSON object", "character"]),
    "list.jsonl": ('{"text": "a"}\n\n["a", 1]\n', ["line 3", "JSON object", "['a', 1]"]),
    "endless.jsonl": ('{"text": "a"}\n{"n": ' + "9" * 5000 + "}\n", ["line 2", "digits"]),
    "scalar.json": ("3", ["list of objects", "3"]),
    "cut.json": ('[{"text": "a"},\n {"text": "b"', ["line 2", "JSON"]),
    "mixed.json": ('[{"text": "a"}, ["b"]]', ["row 2", "JSON object", "['b']"]),
    "blank.json": ("\n", ["at least one row", "empty"]),
    "empty.tsv": ("", ["at least one row", "empty"]),
    "header.csv.gz": ("text,label\n", ["at least one row", "empty"]),
    "blank.jsonl": ("\n\n", ["at least one row", "empty"]),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_file_names_the_line(tmp_path, name):
    text, parts = BAD[name]
    file = write(tmp_path, name, text, "latin-1")
    refuses(lambda: read_table(file), str(file), *parts)


def test_undecodable_line_is_found_far_into_a_file(tmp_path):
    good = b"a fine film\t1\n" * 20_000
    file = write(tmp_path, "train.tsv", b"text\tlabel\n" + good + b"\xff\t1\n")
    refuses(lambda: text_values(read_table(file), "text"), "line 20002", "UTF-8", "0xff")


# Columns and headers that nobody asked for


ODD = {
    "odd.csv": b'"",text,n\xe9,n\xe9,\n0,good,\xff,,\n1,bad,x,y,z\n',
    "odd.tsv": b"text\t\t\t na\xefve \ngood\t\xff\t\t\nbad\tx\ty\tz\n",
    "odd.jsonl": b'{"text": "good", "n\xe9": {"a": [1, null]}}\n{"text": "bad", "n": "\xff"}\n',
    "odd.json": b'[{"text": "good", "n": "\xff"}, {"text": "bad", "m": {"a": [NaN]}}]',
}


@pytest.mark.parametrize("name", ODD)
def test_other_columns_hinder_nobody(tmp_path, name):
    assert text_values(read_table(write(tmp_path, name, ODD[name])), "text") == ["good", "bad"]


def test_other_columns_of_parquet_hinder_nobody(tmp_path):
    odd = pa.array([10**17, None], pa.timestamp("ms"))  # a year that Python does not know
    columns = [pa.array(["good", "bad"]), odd, odd, pa.array([[{"a": 1}], None])]
    names = ["text", "when", "when", "n\u00e9"]
    parquet.write_table(pa.Table.from_arrays(columns, names), tmp_path / "train.parquet")
    for rows in (None, 1):
        tables = list(stream_tables(tmp_path / "train.parquet", rows))
        assert [text for table in tables for text in text_values(table, "text")] == ["good", "bad"]
    refuses(
        lambda: read_table(tmp_path / "train.parquet").columns["when"][:], "'when'", "timestamp"
    )


# As spreadsheets, pandas and the hub write them


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_separators_of_spreadsheets(tmp_path, mark):
    rows = [["label", '"a" text'], ["1", 'so, "so"; fine\nindeed'], ["0", "x|\ty,z"]]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    table = read_table(tmp_path / "train.csv")
    assert list(map(list, zip(*table.columns.values(), strict=True))) == rows[1:]
    assert list(table.columns) == rows[0]


@pytest.mark.parametrize("name, render", [("a.tsv", tsv), ("a.csv", comma), ("a.jsonl", jsonl)])
def test_utf16_is_read_by_its_mark(tmp_path, name, render):
    rows = [("caf\xe9 \u4e00", "1"), ("dull", "0")]
    table = read_table(write(tmp_path, name, render(rows), "utf-16"))
    assert list(zip(table.columns["sentence"], table.columns["label"], strict=True)) == rows


RECORDS = [{"text": "good\nfilm", "label": 1}, {"text": "bad", "label": 0}]
COLUMNS = {"text": ["good\nfilm", "bad"], "label": [1, 0]}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    "document",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        "".join(f"{json.dumps(record)}\n\n" for record in RECORDS),
        json.dumps({"data": RECORDS}),
        json.dumps(COLUMNS),
        *(pd.DataFrame(COLUMNS).to_json(orient=kind)
          for kind in ("columns", "index", "records", "split", "table")),
    ],
)  # fmt: skip
def test_json_as_people_write_it(tmp_path, document, ending):
    write(tmp_path, f"train.json{ending}", document)
    table = split_of(tmp_path, "train")
    assert {name: list(table.columns[name]) for name in COLUMNS} == COLUMNS
    parts = list(stream_tables(tmp_path / f"train.json{ending}", 1))
    assert [part.columns["text"][0] for part in parts] == COLUMNS["text"]


def test_one_record_and_an_index_of_pandas(tmp_path):
    single = read_table(write(tmp_path, "one.json", json.dumps(RECORDS[0])))
    assert list(single.columns["label"]) == [1]
    pd.DataFrame(COLUMNS).to_csv(tmp_path / "train.csv")
    assert list(read_table(tmp_path / "train.csv").columns["text"]) == COLUMNS["text"]


def save(frame, file):
    """As pandas writes the format by default."""
    match file.name.split(".")[1]:
        case "csv":
            frame.to_csv(file, index=False)
        case "jsonl":
            frame.to_json(file, orient="records", lines=True)
        case kind:
            getattr(frame, f"to_{kind}")(file)


@pytest.mark.parametrize("ending", ["csv", "jsonl.gz", "json", "parquet"])
@pytest.mark.parametrize("below", ["", "data"])
def test_shards_are_one_split(tmp_path, ending, below):
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    for part in (1, 0):
        rows = [{"text": f"{part} {row}", "label": row} for row in range(2 + part)]
        file = folder / f"train-0000{part}-of-00002{'-1f' * (not below)}.{ending}"
        save(pd.DataFrame(rows), file)
    reader = FolderReader(str(tmp_path))
    table, texts_ = split_of(tmp_path, "train"), ["0 0", "0 1", "1 0", "1 1", "1 2"]
    assert reader.has("train") and not reader.has("test")
    assert text_values(table, "text") == texts_ and len(table) == 5
    assert [
        text for part in reader.tables("train", 2) for text in text_values(part, "text")
    ] == texts_
    line = {"csv": "line 3", "jsonl.gz": "line 2"}.get(ending, "row 2")
    assert "train-00001-of-00002" in table.where(3) and table.where(3).endswith(line)
    assert table.select([1, 3]).where(1) == table.where(3)
    file.rename(folder / file.name.replace("-00000-", "-00007-"))
    refuses(
        lambda: split_of(tmp_path, "train"), "expected 2 shards of the train split", "-00007-of"
    )


def test_shards_beside_a_whole_file(tmp_path):
    write(tmp_path, "train.csv", comma(ROWS))
    write(tmp_path, "train-00000-of-00001.csv", comma(ROWS))
    refuses(lambda: split_of(tmp_path, "train"), "train.csv", "-of-00001", "Keep one")


@pytest.mark.parametrize("name", ["train.xlsx", "train.csv"])
def test_spreadsheets_are_refused_by_name(tmp_path, name):
    file = write(tmp_path, name, b"PK\x03\x04 and so on")
    refuses(lambda: split_of(tmp_path, "train"), str(file), "spreadsheet", "CSV")


def test_corrupt_gzip(tmp_path):
    plain = tmp_path / "plain.tsv.gz"
    plain.write_text(tsv(ROWS))
    refuses(lambda: read_table(plain), str(plain), "cannot be read", "gzip")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(comma(ROWS * 999).encode())[:-20])
    refuses(lambda: read_table(cut), str(cut), "cannot be read")


def test_corrupt_parquet(tmp_path):
    file = write(tmp_path, "train.parquet", "no parquet")
    refuses(lambda: read_table(file), str(file), "Parquet")


@pytest.mark.parametrize("name", ["sst2/train.tsv", "imdb/train.tsv", "yelp5/train.tsv"])
def test_real_files_are_read_as_they_are(data_folder, name):
    table = read_table(data_folder / name)
    lines = (data_folder / name).read_text("utf-8").split("\n")[1:-1]
    rows = zip(*table.columns.values(), strict=True)
    assert ["\t".join(row) for row in rows] == lines


def test_real_texts_with_a_lone_quote(data_folder):
    texts = read_table(data_folder / "imdb" / "train.tsv").columns["text"]
    assert len(texts) == 4000
    assert sum(text.count('"') % 2 for text in texts) == 36
