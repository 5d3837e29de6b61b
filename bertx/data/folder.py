"""Which files of a folder are a split: one, or the shards of one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bertx.data.readers import ENDINGS, SPREADSHEETS, spreadsheet, stream_tables
from bertx.data.table import Table, joined
from bertx.errors import InputError

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
    rf"({'|'.join(name for names in SPLITS.values() for name in names)})"
    rf"(?:-(\d+)-of-(\d+)(?:-\w+)?)?\.({'|'.join(map(re.escape, (*ENDINGS, *SPREADSHEETS)))})"
)


class FileName(NamedTuple):
    """What the name of a file says.

    Attributes:
        stem: The name of the split.
        part: The number of the shard, and
        parts: how many there are; 0 for a whole split.
        ending: What the file is.
    """

    stem: str
    part: int
    parts: int
    ending: str

    @classmethod
    def of(cls, path: Path) -> "FileName | None":
        """Read the name of a file, if it is one of a split."""
        found = _NAME.fullmatch(path.name)
        if found is None:
            return None
        stem, part, parts, ending = found.groups()
        return cls(stem, int(part or 0), int(parts or 0), ending)


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

    def read(self, split: str) -> Table:
        """The rows of ``split``.

        Raises:
            InputError: If there is no file for the split, or there are several that are no shards
                of one, or it cannot be read.
        """
        files = self._only(split)
        tables = list(_tables(files, None))
        if len(files) == 1:
            return tables[0]
        together = re.sub(r"-\d+-of-", "-*-of-", files[0].name)
        return joined(str(files[0].with_name(together)), tables)

    def stream(self, split: str, rows: int) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time (raises as `read` does)."""
        return _tables(self._only(split), rows)

    def names(self, column: str | None) -> None:
        """Files do not declare the names of their labels."""

    def _only(self, split: str) -> list[Path]:
        """The file of a split, or its shards in their order."""
        files = self._files(split)
        if not files:
            raise InputError(
                f"data folder {self.folder}: no file for the {split} split. Expected "
                f"{'|'.join(SPLITS[split])} with an ending of {', '.join(ENDINGS)}; "
                f"found: {self._found()}."
            )
        if foreign := [file for file in files if file.name.endswith(SPREADSHEETS)]:
            raise spreadsheet(foreign[0])
        names = [name for file in files if (name := FileName.of(file))]
        if len({(name.stem, name.parts, name.ending) for name in names}) > 1:
            raise InputError(
                f"data folder {self.folder}: {' and '.join(file.name for file in files[:5])} are "
                f"all the {split} split. Keep one of them."
            )
        if [name.part for name in names] != list(range(names[0].parts or 1)):
            raise InputError(
                f"data folder {self.folder}: expected {names[0].parts} shards of the {split} "
                f"split, each once, but found {', '.join(file.name for file in files[:20])}. Fetch "
                "all of them."
            )
        return files

    def _files(self, split: str) -> list[Path]:
        for folder in (self.folder, self.folder / DATA):
            named = [(path, FileName.of(path)) for path in sorted(folder.glob("*"))]
            if any(name for _, name in named):
                stems = SPLITS[split]
                return [path for path, name in named if name and name.stem in stems]
        return []

    def _found(self) -> str:
        names = sorted(path.name for path in self.folder.iterdir())
        return ", ".join(names[:20] + ["..."] * (len(names) > 20)) or "nothing"


def _tables(files: list[Path], rows: int | None) -> Iterator[Table]:
    for file in files:
        yield from stream_tables(file, rows)
