"""Splits from a folder of local files: TSV, CSV, JSON lines, Parquet."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from bertx.data.table import Spoilt, Table, not_utf8, refused, shortened
from bertx.errors import InputError

SPLITS = {
    "train": ("train",),
    "validation": ("dev", "val", "validation"),
    "test": ("test",),
    "predict": ("predict",),
}
"""The splits, and the names that their files may have."""

TEXT_FORMATS = ("tsv", "csv", "jsonl")
ENDINGS = (*TEXT_FORMATS, *(f"{name}.gz" for name in TEXT_FORMATS), "parquet")

# The csv module refuses fields over 128 KiB; this is the most that a C long holds everywhere.
_LONGEST_FIELD = 2**31 - 1

_BUFFER = 2**20  # bytes: without a buffer a whole column of a row group is fetched at once

Numbered = tuple[int, list[Any] | InputError]
"""A record, or what is wrong with it, and the number of the line where it begins."""


class FolderReader:
    """Files ``{train,dev|val|validation,test,predict}.{tsv,csv,jsonl,parquet}`` of a folder.

    The text formats may be gzipped (``.gz``).

    Raises:
        InputError: If there is no such folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise InputError(
                f"data folder {folder}: expected a folder with train.tsv (or .csv, .jsonl, "
                f".parquet) and its like, but it {what}. Give one with --data.path."
            )

    def has(self, split: str) -> bool:
        """Whether there is a file for ``split``."""
        return bool(self._files(split))

    def read(self, split: str) -> Table:
        """The rows of ``split``.

        Raises:
            InputError: If there is no file or more than one for the split, or it cannot be read.
        """
        return read_table(self._file(split))

    def stream(self, split: str, rows: int) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time (raises as `read` does)."""
        return stream_tables(self._file(split), rows)

    def names(self, column: str | None) -> None:
        """Files do not declare the names of their labels."""

    def _file(self, split: str) -> Path:
        files = self._files(split)
        if not files:
            raise InputError(
                f"data folder {self.folder}: no file for the {split} split. Expected "
                f"{'|'.join(SPLITS[split])} with an ending of {', '.join(ENDINGS)}; "
                f"found: {self._found()}."
            )
        if len(files) > 1:
            raise InputError(
                f"data folder {self.folder}: {' and '.join(file.name for file in files)} are all "
                f"the {split} split. Keep one of them."
            )
        return files[0]

    def _files(self, split: str) -> list[Path]:
        names = (f"{stem}.{ending}" for stem in SPLITS[split] for ending in ENDINGS)
        return [self.folder / name for name in names if (self.folder / name).is_file()]

    def _found(self) -> str:
        names = sorted(path.name for path in self.folder.iterdir())
        return ", ".join(names[:20] + ["..."] * (len(names) > 20)) or "nothing"


def read_table(file: Path) -> Table:
    """Read one file; its ending names the format.

    Raises:
        InputError: If the file cannot be read, is malformed, or has no rows.
    """
    (table,) = stream_tables(file, None)
    return table


def stream_tables(file: Path, rows: int | None, spoilt: Spoilt = refused) -> Iterator[Table]:
    """Read one file a stretch at a time; a stretch takes memory, the file does not.

    Args:
        file: The file; its ending names the format.
        rows: At most so many rows make a table; None: all make one.
        spoilt: What stands in every column of a malformed row, if that is not to be refused.

    Raises:
        InputError: While reading, if the file is malformed or cannot be read, or has no rows.
    """
    kind = file.name.removesuffix(".gz").rpartition(".")[2]
    empty = True
    for table in _parquet(file, rows) if kind == "parquet" else _text(file, kind, rows, spoilt):
        empty = False
        yield table
    if empty:
        raise InputError(f"{file}: expected at least one row below the header, but it is empty.")


def _text(file: Path, kind: str, rows: int | None, spoilt: Spoilt) -> Iterator[Table]:
    parse = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl}[kind]
    try:
        yield from parse(file, rows, spoilt)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}. Fetch or write it again.") from error


def _open(file: Path, newline: str) -> io.TextIOWrapper:
    raw = gzip.open(file) if file.suffix == ".gz" else file.open("rb")
    # What is not UTF-8 is found line by line: decoders work in blocks and cannot tell where it is.
    return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline=newline)


def _tsv(file: Path, rows: int | None, spoilt: Spoilt) -> Iterator[Table]:
    """GLUE's format: one record a line, fields divided by tabs, a quotation mark is text."""
    with _open(file, newline="\n") as lines:
        records = ((number, _fields(line)) for number, line in enumerate(lines, start=1))
        yield from _tabulate(file, records, rows, spoilt)


def _fields(line: str) -> list[str]:
    line = line.removesuffix("\n").removesuffix("\r")
    return line.split("\t") if line else []


