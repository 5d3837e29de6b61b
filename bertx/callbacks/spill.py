"""Rows that are sorted on disk, because there may be more of them than memory holds."""

import heapq
import pickle
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from torch import distributed

from bertx.callbacks.run import gather

AT_ONCE = 10_000
"""Rows that are sorted in memory and written together."""

MERGED = 64
"""Sorted files that are read at the same time."""

T = TypeVar("T", bound=Any)
"""Anything that has an order and can be pickled."""


class Sorter(Generic[T]):
    """Takes rows in any order and gives them back sorted: an external merge sort.

    Its files have no name, so that nothing is left of a run that is killed.

    Args:
        folder: Where the files are, which need as much room as the rows.

    Examples:
        >>> sorter = Sorter(Path())
        >>> sorter.add([(2, "b"), (0, "c")])
        >>> sorter.add([(1, "a")])
        >>> list(sorter)
        [(0, 'c'), (1, 'a'), (2, 'b')]
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[T] = []
        self._runs: list[IO[bytes]] = []
        self._files = ExitStack()
        weakref.finalize(self, self._files.close)

    def add(self, rows: list[T]) -> None:
        """Take some rows."""
        self._rows += rows
        if len(self._rows) >= AT_ONCE:
            self._runs.append(self._write(iter(sorted(self._rows))))
            self._rows = []

    def __iter__(self) -> Iterator[T]:
        while len(self._runs) > MERGED:
            some = [self._runs[i : i + MERGED] for i in range(0, len(self._runs), MERGED)]
            whole, self._runs = (
                self._runs,
                [self._write(heapq.merge(*map(_read, runs))) for runs in some],
            )
            for file in whole:
                file.close()
        yield from heapq.merge(sorted(self._rows), *map(_read, self._runs))

    def _write(self, rows: Iterator[T]) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._files.enter_context(tempfile.TemporaryFile(dir=self._folder))
        for row in rows:
            pickle.dump(row, file, pickle.HIGHEST_PROTOCOL)
        return file


def sorted_on_zero(own_rows: Sorter[T], folder: Path, at_once: int = 1000) -> Iterator[T]:
    """The rows of all ranks, sorted, on rank zero; no rows on the others.

    Everything is sent when the first row is asked for: a collective call, also where there are no
    rows. No rank holds more than a few rows of each.

    Args:
        own_rows: The rows of this rank.
        folder: Where rank zero may have its files.
        at_once: Rows that each rank sends at a time.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        yield from own_rows
        return
    rows, everyone = iter(own_rows), Sorter[T](folder)
    while part := gather(list(islice(rows, at_once))):
        everyone.add(part if distributed.get_rank() == 0 else [])
    yield from everyone


def _read(file: IO[bytes]) -> Iterator[Any]:
    file.seek(0)
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return
