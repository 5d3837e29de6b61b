"""Shards: whole or not there."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from bertx.callbacks import shards as module
from bertx.callbacks.shards import METADATA_KEY, ShardWriter, read_shards, shards
from bertx.errors import InputError

SCHEMA = pa.schema([("index", pa.int64()), ("text", pa.string())], {METADATA_KEY: '{"made": "so"}'})


def rows(*numbers):
    return [{"index": i, "text": f"text {i}"} for i in numbers]


def writer(folder, per_shard=4, rank=0, schema=SCHEMA):
    return ShardWriter(folder / f"rank-{rank:05d}", schema, per_shard)


def numbers(path):
    return parquet.read_table(path).column("index").to_pylist()


def visible(folder):
    return [path.name for path in shards(folder)]


@pytest.mark.parametrize("together", [1, 3, 256])
@pytest.mark.parametrize("at_once", [1, 3, 11])
def test_rows_are_cut_into_shards_as_they_come(tmp_path, monkeypatch, together, at_once):
    monkeypatch.setattr(module, "_ROW_GROUP", together)
    out = writer(tmp_path)
    for start in range(0, 11, at_once):
        out.write(rows(*range(start, min(start + at_once, 11))))
    out.close()
    assert [numbers(path) for path in shards(tmp_path)] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10],
    ]  # fmt: skip


def test_a_shard_is_seen_when_it_is_whole(tmp_path):
    out = writer(tmp_path)
    out.write(rows(0, 1, 2))
    assert visible(tmp_path) == [] and read_shards(tmp_path).settings is None
    out.write(rows(3, 4))
    assert visible(tmp_path) == ["part-000000.parquet"]
    out.close()
    out.close()
    assert visible(tmp_path) == ["part-000000.parquet", "part-000001.parquet"]
    assert not list(tmp_path.rglob(".*"))


def test_without_rows_there_is_no_folder(tmp_path):
    writer(tmp_path).close()
    assert not list(tmp_path.iterdir())


def test_a_second_writer_goes_on_and_removes_what_is_not_whole(tmp_path):
    first = writer(tmp_path)
    first.write(rows(*range(6)))
    first._flush()
    assert [path.name for path in tmp_path.rglob(".*")] == [".part-000001.parquet"]
    second = writer(tmp_path)
    assert not list(tmp_path.rglob(".*"))
    second.write(rows(7))
    second.close()
    assert [numbers(path) for path in shards(tmp_path)] == [[0, 1, 2, 3], [7]]


def test_a_gap_in_the_numbers_is_not_filled(tmp_path):
    for _ in range(3):
        out = writer(tmp_path)
        out.write(rows(1))
        out.close()
    shards(tmp_path)[1].unlink()
    out = writer(tmp_path)
    out.write(rows(2))
    out.close()
    assert visible(tmp_path)[-1] == "part-000003.parquet"


def test_what_is_stored_on_all_ranks(tmp_path):
    for rank, part in enumerate(([5, 3, 9], [4, 10**12])):
        out = writer(tmp_path, rank=rank)
        out.write(rows(*part))
        out.close()
    stored = read_shards(tmp_path)
    assert stored.settings == {"made": "so"}
    assert stored.indices.tolist() == [3, 4, 5, 9, 10**12]
    held = [i for i in [*range(12), 10**12, 2 * 10**12] if stored.holds(i, f"text {i}")]
    assert held == [3, 4, 5, 9, 10**12]
    with pytest.raises(InputError, match="its text 9 is not 'another'"):
        stored.holds(9, "another")
    assert not stored.holds(8, "another")


def test_nothing_is_stored_in_no_folder(tmp_path):
    stored = read_shards(tmp_path / "none")
    assert stored.settings is None and not stored.holds(0, "text")


def test_texts_of_later_shards_are_not_kept(tmp_path):
    out = writer(tmp_path)
    out.write(rows(*range(40)))
    assert len(read_shards(tmp_path).texts) == 4


def test_what_is_no_shard_is_refused(tmp_path):
    folder = tmp_path / "rank-00000"
    folder.mkdir()
    (folder / "part-000000.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"part-000000.parquet.*cannot be read.*Remove it"):
        read_shards(tmp_path)
    parquet.write_table(pa.table({"index": [1], "text": ["a"]}), folder / "part-000000.parquet")
    with pytest.raises(InputError, match="expected a shard of attributions"):
        read_shards(tmp_path)


def test_shards_of_different_making_are_refused(tmp_path):
    for rank, how in enumerate(("so", "otherwise")):
        schema = SCHEMA.with_metadata({METADATA_KEY: f'{{"made": "{how}"}}'})
        out = writer(tmp_path, rank=rank, schema=schema)
        out.write(rows(rank))
        out.close()
    with pytest.raises(InputError, match=r"part-000000.parquet: its settings differ"):
        read_shards(tmp_path)


def test_an_interruption_doubles_no_row(tmp_path, monkeypatch):
    out = writer(tmp_path, per_shard=100)
    out.write(rows(0))
    out._flush()

    class Interrupted:
        def write_table(self, table):
            file.write_table(table)
            raise KeyboardInterrupt

    file, out._file = out._file, Interrupted()
    out.write(rows(1))
    with pytest.raises(KeyboardInterrupt):
        out._flush()
    out._file = file
    out.write(rows(2))
    out.close()
    assert [numbers(path) for path in shards(tmp_path)] == [[0, 1, 2]]
