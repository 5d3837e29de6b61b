import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from bertx.data.files import FolderReader
from bertx.data.sources import (
    DATASETS,
    DEMO_FOLDER,
    HubReader,
    Source,
    find_source,
    open_source,
)
from bertx.errors import InputError


def split(texts, labels, names=("negative", "positive")):
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


@pytest.fixture
def hub(monkeypatch):
    """Has the splits that a test puts in, and notes what was asked for."""
    asked = []

    def load(path, config, names, together):
        asked.append((path, config, together))
        return {name: data for name, data in hub_splits.items() if name in names}

    hub_splits = DatasetDict({"train": split(["good", "bad"], [1, 0])})
    monkeypatch.setattr("bertx.data.sources.load_splits", load)
    monkeypatch.setattr("bertx.data.sources.available_splits", lambda path, config: [*hub_splits])
    return hub_splits, asked


def read(reader, split):
    (table,) = reader.tables(split)
    return table


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "name, path, config, classes",
    [
        ("sst2", "stanfordnlp/sst2", None, 2),
        ("sst5", "SetFit/sst5", None, 5),
        ("semeval", "cardiffnlp/tweet_eval", "sentiment", 3),
        ("imdb", "stanfordnlp/imdb", None, 2),
        ("yelp5", "Yelp/yelp_review_full", None, 5),
        ("demo", "", None, 2),
    ],
)
def test_known_data_sets(name, path, config, classes):
    source = DATASETS[name]
    assert (source.path, source.config, len(source.labels)) == (path, config, classes)
    assert find_source(name) is source


def test_any_other_name_is_a_hub_id():
    assert find_source("owner/name") == Source("owner/name")
    assert find_source("owner/name:part") == Source("owner/name", "part")
    refuses(lambda: find_source("ss2"), "'ss2'", "sst2", "owner/name", "`path`")


def test_what_is_opened(tmp_path):
    assert open_source("demo", None)[1].folder == DEMO_FOLDER
    assert isinstance(open_source("sst2", None)[1], HubReader)
    source, reader = open_source("sst2", str(tmp_path))
    assert source is DATASETS["sst2"] and isinstance(reader, FolderReader)
    refuses(lambda: open_source(None, None), "`dataset`", "`path`", "sst5")


def test_splits_are_loaded_once_with_their_config(hub):
    splits, asked = hub
    splits["dev"] = split(["so so"], [0])
    reader = HubReader(DATASETS["semeval"])
    assert asked == []
    assert reader.has("train") and reader.has("validation") and not reader.has("test")
    table = read(reader, "validation")
    assert list(table.columns["text"]) == ["so so"]
    assert table.where(0) == "cardiffnlp/tweet_eval (dev), row 1"
    assert asked == [("cardiffnlp/tweet_eval", "sentiment", name) for name in ("fit", "test")]


def test_names_come_from_the_class_labels(hub):
    splits, _ = hub
    assert HubReader(Source("a/b")).names(None) == ["negative", "positive"]
    assert HubReader(Source("a/b")).names("text") is None
    assert HubReader(Source("a/b")).names("other") is None
    splits["train"] = Dataset.from_dict({"text": ["a"], "label": [0]})
    assert HubReader(Source("a/b")).names("label") is None


def test_missing_and_empty_split(hub):
    splits, _ = hub
    splits["test"] = split([], [])
    reader = HubReader(Source("a/b"))
    refuses(lambda: read(reader, "validation"), "a/b", "no validation split", "train, test")
    refuses(lambda: read(reader, "test"), "a/b (test)", "empty")


@pytest.mark.parametrize(
    "error, reason",
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "Couldn't reach 'a/b' on the Hub"),
        (FileNotFoundError("Dataset 'a/b' is nowhere"), "Dataset 'a/b' is nowhere"),
        (ValueError("BuilderConfig 'x' not found.\nmore"), "BuilderConfig 'x' not found"),
        (RuntimeError("Dataset scripts are no longer supported"), "custom Python code"),
    ],
)
def test_failure_to_load_says_what_else_works(monkeypatch, error, reason):
    def fail(*_, **settings):
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    refuses(lambda: read(HubReader(Source("a/b")), "train"), "'a/b'", reason, "`path`")


def test_no_network_is_an_input_error(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    refuses(lambda: read(HubReader(Source("a/b")), "train"), "'a/b'", "hub", "`path`")


# A data set in a folder is prepared as one of the hub is


@pytest.fixture
def cache(tmp_path, monkeypatch):
    place = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place)
    return place


def save(folder, **splits):
    for name, data in splits.items():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        data.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return Source(str(folder))


def prepared(cache):
    return sorted(file.stem.partition("-")[2] for file in cache.rglob("*.arrow"))


def test_only_what_is_asked_for_is_prepared(tmp_path, cache):
    texts = split(["good", "bad"], [1, 0])
    source = save(tmp_path / "reviews", train=texts, test=texts, extra=texts)
    reader = HubReader(source)
    assert list(read(reader, "test").columns["label"]) == [1, 0] and prepared(cache) == ["test"]
    assert not reader.has("predict") and reader.names(None) == ["negative", "positive"]
    assert prepared(cache) == ["test"]
    assert list(read(reader, "train").columns["text"]) == ["good", "bad"]
    assert not reader.has("validation") and prepared(cache) == ["test", "train"]
    refuses(lambda: read(reader, "validation"), "no validation split; it has train, test, extra")


def test_what_was_prepared_whole_is_used(tmp_path, cache):
    source = save(tmp_path / "reviews", train=split(["good"], [1]), test=split(["bad"], [0]))
    datasets.load_dataset(source.path, cache_dir=str(cache))
    files = prepared(cache)
    assert len(read(HubReader(source), "train")) == 1 and prepared(cache) == files


def test_what_was_prepared_is_found_without_the_hub(tmp_path, cache, monkeypatch):
    source = save(tmp_path / "reviews", train=split(["good"], [1]))
    assert len(read(HubReader(source), "train")) == 1
    real = datasets.load_dataset_builder

    def offline(path, config, cache_dir=None):
        if cache_dir is None:
            raise ConnectionError("no network")
        builder = real(path, config, cache_dir=cache_dir)
        builder.config.data_files = None  # which only the hub knows
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", offline)
    reader = HubReader(source)
    assert len(read(reader, "train")) == 1 and not reader.has("validation")
    refuses(lambda: read(reader, "validation"), "no validation split; it has train")
    refuses(lambda: reader.has("test"), "no network")


def test_columns_that_nobody_asks_for_are_not_decoded(hub):
    splits, _ = hub
    features = Features({"text": Value("string"), "picture": Image()})
    splits["test"] = Dataset.from_dict(
        {"text": ["a"], "picture": [{"bytes": b"no picture", "path": None}]}, features=features
    )
    table = read(HubReader(Source("a/b")), "test")
    assert list(table.columns) == ["text", "picture"] and table.columns["text"][:] == ["a"]


def test_demo():
    source, reader = open_source("demo", None)
    table = read(reader, "validation")
    assert source.labels == ("negative", "positive") and len(table) == 300
    assert {*table.columns} == {"text", "label", "rationale"}
    assert reader.has("test") and not reader.has("predict")
    refuses(lambda: read(reader, "predict"), "demo", "predict")
