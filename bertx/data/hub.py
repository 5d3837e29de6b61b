"""Splits of a hub's data set: those that are asked for are downloaded and prepared, no others."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder

PLACE = "bertx"
"""The folder within the cache of ``datasets`` that has what was prepared of a data set."""


def load_splits(
    path: str, config: str | None, names: Collection[str], together: str
) -> "Mapping[str, Dataset]":
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


def _loaded(builder: "DatasetBuilder", names: Collection[str]) -> "Mapping[str, Dataset]":
    splits: Any = builder.as_dataset()
    return {name: splits[name] for name in splits if name in names}
