"""Parquet shards that appear only when they are complete, so that a killed run can be resumed."""

import json
import os
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bertx.errors import InputError

METADATA_KEY = b"bertx"
"""Key of the schema's metadata under which every shard holds the settings of its rows."""

_ROW_GROUP = 256  # rows that are held in memory and written together


class ShardWriter:
    """Appends rows to ``part-000000.parquet`` and its successors in a folder.

    An incomplete file has a hidden name, which readers of folders skip; a complete one is synced
    to disk and renamed. Numbering continues after the files in the folder.

    Args:
        folder: The folder, created with the first row. Hidden files left by a killed run are
            deleted.
        schema: The columns.
        rows_per_shard: Rows of a file.
    """

    def __init__(self, folder: Path, schema: pa.Schema, rows_per_shard: int) -> None:
        self.folder = folder
        self._schema = schema
        self._limit = rows_per_shard
        self._waiting: list[dict[str, Any]] = []
        self._count = 0
        self._file: parquet.ParquetWriter | None = None
        for incomplete in folder.glob(".part-*"):
            incomplete.unlink()
        numbers = [int(path.stem.rpartition("-")[2]) for path in folder.glob("part-*.parquet")]
        self._number = max(numbers, default=-1) + 1

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows: dictionaries with a value for each column."""
        for row in rows:
            self._waiting.append(row)
            whole = self._count + len(self._waiting) == self._limit
            if whole or len(self._waiting) == _ROW_GROUP:
                self._flush()
            if whole:
                self._finish()

    def close(self) -> None:
        """Finish the last file, which may have fewer rows."""
        self._flush()
        self._finish()

    @property
    def _paths(self) -> tuple[Path, Path]:
        name = f"part-{self._number:06d}.parquet"
        return self.folder / f".{name}", self.folder / name

    def _flush(self) -> None:
        # Emptied first: an interruption may lose rows, which are recomputed, but duplicates none.
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = parquet.ParquetWriter(self._paths[0], self._schema, compression="zstd")
        self._file.write_table(pa.Table.from_pylist(rows, self._schema))
        self._count += len(rows)

    def _finish(self) -> None:
        if self._file is None:
            return
        self._file.close()
        hidden, whole = self._paths
        with hidden.open("rb") as file:
            os.fsync(file.fileno())
        hidden.rename(whole)
        self._file, self._count = None, 0
        self._number += 1


@dataclass(frozen=True)
class StoredRows:
    """The rows in the shards of a folder.

    Attributes:
        settings: How the rows were computed, from the metadata; None without shards.
        indices: Indices of the rows (N,), sorted.
        texts: Checksums of texts by index, for the first shard of each rank.
    """

    settings: Mapping[str, Any] | None = None
    indices: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    texts: Mapping[int, int] = field(default_factory=dict)

    def holds(self, index: int, text: str) -> bool:
        """Return whether a row is stored.

        Raises:
            InputError: If it is stored with another text.
        """
        place = int(np.searchsorted(self.indices, index))
        if place == len(self.indices) or self.indices[place] != index:
            return False
        if self.texts.get(index, checksum(text)) != checksum(text):
            raise InputError(
                f"the folder holds attributions of other data: its text {index} is not "
                f"{text[:80]!r}. Choose another `AttributionWriter.folder`."
            )
        return True


def checksum(text: str) -> int:
    """Return a checksum of a text, with ? for surrogates as in `writable`."""
    return zlib.crc32(text.encode(errors="replace"))


def writable(text: str) -> str:
    """Return a text with ? in place of lone surrogates, which cannot be encoded."""
    return text.encode(errors="replace").decode()


def shards(folder: Path) -> list[Path]:
    """Return the complete shards of all ranks below a folder."""
    return sorted(folder.glob("rank-*/part-*.parquet"))


def read_shards(folder: Path) -> StoredRows:
    """Read which rows a folder holds.

    Raises:
        InputError: If a file is not a shard, or the settings of two shards differ.
    """
    first: Any = None
    indices, texts, seen = array("q"), dict[int, int](), set[Path]()
    for path in shards(folder):
        rows, settings = _read(path, with_text=path.parent not in seen)
        if first not in (None, settings):
            raise InputError(f"{path}: its settings differ from the shards before it. Remove it.")
        first = settings
        seen.add(path.parent)
        numbers = rows.column("index").to_numpy()
        indices.frombytes(numbers.tobytes())
        if "text" in rows.column_names:
            pairs = zip(numbers.tolist(), rows.column("text").to_pylist(), strict=True)
            texts |= {index: checksum(text) for index, text in pairs}
    return StoredRows(first, np.sort(np.array(indices, dtype=np.int64)), texts)


def _read(path: Path, with_text: bool) -> tuple[pa.Table, Any]:
    try:
        with parquet.ParquetFile(path) as file:
            settings = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
            return file.read(["index", "text"] if with_text else ["index"]), settings
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected a shard of attributions, but it cannot be read ({error}). Remove "
            "it, or choose another `AttributionWriter.folder`."
        ) from error