def _csv(file: Path, rows: int | None, spoilt: Spoilt) -> Iterator[Table]:
    with _open(file, newline="") as lines:
        yield from _tabulate(file, _csv_records(file, lines), rows, spoilt)


def _csv_records(file: Path, lines: io.TextIOWrapper) -> Iterator[Numbered]:
    reader, start = csv.reader(lines, strict=True), 1
    record: list[str] | InputError | None
    while True:
        try:
            with _long_fields():  # not around the yield: whoever reads has a limit of its own
                record = next(reader, None)
        except csv.Error as error:  # the reader goes on with the next line
            end = reader.line_num
            lost = f"line {start}" if end <= start else f"lines {start} to {end}, one record"
            record = InputError(
                f'{file}, {lost}: expected CSV with fields quoted by ", but {error}. Correct '
                "the record that begins there, or use .tsv, where quotation marks are text."
            )
        if record is None:
            return
        yield start, record
        start = reader.line_num + 1


@contextmanager
def _long_fields() -> Iterator[None]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _tabulate(
    file: Path, records: Iterator[Numbered], rows: int | None, spoilt: Spoilt
) -> Iterator[Table]:
    """Turn records, the header first, into columns."""
    _, header = next(records, (0, list[Any]()))
    if isinstance(header, InputError):
        raise header
    if error := not_utf8(file, 1, "".join(header)):
        raise error
    if len(set(header)) < len(header):
        raise InputError(f"{file}, line 1: a column name occurs twice in {header}. Rename one.")
    checked = _checked(file, header, records, spoilt)
    while part := list(islice(checked, rows)):
        columns = zip(*(fields for _, fields in part), strict=True)
        yield Table(str(file), dict(zip(header, columns, strict=True)), [n for n, _ in part])


def _checked(
    file: Path, header: list[str], records: Iterator[Numbered], spoilt: Spoilt
) -> Iterator[tuple[int, list[Any]]]:
    """The records below the header, each with as many fields."""
    for line, record in records:
        # A blank line is nothing in a table of several columns, and an empty text in one of one.
        if not record and len(header) > 1:
            continue
        fields = record or [""]
        if isinstance(fields, list):
            fields = _wrong(file, line, header, fields) or fields
        yield line, fields if isinstance(fields, list) else [spoilt(fields)] * len(header)


def _wrong(file: Path, line: int, header: list[str], fields: list[Any]) -> InputError | None:
    if error := not_utf8(file, line, "".join(fields)):
        return error
    if len(fields) == len(header):
        return None
    return InputError(
        f"{file}, line {line}: expected {len(header)} columns ({', '.join(header)}), but "
        f"got {len(fields)}: {shortened(fields)}. Correct the row."
    )


def _jsonl(file: Path, rows: int | None, spoilt: Spoilt) -> Iterator[Table]:
    names: dict[str, None] = {}
    with _open(file, newline="\n") as text:
        numbered = _json_records(file, text, spoilt)
        while part := list(islice(numbered, rows)):
            sound = (record for _, record in part if isinstance(record, dict))
            names = dict.fromkeys(name for record in sound for name in record) or names
            columns = {name: [_value(record, name) for _, record in part] for name in names}
            yield Table(str(file), columns, [number for number, _ in part])


def _json_records(file: Path, text: io.TextIOWrapper, spoilt: Spoilt) -> Iterator[tuple[int, Any]]:
    """Objects; the first one, which shows what they are like, has to be sound."""
    known = False
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                record = _json(file, number, line)
            except InputError as error:
                record = spoilt(error) if known else refused(error)
            known = True
            yield number, record


def _value(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, dict) else record


def _json(file: Path, number: int, line: str) -> dict[str, Any]:
    if wrong := not_utf8(file, number, line):
        raise wrong
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {number}: expected one JSON object a line, but {error.msg} at "
            f"character {error.pos + 1} of {shortened(line.strip())}. Correct the line."
        ) from error
    if not isinstance(record, dict):
        raise InputError(
            f"{file}, line {number}: expected a JSON object such as "
            f'{{"text": "...", "label": 0}}, but got {shortened(record)}.'
        )
    return record


def _parquet(file: Path, rows: int | None) -> Iterator[Table]:
    import pyarrow
    from pyarrow import parquet

    first = 1
    try:
        # A plain file: a folder's name such as "split=train" must not become a column.
        with parquet.ParquetFile(file, buffer_size=_BUFFER if rows else 0) as data:
            for part in data.iter_batches(rows) if rows else [data.read()]:
                columns = {name: part.column(name).to_pylist() for name in part.schema.names}
                if part.num_rows:
                    yield Table(str(file), columns, range(first, first + part.num_rows), "row")
                first += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {error}. Fetch or write it again."
        ) from error
