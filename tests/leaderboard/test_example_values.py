import io
from dataclasses import replace
from math import inf, nan

import pyarrow as pa
import pytest
from pyarrow import parquet

from bertx.errors import InputError
from bertx.leaderboard.example_values import (
    ExampleValue,
    examples_path,
    find_examples,
    read_examples,
    write_examples,
)

ROW = ExampleValue(
    7, 1, "grad_x_input", True, "method", "mask", "deletion", False, 0.25, text=2**32 - 1
)
ROWS = [
    ROW,
    replace(ROW, example=8, value=nan),
    replace(ROW, example=2**40, value=-inf),
    replace(ROW, method="random", signed=False, role="floor", value=0.1 + 0.2),
    replace(ROW, method="occlusion", made_with="mask"),
    replace(ROW, method="Юникод '\"<b>", role="ceiling", operator="", higher_is_better=None),
]


def same(found, expected):
    assert list(map(repr, found)) == list(map(repr, expected))  # NaN is not equal to itself


def test_what_is_written_is_read(tmp_path):
    path = write_examples(examples_path(tmp_path / "val", 3, 63), ROWS)
    assert path == tmp_path / "val" / "examples" / "epoch=3-step=63.parquet"
    same(read_examples(path), ROWS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_nothing_is_a_table_too(tmp_path):
    assert read_examples(write_examples(tmp_path / "a.parquet", [])) == []


def test_the_columns_are_those_of_the_contract(tmp_path):
    table = parquet.read_table(write_examples(tmp_path / "a.parquet", ROWS))
    assert {field.name: (str(field.type), field.nullable) for field in table.schema} == {
        "example": ("int64", False), "target": ("int32", False), "method": ("string", False),
        "signed": ("bool", False), "role": ("string", False), "operator": ("string", False),
        "metric": ("string", False), "higher_is_better": ("bool", True), "value": ("double", True),
        "made_with": ("string", False), "text": ("int64", False),
    }  # fmt: skip
    assert table.column("value").null_count == 1
    assert table.column("higher_is_better").null_count == 1


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = write_examples(tmp_path / "a.parquet", ROWS)

    def full(table, draft, **_):
        draft.write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(parquet, "write_table", full)
        with pytest.raises(OSError, match="no space left"):
            write_examples(path, ROWS[:1])
    same(read_examples(path), ROWS)
    assert list(tmp_path.iterdir()) == [path]


def changed(path, edit):
    write_examples(path, ROWS)
    parquet.write_table(edit(parquet.read_table(path)), path)
    return path


def test_other_columns_order_and_whole_numbers_are_no_error(tmp_path):
    def edit(table):
        names = [*reversed(table.column_names), "note"]
        return table.append_column("note", pa.array(["x"] * len(ROWS))).select(names)

    same(read_examples(changed(tmp_path / "a.parquet", edit)), ROWS)


@pytest.mark.parametrize(("name", "unknown"), [("made_with", ""), ("text", 0)])
def test_a_table_need_not_say_everything(name, unknown, tmp_path):
    path = changed(tmp_path / "a.parquet", lambda table: table.drop_columns([name]))
    same(read_examples(path), [replace(row, **{name: unknown}) for row in ROWS])


def test_the_newest_file_is_found_by_number_not_by_letter(tmp_path):
    for epoch, step in ((2, 63), (10, 400), (10, 99), (9, 1000)):
        write_examples(examples_path(tmp_path, epoch, step), ROWS)
    (tmp_path / "examples" / "epoch=11-step=x.parquet").touch()
    (tmp_path / "examples" / ".epoch=12-step=1.parquet.7").touch()
    assert find_examples(tmp_path) == examples_path(tmp_path, 10, 400)
    assert find_examples(tmp_path, 9) == examples_path(tmp_path, 9, 1000)
    with pytest.raises(InputError, match=r"epoch=3-step=\*\.parquet, but the epochs are 2, 9, 10"):
        find_examples(tmp_path, 3)
    with pytest.raises(InputError, match=r"missing/examples: .* there is no such file"):
        find_examples(tmp_path / "missing")


def column(name, values):
    def edit(table):
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t.drop_columns(["operator"]), ["'operator'", "'metric'"]),
        (column("signed", ["yes"] * 6), ["'signed'", "string", "expected bool"]),
        (column("example", ["a"] * 6), ["'example'", "int64"]),
        (column("target", [2**40] * 6), ["'target'", "int32"]),
        (column("method", ["a", None, "b", "c", None, "d"]), ["'method'", "2 of 6 are empty"]),
        (column("role", ["judge"] * 6), ["'role'", "'judge'", "method, floor, ceiling"]),
        (column("example", [7, 7, 7, 8, 9, 9]), ["example 7", "grad_x_input", "3 times"]),
    ],
)
def test_what_does_not_belong_there_is_named(edit, words, tmp_path):
    path = changed(tmp_path / "a.parquet", edit)
    with pytest.raises(InputError) as error:
        read_examples(path)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value


def test_what_is_no_table_is_refused(tmp_path):
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"a": [1]}), buffer)
    for content in (b"", b"nothing", buffer.getvalue()[:-9]):
        path = tmp_path / "a.parquet"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.parquet: expected the values of examples"):
            read_examples(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_examples(tmp_path / "missing.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_examples(tmp_path)
