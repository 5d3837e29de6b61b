"""Tables from local files (TSV, CSV, JSON, Parquet), and which files of a folder are a split."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bertx.data.json_files import json_document, json_lines
from bertx.data.table import Column, Table, joined, malformed, numbered, shortened
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
"""The splits, and the names that their files may have."""

DATA = "data"
"""Where repositories of the hub have their files."""

_NAME = re.compile(
    rf"(?P<stem>{'|'.join(name for names in SPLITS.values() for name in names)})"
    r"(?:-(?P<part>\d+)-of-(?P<parts>\d+)(?:-\w+)?)?"
    rf"\.(?P<ending>{'|'.join(map(re.escape, (*ENDINGS, *SPREADSHEETS)))})"
)

# The csv module refuses fields over 128 KiB; this is the most that a C long holds everywhere.
_LONGEST_FIELD = 2**31 - 1

_BUFFER = 2**20  # bytes: without a buffer a whole column of a row group is fetched at once

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how files of spreadsheets begin

Numbered = tuple[int, list[Any] | InputError]
"""A record, or what is wrong with it, and the number of the line where it begins."""


class FolderReader:
    """Files ``{train,dev|val|valid|validation,test,predict}.{tsv,csv,jsonl,json,parquet}``.

    The text formats may be gzipped (``.gz``). A split may be in shards, as the hub names them:
    ``train-00000-of-00002.parquet``. Where a folder has no such files, those of its folder ``data``
    are read.

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
        """Whether there is a file for ``split``."""
        return bool(self._files(split))

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time; None: all in one table.

        Raises:
            InputError: If there is no file for the split, or there are several that are no shards
                of one, or one cannot be read.
        """
        files = self._only(split)
        tables: Iterator[Table] = chain.from_iterable(stream_tables(file, rows) for file in files)
        if rows is None and len(files) > 1:
            together = re.sub(r"-\d+-of-", "-*-of-", files[0].name)
            tables = iter([joined(str(files[0].with_name(together)), list(tables))])
        return numbered(tables)

    def names(self, column: str | None) -> None:
        """Files do not declare the names of their labels."""

    def _only(self, split: str) -> list[Path]:
        """The file of a split, or its shards in their order."""
        files = self._files(split)
        if not files:
            raise InputError(
                f"data folder {self.folder}: no file for the {split} split. Expected "
                f"{'|'.join(SPLITS[split])} with an ending of {', '.join(ENDINGS)}; "
                f"found: {self._listing()}."
            )
        if foreign := [file for file in files if file.name.endswith(SPREADSHEETS)]:
            raise spreadsheet(foreign[0])
        names = [name for file in files if (name := _NAME.fullmatch(file.name))]
        if len({name.group("stem", "parts", "ending") for name in names}) > 1:
            raise InputError(
                f"data folder {self.folder}: {' and '.join(file.name for file in files[:5])} are "
                f"all the {split} split. Keep one of them."
            )
        parts = int(names[0]["parts"] or 1)
        if [int(name["part"] or 0) for name in names] != list(range(parts)):
            raise InputError(
                f"data folder {self.folder}: expected {parts} shards of the {split} "
                f"split, each once, but found {', '.join(file.name for file in files[:20])}. Fetch "
                "all of them."
            )
        return files

    def _files(self, split: str) -> list[Path]:
        for folder in (self.folder, self.folder / DATA):
            names = {path: _NAME.fullmatch(path.name) for path in sorted(folder.glob("*"))}
            if any(names.values()):
                stems = SPLITS[split]
                return [path for path, name in names.items() if name and name["stem"] in stems]
        return []

    def _listing(self) -> str:
        names = sorted(path.name for path in self.folder.iterdir())
        return ", ".join(names[:20] + ["..."] * (len(names) > 20)) or "nothing"


def stream_tables(file: Path, rows: int | None = None, strict: bool = True) -> Iterator[Table]:
    """Read one file a stretch at a time; a stretch takes memory, the file does not.

    Args:
        file: The file; its ending names the format.
        rows: At most so many rows make a table; None: all make one.
        strict: Whether a malformed row is an error.

    Raises:
        InputError: While reading, if the file cannot be read, or has no rows, or a malformed one.
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
    """The error of a file that only a spreadsheet program reads."""
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
        raise InputError(f"{file} cannot be read: {error}. Fetch or write it again.") from error


