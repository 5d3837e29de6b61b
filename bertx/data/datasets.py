"""The data sets that bertx knows by a short name, and loading any other from the hub."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bertx.data.eraser import EraserFolder
from bertx.data.folder import SPLITS
from bertx.data.hub import load_splits, split_names
from bertx.data.table import Column, Table
from bertx.errors import InputError, one_line, why

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Source:
    """Where a data set is and what it looks like.

    Attributes:
        path: Its id on the hub; empty for the packaged demonstration.
        config: Name of its configuration on the hub, if it has several.
        text_column: Column of the texts; None: guessed.
        label_column: Column of the labels; None: guessed.
        labels: Names of its C classes; None: what the data set declares.
    """

    path: str
    config: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    labels: tuple[str, ...] | None = None


class Reader(Protocol):
    """What reads the splits of a data set."""

    def has(self, split: str) -> bool:
        """Whether there is a ``train``, ``validation``, ``test`` or ``predict`` split."""
        ...

    def read(self, split: str) -> Table:
        """The rows of ``split``."""
        ...

    def stream(self, split: str, rows: int) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time."""
        ...

    def names(self, column: str | None) -> Sequence[str] | None:
        """Names of the classes that label column ``column`` declares, if it does."""
        ...


DEMO = "demo"

DATASETS: Mapping[str, Source] = {
    DEMO: Source("", None, "text", "label", ("negative", "positive")),
    "imdb": Source("stanfordnlp/imdb", None, "text", "label", ("negative", "positive")),
    "semeval": Source(
        "cardiffnlp/tweet_eval", "sentiment", "text", "label", ("negative", "neutral", "positive")
    ),
    "sst2": Source("stanfordnlp/sst2", None, "sentence", "label", ("negative", "positive")),
    "sst5": Source(
        "SetFit/sst5",
        None,
        "text",
        "label",
        ("very negative", "negative", "neutral", "positive", "very positive"),
    ),
    "yelp5": Source(
        "Yelp/yelp_review_full",
        None,
        "text",
        "label",
        ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
    ),
}
"""Sentiment data sets by their short names."""


def find_source(dataset: str) -> Source:
    """The data set of a short name, or of a hub id (``owner/name`` or ``owner/name:config``).

    Raises:
        InputError: If it is neither.

    Examples:
        >>> find_source("cardiffnlp/tweet_eval:emotion").config
        'emotion'
    """
    if dataset in DATASETS:
        return DATASETS[dataset]
    path, _, config = dataset.partition(":")
    if "/" not in path:
        raise InputError(
            f"unknown data set {dataset!r}: expected {', '.join(sorted(DATASETS))} or a hub id "
            "such as owner/name. `path` reads a local folder."
        )
    return Source(path, config or None)


def open_source(dataset: str | None, path: str | None) -> tuple[Source, Reader]:
    """What a data set looks like, and what reads it.

    Args:
        dataset: A short name or hub id (see `find_source`).
        path: A folder of local files, read instead of what ``dataset`` names.

    Raises:
        InputError: If neither is given, or one of them names nothing.
    """
    if not dataset and not path:
        raise InputError(
            "no data: expected `dataset` "
            f"({', '.join(sorted(DATASETS))} or a hub id) or `path` (a folder), but got neither."
        )
    source = find_source(dataset) if dataset else Source("")
    if path:
        return source, EraserFolder(path)
    return source, DemoReader() if dataset == DEMO else HubReader(source)


_TOGETHER = {"fit": ("train", "validation"), "test": ("test", "predict")}
"""What is prepared together, as one of two may have to stand in for the other."""


class HubReader:
    """A data set of the hub, of which splits are downloaded when they are first asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._splits: dict[str, Mapping[str, Dataset]] = {}

    def has(self, split: str) -> bool:
        """Whether the data set has ``split``, under any of its usual names."""
        return self._find(split) is not None

    def read(self, split: str) -> Table:
        """The rows of ``split``.

        Raises:
            InputError: If the data set cannot be loaded or has no such split or no rows.
        """
        (table,) = self.stream(split, None)
        return table

    def stream(self, split: str, rows: int | None) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time (raises as `read` does)."""
        found = self._find(split)
        if found is None:
            raise InputError(
                f"data set {self.source.path}: no {split} split; it has {', '.join(self._known())}."
            )
        name, data = found
        where = f"{self.source.path} ({name})"
        if not len(data):
            raise InputError(f"{where}: expected at least one row, but the split is empty.")
        step = rows or len(data)
        for start in range(0, len(data), step):
            numbers = range(start + 1, min(start + step, len(data)) + 1)
            columns = {
                column: Column(len(numbers), partial(_values, data, column, start, start + step))
                for column in data.column_names
            }
            yield Table(where, columns, numbers, "row")

    def names(self, column: str | None) -> list[str] | None:
        """Names of the classes, if the data set declares them for its label column."""
        from datasets import ClassLabel

        groups = self._splits.values() or [self._load(together) for together in _TOGETHER]
        features: Mapping[str, Any] = next(
            (data.features for group in groups for data in group.values()), {}
        )
        feature = features.get(column or "label")
        return list(feature.names) if isinstance(feature, ClassLabel) else None

    def _known(self) -> list[str]:
        """The names of all splits; without a network, of those that were asked for."""
        try:
            names: list[str] = self._reached(split_names)
        except InputError:
            names = [name for group in self._splits.values() for name in group]
        return names or ["none"]

    def _find(self, split: str) -> "tuple[str, Dataset] | None":
        loaded = self._load(next(name for name, own in _TOGETHER.items() if split in own))
        return next(((name, loaded[name]) for name in SPLITS[split] if name in loaded), None)

    def _load(self, together: str) -> "Mapping[str, Dataset]":
        if together not in self._splits:
            names = [name for split in _TOGETHER[together] for name in SPLITS[split]]
            load = partial(load_splits, names=names, together=together)
            self._splits[together] = self._reached(load)
        return self._splits[together]

    def _reached(self, ask: Callable[[str, str | None], Any]) -> Any:
        """What the hub or its cache answers."""
        path, config = self.source.path, self.source.config
        try:
            return ask(path, config)
        # Network, hub, cache and builder fail with unrelated types, some of other libraries.
        except Exception as error:
            reason = why(error, path, "dataset") or one_line(error)
            raise InputError(
                f"data set {path!r} cannot be loaded from the hub: {reason}. `path` "
                "reads a local folder instead."
            ) from error


def _values(data: "Dataset", column: str, start: int, stop: int) -> list[Any]:
    values: list[Any] = data.select_columns([column])[start:stop][column]
    return values


class DemoReader:
    """The packaged demonstration (see `bertx.data.demo`)."""

    def has(self, split: str) -> bool:
        """Whether the demonstration has ``split``."""
        return split in ("train", "validation", "test")

    def read(self, split: str) -> Table:
        """The rows of ``split``, with rationales.

        Raises:
            InputError: If there is no such split.
        """
        from bertx.data.demo import demo_splits

        if not self.has(split):
            raise InputError(f"the demo data set has no {split} split. Use `path`.")
        rows = demo_splits()[split]
        columns: dict[str, Sequence[Any]] = {
            "text": [row.text for row in rows],
            "label": [row.label for row in rows],
        }
        lines = range(1, len(rows) + 1)
        return Table(f"demo ({split})", columns, lines, "row", [row.rationale for row in rows])

    def stream(self, split: str, rows: int) -> Iterator[Table]:
        """The rows of ``split``, which are few, at once."""
        yield self.read(split)

    def names(self, column: str | None) -> list[str]:
        """Names of its classes."""
        return list(DATASETS[DEMO].labels or ())
