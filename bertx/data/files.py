"""Tables from local files (TSV, CSV, JSON, Parquet), and the files of each split of a folder."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from bertx.data.json_files import json_document, json_lines
from bertx.data.table import Column, NumberedRecord, Table, join_tables, shortened, tabulate
from bertx.errors import InputError

TEXT_FORMATS = ("tsv", "csv", "jsonl", "json")
ENDINGS = (*TEXT_FORMATS, *(f"{name}.gz" for name in TEXT_FORMATS), "parquet")
SPREADSHEETS = ("xlsx", "xls", "ods")

SPLITS = {
    "train": ("train",),
    "validation": ("dev", "val", "valid", "validation"),
    "test": ("test",),
    "predict": ("predict",),
}
"""The splits, and the names that their files can have."""

DATA = "data"
"""Folder in which repositories on the hub keep their files."""

_NAME = re.compile(
    rf"(?P<stem>{'|'.join(name for names in SPLITS.values() for name in names)})"
    r"(?:-(?P<part>\d+)-of-(?P<parts>\d+)(?:-\w+)?)?"
    rf"\.(?P<ending>{'|'.join(map(re.escape, (*ENDINGS, *SPREADSHEETS)))})"
)

# By default the csv module refuses fields over 128 KiB; a C long can be this large everywhere.
_LONGEST_FIELD = 2**31 - 1

_BUFFER = 2**20  # bytes; without a buffer, a whole column of a row group is read at once

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # first bytes of spreadsheets

_Fields = tuple[int, list[str] | InputError]
"""The number of a record's first line, and its fields or why it is malformed."""


class FolderReader:
    """Files ``{train,dev|val|valid|validation,test,predict}.{tsv,csv,jsonl,json,parquet}``.

    The text formats may be gzipped (``.gz``). A split may be in shards, named as on the hub:
    ``train-00000-of-00002.parquet``. If a folder has no such files, its subfolder ``data`` is read.

    Raises:
        InputError: If there is no such folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise InputError(
                f"data folder {folder}: expected a folder with train.tsv (or .csv, .jsonl, .json, "
                f".parquet) and its like, but it {what}. Give one with `path`."
            )

    def has(self, split: str) -> bool:
        """Return whether there is a file for ``split``."""
        return bool(self._files(split))

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """Read the rows of ``split``.

        Args:
            split: Name of the split.
            rows: Most rows of a table; None for one table of all rows.

        Raises:
            InputError: If there is no file for the split, if there are several files that are not
                the shards of one, or if a file cannot be read.
        """
        files = self._only(split)
        tables: Iterable[Table] = chain.from_iterable(stream_tables(file, rows) for file in files)
        if rows is None and len(files) > 1:
            together = re.sub(r"-\d+-of-", "-*-of-", files[0].name)
            tables = [join_tables(str(files[0].with_name(together)), list(tables))]
        start = 0
        for table in tables:
            yield replace(table, numbers=range(start, start + len(table)))
            start += len(table)

    def names(self, column: str | None) -> None:
        """Return None, as files do not declare the names of their classes."""

    def _only(self, split: str) -> list[Path]:
        """Return the file of a split, or its shards in order."""
        files = self._files(split)
        names = ", ".join(file.name for file in list(files)[:20])
        if not files:
            raise InputError(
                f"data folder {self.folder}: no file for the {split} split. Expected "
                f"{'|'.join(SPLITS[split])} with an ending of {', '.join(ENDINGS)}; "
                f"found: {self._listing()}."
            )
        for file, name in files.items():
            if name["ending"] in SPREADSHEETS:
                raise spreadsheet(file)
        if len({name.group("stem", "parts", "ending") for name in files.values()}) > 1:
            raise InputError(
                f"data folder {self.folder}: expected one file for the {split} split, but found "
                f"{names}. Keep one of them."
            )
        parts = [int(name["part"] or 0) for name in files.values()]
        count = max(int(name["parts"] or 1) for name in files.values())
        if parts != list(range(count)):
            raise InputError(
                f"data folder {self.folder}: expected {count} shards of the {split} split, each "
                f"once, but found {names}. Download all of them."
            )
        return list(files)

    def _files(self, split: str) -> dict[Path, re.Match[str]]:
        """Return the files of a split with the parts of their names, sorted."""
        for folder in (self.folder, self.folder / DATA):
            names = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob("*"))}
            matches = {path: name for path, name in names.items() if name}
            if matches:
                return {path: m for path, m in matches.items() if m["stem"] in SPLITS[split]}
        return {}

    def _listing(self) -> str:
        names = sorted(path.name for path in self.folder.iterdir())
        return ", ".join(names[:20] + ["..."] * (len(names) > 20)) or "nothing"


def stream_tables(file: Path, rows: int | None = None, strict: bool = True) -> Iterator[Table]:
    """Read one file part by part, so that memory is bounded by the size of a part.

    Args:
        file: The file; its ending names the format.
        rows: Most rows of a table; None for one table of all rows.
        strict: Whether a malformed row is an error.

    Raises:
        InputError: While reading, if the file cannot be read, has no rows or has a malformed row.
    """
    kind = file.name.removesuffix(".gz").rpartition(".")[2]
    empty = True
    for table in _parquet(file, rows) if kind == "parquet" else _text(file, kind, rows):
        empty = False
        if strict and table.malformed:
            raise next(iter(table.malformed.values()))
        yield table
    if empty:
        raise InputError(f"{file}: expected at least one row below the header, but it is empty.")


def spreadsheet(file: Path) -> InputError:
    """Return the error for a file that only spreadsheet programs can read."""
    return InputError(
        f"{file}: expected text, but it is a spreadsheet. Save it as CSV (UTF-8), or write it "
        "with pandas: pandas.read_excel(file).to_csv(name, index=False)."
    )


def _text(file: Path, kind: str, rows: int | None) -> Iterator[Table]:
    parse = {"tsv": _tsv, "csv": _csv, "jsonl": json_lines, "json": json_document}[kind]
    try:
        with _open(file, newline="" if kind == "csv" else "\n") as text:
            yield from parse(file, text, rows)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}. Download or write it again.") from error


def _open(file: Path, newline: str) -> io.TextIOWrapper:
    raw: Any = gzip.open(file) if file.suffix == ".gz" else file.open("rb")
    try:
        start = raw.peek(len(_ZIP))
        if start.startswith((_ZIP, _OLE)):
            raise spreadsheet(file)
    except (InputError, EOFError, zlib.error, OSError):
        raw.close()
        raise
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return io.TextIOWrapper(raw, "utf-16", errors="replace", newline=newline)
    # Bytes that are not UTF-8 are kept: they are an error only in columns that are used.
    return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline=newline)


def _tsv(file: Path, lines: Iterable[str], rows: int | None) -> Iterator[Table]:
    """Read GLUE's format: one record per line, tab-separated; quotation marks are text."""
    bare = (line.removesuffix("\n").removesuffix("\r") for line in lines)
    records = (line.split("\t") if line else [] for line in bare)
    return _delimited(file, enumerate(records, start=1), rows)


