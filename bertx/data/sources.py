"""Where texts come from: data sets with a short name, any other of the hub, or a folder."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bertx.data.eraser import EraserFolder
from bertx.data.files import SPLITS, FolderReader
from bertx.data.table import Column, Table
from bertx.errors import InputError, one_line, why

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

PLACE = "bertx"
"""The folder within the cache of ``datasets`` that has what was prepared of a data set."""


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

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time; None: all in one table."""
        ...

    def names(self, column: str | None) -> Sequence[str] | None:
        """Names of the classes that label column ``column`` declares, if it does."""
        ...


DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo"
"""Reviews of which a grammar knows what decides their labels (see tests/data/demo_grammar.py)."""

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
    return source, FolderReader(str(DEMO_FOLDER)) if dataset == DEMO else HubReader(source)


_TOGETHER = {"fit": ("train", "validation"), "test": ("test", "predict")}
"""What is prepared together, as one of two may have to stand in for the other."""


class HubReader:
    """A data set of the hub, of which splits are downloaded when they are first asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._splits: dict[str, dict[str, Dataset]] = {}

    def has(self, split: str) -> bool:
        """Whether the data set has ``split``, under any of its usual names."""
        return self._find(split) is not None

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """The rows of ``split``, at most ``rows`` at a time; None: all in one table.

        Raises:
            InputError: If the data set cannot be loaded or has no such split or no rows.
        """
        match = self._find(split)
        if match is None:
            raise InputError(
                f"data set {self.source.path}: no {split} split; it has "
                f"{', '.join(self._available())}."
            )
        name, data = match
        where = f"{self.source.path} ({name})"
        if not len(data):
            raise InputError(f"{where}: expected at least one row, but the split is empty.")
        step = rows or len(data)
        for start in range(0, len(data), step):
            numbers = range(start, min(start + step, len(data)))
            columns = {
                column: Column(len(numbers), partial(_values, data, column, numbers))
                for column in data.column_names
            }
            lines = range(numbers.start + 1, numbers.stop + 1)
            yield Table(where, columns, lines, "row", numbers=numbers)

    def names(self, column: str | None) -> list[str] | None:
        """Names of the classes, if the data set declares them for its label column."""
        from datasets import ClassLabel

        groups = self._splits.values() or map(self._load, _TOGETHER)
        features: Mapping[str, Any] = next(
            (data.features for group in groups for data in group.values()), {}
        )
        feature = features.get(column or "label")
        return list(feature.names) if isinstance(feature, ClassLabel) else None

    def _available(self) -> list[str]:
        """The names of all splits; without a network, of those that were asked for."""
        try:
            names = split_names(self.source.path, self.source.config)
        except Exception:
            names = [name for group in self._splits.values() for name in group]
        return names or ["none"]

    def _find(self, split: str) -> "tuple[str, Dataset] | None":
        loaded = self._load(next(name for name, parts in _TOGETHER.items() if split in parts))
        return next(((name, loaded[name]) for name in SPLITS[split] if name in loaded), None)

    def _load(self, together: str) -> "dict[str, Dataset]":
        if together not in self._splits:
            path, names = self.source.path, [n for s in _TOGETHER[together] for n in SPLITS[s]]
            try:
                self._splits[together] = load_splits(path, self.source.config, names, together)
            # Network, hub, cache and builder fail with unrelated types, some of other libraries.
            except Exception as error:
                reason = why(error, path, "dataset") or one_line(error)
                raise InputError(
                    f"data set {path!r} cannot be loaded from the hub: {reason}. `path` "
                    "reads a local folder instead."
                ) from error
        return self._splits[together]


def load_splits(
    path: str, config: str | None, names: Collection[str], together: str
) -> "dict[str, Dataset]":
    """Some splits of a data set, those of the names that it has.

    ``datasets`` prepares all splits of a data set in one folder of its cache. What is there is
    used; if there is nothing, the splits are prepared in a folder of their own. Both are found
    again without a network.

    Args:
        path: The id of the data set.
        config: Its configuration, None for the only one.
        names: The splits.
        together: What they are called together, which names the folder.

    Raises:
        Exception: Of many kinds, if the data set cannot be found or prepared.
    """
    import datasets

    cache = str(Path(datasets.config.HF_DATASETS_CACHE, PLACE, together))
    try:
        builder = datasets.load_dataset_builder(path, config)
    except Exception:  # out of reach: what was prepared before will do
        with suppress(Exception):
            return _loaded(datasets.load_dataset_builder(path, config, cache_dir=cache), names)
        raise
    if Path(builder.cache_dir).exists() or not builder.config.data_files:
        builder.download_and_prepare()
        return _loaded(builder, names)
    part = datasets.load_dataset_builder(path, config, cache_dir=cache)
    _restrict(part, names)
    if not part.config.data_files:
        return {}
    part.download_and_prepare()
    return _loaded(part, names)


def split_names(path: str, config: str | None) -> list[str]:
    """The names of all splits of a data set (raises as `load_splits` does)."""
    import datasets

    builder = datasets.load_dataset_builder(path, config)
    return [str(name) for name in builder.config.data_files or builder.info.splits or ()]


def _restrict(builder: "DatasetBuilder", names: Collection[str]) -> None:
    """Leave all but some splits out of what a builder prepares."""
    from datasets.data_files import DataFilesDict
    from datasets.splits import SplitDict

    files: Any = builder.config.data_files
    builder.config.data_files = DataFilesDict({n: files[n] for n in files if n in names})
    if builder.info.splits:
        kept = {name: split for name, split in builder.info.splits.items() if name in names}
        builder.info.splits = SplitDict(kept)


def _loaded(builder: "DatasetBuilder", names: Collection[str]) -> "dict[str, Dataset]":
    splits: Any = builder.as_dataset()
    return {name: splits[name] for name in splits if name in names}


def _values(data: "Dataset", column: str, rows: range) -> list[Any]:
    values: list[Any] = data.select_columns([column])[rows.start : rows.stop][column]
    return values