def _open(file: Path, newline: str) -> io.TextIOWrapper:
    raw: Any = gzip.open(file) if file.suffix == ".gz" else file.open("rb")
    try:
        start = raw.peek(len(_ZIP))
    except (EOFError, zlib.error, OSError):
        raw.close()
        raise
    if start.startswith((_ZIP, _OLE)):
        raw.close()
        raise spreadsheet(file)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return io.TextIOWrapper(raw, "utf-16", errors="replace", newline=newline)
    # Bytes that are not UTF-8 stay in the text: they matter only in columns that are used.
    return io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline=newline)


def _tsv(file: Path, lines: Iterable[str], rows: int | None) -> Iterator[Table]:
    """GLUE's format: one record a line, fields divided by tabs, a quotation mark is text."""
    records = ((number, _fields(line)) for number, line in enumerate(lines, start=1))
    return _tabulate(file, records, rows)


def _fields(line: str) -> list[str]:
    line = line.removesuffix("\n").removesuffix("\r")
    return line.split("\t") if line else []


def _csv(file: Path, lines: Iterable[str], rows: int | None) -> Iterator[Table]:
    lines = iter(lines)
    header = next(lines, "")
    records = _csv_records(file, chain([header], lines), _separator(header))
    return _tabulate(file, records, rows)


def _separator(header: str) -> str:
    """What divides the fields: not every spreadsheet takes commas, such as those of Europe."""
    names = re.sub('"[^"]*"', "", header)
    return next((mark for mark in ",;\t|" if mark in names), ",")


def _csv_records(file: Path, lines: Iterable[str], separator: str) -> Iterator[Numbered]:
    reader, start = csv.reader(lines, delimiter=separator, strict=True), 1
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


def _tabulate(file: Path, records: Iterator[Numbered], rows: int | None) -> Iterator[Table]:
    """Turn records, the header first, into columns."""
    _, header = next(records, (0, list[Any]()))
    if isinstance(header, InputError):
        raise header
    repeated = {name for name, count in Counter(header).items() if count > 1}
    gap, checked = [None] * len(header), _checked(file, header, records)
    while part := list(islice(checked, rows)):
        fields = [gap if isinstance(record, InputError) else record for _, record in part]
        columns = dict(zip(header, zip(*fields, strict=True), strict=True))
        lines = [line for line, _ in part]
        yield Table(str(file), columns, lines, repeated=repeated, malformed=malformed(part))


def _checked(file: Path, header: list[str], records: Iterator[Numbered]) -> Iterator[Numbered]:
    """The records below the header, each with as many fields."""
    for line, record in records:
        # A blank line is nothing in a table of several columns, and an empty text in one of one.
        if not record and len(header) > 1:
            continue
        fields = record or [""]
        if isinstance(fields, list):
            fields = _wrong(file, line, header, fields) or fields
        yield line, fields


def _wrong(file: Path, line: int, header: list[str], fields: list[Any]) -> InputError | None:
    if len(fields) == len(header):
        return None
    names = ", ".join(header).encode(errors="backslashreplace").decode()
    return InputError(
        f"{file}, line {line}: expected {len(header)} columns ({names}), but "
        f"got {len(fields)}: {shortened(fields)}. Correct the row."
    )


def _parquet(file: Path, rows: int | None) -> Iterator[Table]:
    import pyarrow
    from pyarrow import parquet

    first = 1
    try:
        # A plain file: a folder's name such as "split=train" must not become a column.
        with parquet.ParquetFile(file, buffer_size=_BUFFER if rows else 0) as data:
            for part in data.iter_batches(rows) if rows else [data.read()]:
                if part.num_rows:
                    yield _parquet_table(file, part, range(first, first + part.num_rows))
                first += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {error}. Fetch or write it again."
        ) from error


def _parquet_table(file: Path, part: Any, numbers: range) -> Table:
    names = part.schema.names
    columns = {
        name: Column(len(numbers), partial(_python_values, file, name, part.column(place)))
        for place, name in enumerate(names)
    }
    repeated = {name for name, count in Counter(names).items() if count > 1}
    return Table(str(file), columns, numbers, "row", repeated=repeated)


def _python_values(file: Path, name: str, values: Any) -> list[Any]:
    import pyarrow

    try:
        converted: list[Any] = values.to_pylist()
        return converted
    except (pyarrow.ArrowException, ValueError, OverflowError, ImportError) as error:
        raise InputError(
            f"{file}: column {name!r} ({values.type}) cannot be read: {error}. Name another column."
        ) from error