def _csv(file: Path, lines: Iterable[str], rows: int | None) -> Iterator[Table]:
    lines = iter(lines)
    header = next(lines, "")
    names = re.sub('"[^"]*"', "", header)
    # Spreadsheets write semicolons where the comma is the decimal separator.
    separator = next((mark for mark in ",;\t|" if mark in names), ",")
    return _delimited(file, _csv_records(file, chain([header], lines), separator), rows)


def _csv_records(file: Path, lines: Iterable[str], separator: str) -> Iterator[_Fields]:
    reader, start = csv.reader(lines, delimiter=separator, strict=True), 1
    fields: list[str] | InputError | None
    while True:
        limit = csv.field_size_limit(_LONGEST_FIELD)  # global, so restored before each yield
        try:
            fields = next(reader, None)
        except csv.Error as error:  # the reader goes on with the next line
            end = reader.line_num
            place = f"line {start}" if end <= start else f"lines {start} to {end}, one record"
            fields = InputError(
                f'{file}, {place}: expected CSV with fields quoted by ", but {error}. Correct '
                "the record that begins there, or use .tsv, where quotation marks are text."
            )
        finally:
            csv.field_size_limit(limit)
        if fields is None:
            return
        yield start, fields
        start = reader.line_num + 1


def _delimited(file: Path, records: Iterator[_Fields], rows: int | None) -> Iterator[Table]:
    """Turn lists of fields, the header first, into tables."""
    _, header = next(records, (0, list[str]()))
    if isinstance(header, InputError):
        raise header
    return tabulate(str(file), _by_column(file, header, records), "line", rows, header)


def _by_column(
    file: Path, header: list[str], records: Iterator[_Fields]
) -> Iterator[NumberedRecord]:
    for line, fields in records:
        # A blank line is an empty text if there is one column, and not a record otherwise.
        if not fields and len(header) > 1:
            continue
        fields = fields or [""]
        if isinstance(fields, list) and len(fields) != len(header):
            names = ", ".join(header).encode(errors="backslashreplace").decode()
            fields = InputError(
                f"{file}, line {line}: expected {len(header)} columns ({names}), but "
                f"got {len(fields)}: {shortened(fields)}. Correct the row."
            )
        yield line, dict(zip(header, fields, strict=True)) if isinstance(fields, list) else fields


def _parquet(file: Path, rows: int | None) -> Iterator[Table]:
    import pyarrow
    from pyarrow import parquet

    first = 1
    try:
        # Not a data set of pyarrow, which makes a column of a folder's name such as "split=train".
        with parquet.ParquetFile(file, buffer_size=_BUFFER if rows else 0) as data:
            for part in data.iter_batches(rows) if rows else [data.read()]:
                if part.num_rows:
                    yield arrow_table(str(file), part, first)
                first += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {error}. Download or write it again."
        ) from error


def arrow_table(source: str, part: Any, first: int) -> Table:
    """Return rows in Arrow's format, whose columns are converted when they are used.

    Args:
        source: The file or data set, for messages.
        part: A table or record batch of pyarrow.
        first: Number of its first row in the source, counted from 1.
    """
    names, rows = part.schema.names, range(first, first + part.num_rows)
    columns = {
        name: Column(len(rows), partial(_python_values, source, name, part.column(place)))
        for place, name in enumerate(names)
    }
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return Table(source, columns, rows, "row", repeated=repeated)


def _python_values(source: str, name: str, values: Any) -> list[Any]:
    import pyarrow

    try:
        converted: list[Any] = values.to_pylist()
        return converted
    except (pyarrow.ArrowException, ValueError, OverflowError, ImportError) as error:
        raise InputError(
            f"{source}: column {name!r} ({values.type}) cannot be read: {error}. Name another "
            "column."
        ) from error
