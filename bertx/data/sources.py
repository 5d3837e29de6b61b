"""Sources of texts: data sets with a short name, any data set of the hub, or a folder."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bertx.data.eraser import EraserFolder
from bertx.data.files import SPLITS, FolderReader, arrow_table
from bertx.data.table import Table
from bertx.errors import InputError, diagnose, one_line

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

CACHE = "bertx"
"""Subfolder of the cache of ``datasets`` for data sets of which only some splits are prepared."""


@dataclass(frozen=True)
class Source:
    """The place of a data set, with its columns and classes.

    Attributes:
        path: Hub id; empty for the packaged demonstration.
        config: Name of the configuration on the hub, if there are several.
        text_column: Column of the texts; None to guess it.
        label_column: Column of the labels; None to guess it.
        labels: Names of the C classes; None for the names that the data set declares.
    """

    path: str
    config: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    labels: tuple[str, ...] | None = None


class SplitReader(Protocol):
    """Reads the splits of a data set."""

    def has(self, split: str) -> bool:
        """Return whether there is a ``train``, ``validation``, ``test`` or ``predict`` split."""
        ...

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """Read the rows of ``split``, at most ``rows`` per table; None for one table of all."""
        ...

    def names(self, column: str | None) -> Sequence[str] | None:
        """Return the class names that the label column ``column`` declares, None without any."""
        ...


DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo"
"""Reviews from a grammar, which marks the words that decide a label (tests/data/demo_grammar.py).
"""

_POLARITY = ("negative", "positive")

DATASETS: Mapping[str, Source] = {
    DEMO: Source("", None, "text", "label", _POLARITY),
    "imdb": Source("stanfordnlp/imdb", None, "text", "label", _POLARITY),
    "semeval": Source(
        "cardiffnlp/tweet_eval", "sentiment", "text", "label", ("negative", "neutral", "positive")
    ),
    "sst2": Source("stanfordnlp/sst2", None, "sentence", "label", _POLARITY),
    "sst5": Source(
        "SetFit/sst5", None, "text", "label",
        ("very negative", "negative", "neutral", "positive", "very positive"),
    ),
    "yelp5": Source(
        "Yelp/yelp_review_full", None, "text", "label",
        ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
    ),
}  # fmt: skip
"""Sentiment data sets by short name."""


def find_source(dataset: str) -> Source:
    """Return the data set of a short name or hub id (``owner/name`` or ``owner/name:config``).

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


def open_source(dataset: str | None, path: str | None) -> tuple[Source, SplitReader]:
    """Return a data set and its reader.

    Args:
        dataset: A short name or hub id (see `find_source`).
        path: A folder of local files, which are read with the columns and classes of ``dataset``.

    Raises:
        InputError: If neither is given, or there is no such data set or folder.
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


_GROUPS = {"fit": ("train", "validation"), "test": ("test", "predict")}
"""Splits that are prepared together, because one may have to replace the other."""


class HubReader:
    """Reads a data set of the hub, whose splits are downloaded on first access."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._splits: dict[str, dict[str, Dataset]] = {}

    def has(self, split: str) -> bool:
        """Return whether the data set has ``split``, under any of its usual names."""
        return self._find(split) is not None

    def tables(self, split: str, rows: int | None = None) -> Iterator[Table]:
        """Read the rows of ``split``, at most ``rows`` per table; None for one table of all.

        Raises:
            InputError: If the data set cannot be loaded, lacks the split, or the split is empty.
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
        arrow, step = data.with_format("arrow"), rows or len(data)
        for start in range(0, len(data), step):
            table = arrow_table(where, arrow[start : start + step], start + 1)
            yield replace(table, numbers=range(start, start + len(table)))

    def names(self, column: str | None) -> list[str] | None:
        """Return the class names that the label column declares, None if it declares none."""
        from datasets import ClassLabel

        for group in self._splits.values() or map(self._load, _GROUPS):
            for data in group.values():
                feature = data.features.get(column or "label")
                return list(feature.names) if isinstance(feature, ClassLabel) else None
        return None

    def _available(self) -> list[str]:
        """Return the names of all splits; without a network, of the prepared ones."""
        try:
            names = available_splits(self.source.path, self.source.config)
        except Exception:
            names = [name for group in self._splits.values() for name in group]
        return names or ["none"]

    def _find(self, split: str) -> "tuple[str, Dataset] | None":
        loaded = self._load(next(group for group, splits in _GROUPS.items() if split in splits))
        return next(((name, loaded[name]) for name in SPLITS[split] if name in loaded), None)

    def _load(self, group: str) -> "dict[str, Dataset]":
        if group not in self._splits:
            path, names = self.source.path, [n for split in _GROUPS[group] for n in SPLITS[split]]
            try:
                self._splits[group] = load_splits(path, self.source.config, names, group)
            # Network, hub, cache and builder raise unrelated types, some of other libraries.
            except Exception as error:
                reason = diagnose(error, path, "dataset") or one_line(error)
                raise InputError(
                    f"data set {path!r} cannot be loaded from the hub: {reason}. `path` "
                    "reads a local folder instead."
                ) from error
        return self._splits[group]


def load_splits(
    path: str, config: str | None, names: Collection[str], group: str
) -> "dict[str, Dataset]":
    """Load the splits of a data set that have one of some names.

    ``datasets`` prepares all splits of a data set in one folder of its cache. If that exists, it is
    used; otherwise the splits are prepared in a separate folder. Both are reused without a network.

    Args:
        path: Hub id of the data set.
        config: Its configuration; None for the only one.
        names: Names of the splits.
        group: Name of the separate folder.

    Raises:
        Exception: Of many types, if the data set cannot be found or prepared.
    """
    import datasets

    cache = str(Path(datasets.config.HF_DATASETS_CACHE, CACHE, group))
    try:
        builder = datasets.load_dataset_builder(path, config)
    except Exception:  # offline: use what was prepared before
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


def available_splits(path: str, config: str | None) -> list[str]:
    """Return the names of all splits of a data set (raises as `load_splits` does)."""
    import datasets

    builder = datasets.load_dataset_builder(path, config)
    return [str(name) for name in builder.config.data_files or builder.info.splits or ()]


def _restrict(builder: "DatasetBuilder", names: Collection[str]) -> None:
    """Let a builder prepare only some splits."""
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
