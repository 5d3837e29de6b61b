"""Splits from a folder of local files: TSV, CSV, JSON lines, Parquet."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertx.data.table import Table
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

Numbered = tuple[int, list[Any]]
"""A record and the number of the line where it begins."""


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
        return read_table(files[0])

    def names(self, column: str | None) -> None:
        """Files do not declare the names of their labels."""

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
    kind = file.name.removesuffix(".gz").rpartition(".")[2]
    table = _parquet(file) if kind == "parquet" else _text(file, kind)
    if not len(table):
        raise InputError(f"{file}: expected at least one row below the header, but it is empty.")
    return table


def _text(file: Path, kind: str) -> Table:
    parse = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl}[kind]
    try:
        return parse(file)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}, line {_undecodable_line(file)}: expected UTF-8, but {error.reason} "
            f"(byte {error.object[error.start]:#04x}). Save the file as UTF-8."
        ) from error
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{file} cannot be read: {error}. Fetch or write it again.") from error


def _open(file: Path, newline: str) -> io.TextIOWrapper:
    raw = gzip.open(file) if file.suffix == ".gz" else file.open("rb")
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)


def _tsv(file: Path) -> Table:
    """GLUE's format: one record a line, fields divided by tabs, a quotation mark is text."""
    with _open(file, newline="\n") as lines:
        records = ((number, _fields(line)) for number, line in enumerate(lines, start=1))
        return _tabulate(file, records)


def _fields(line: str) -> list[str]:
    line = line.removesuffix("\n").removesuffix("\r")
    return line.split("\t") if line else []


def _csv(file: Path) -> Table:
    with _open(file, newline="") as lines, _long_fields():
        return _tabulate(file, _csv_records(file, lines))


def _csv_records(file: Path, lines: io.TextIOWrapper) -> Iterator[Numbered]:
    reader, start = csv.reader(lines, strict=True), 1
    try:
        for record in reader:
            yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f'{file}, line {start}: expected CSV with fields quoted by ", but {error}. Correct '
            "the record that begins there, or use .tsv, where quotation marks are text."
        ) from error


@contextmanager
def _long_fields() -> Iterator[None]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _tabulate(file: Path, records: Iterator[Numbered]) -> Table:
    """Turn records, the header first, into columns."""
    _, header = next(records, (0, []))
    if len(set(header)) < len(header):
        raise InputError(f"{file}, line 1: a column name occurs twice in {header}. Rename one.")
    lines, rows = [], []
    for line, record in records:
        # A blank line is nothing in a table of several columns, and an empty text in one of one.
        fields = record or [""]
        if not record and len(header) > 1:
            continue
        if len(fields) != len(header):
            raise InputError(
                f"{file}, line {line}: expected {len(header)} columns ({', '.join(header)}), but "
                f"got {len(fields)}: {_shortened(fields)}. Correct the row."
            )
        lines.append(line)
        rows.append(fields)
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return Table(str(file), dict(zip(header, columns, strict=True)), lines)


def _jsonl(file: Path) -> Table:
    with _open(file, newline="\n") as text:
        numbered = [(n, _json(file, n, line)) for n, line in enumerate(text, 1) if line.strip()]
    names = dict.fromkeys(name for _, record in numbered for name in record)
    columns = {name: [record.get(name) for _, record in numbered] for name in names}
    return Table(str(file), columns, [number for number, _ in numbered])


def _json(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file}, line {number}: expected one JSON object a line, but {error.msg} at "
            f"character {error.pos + 1} of {_shortened(line.strip())}. Correct the line."
        ) from error
    if not isinstance(record, dict):
        raise InputError(
            f"{file}, line {number}: expected a JSON object such as "
            f'{{"text": "...", "label": 0}}, but got {_shortened(record)}.'
        )
    return record


def _parquet(file: Path) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        # A plain file: a folder's name such as "split=train" must not become a column.
        data = parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"{file} cannot be read as Parquet: {error}. Fetch or write it again."
        ) from error
    columns = {name: data.column(name).to_pylist() for name in data.column_names}
    return Table(str(file), columns, range(1, data.num_rows + 1), "row")


def _undecodable_line(file: Path) -> int:
    """Number of the first line that is not UTF-8: decoders work in blocks and cannot tell."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        return next(number for number, line in enumerate(lines, 1) if not _is_utf8(line))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shortened(value: Sequence[str] | str | Any, width: int = 80) -> str:
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 3] + "..."
