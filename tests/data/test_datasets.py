import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from bertx.data.datasets import (
    DATASETS,
    DemoReader,
    HubReader,
    Source,
    find_source,
    open_source,
)
from bertx.data.readers import FolderReader
from bertx.errors import InputError


def split(texts, labels, names=("negative", "positive")):
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


@pytest.fixture
def hub(monkeypatch):
    """Answers every load_dataset with what a test puts in, and notes what was asked for."""
    asked = []

    def load(path, config=None):
        asked.append((path, config))
        return hub_splits

    hub_splits = DatasetDict({"train": split(["good", "bad"], [1, 0])})
    monkeypatch.setattr(datasets, "load_dataset", load)
    return hub_splits, asked


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
    refuses(lambda: find_source("ss2"), "'ss2'", "sst2", "owner/name", "--data.path")


def test_what_is_opened(tmp_path):
    assert isinstance(open_source("demo", None)[1], DemoReader)
    assert isinstance(open_source("sst2", None)[1], HubReader)
    source, reader = open_source("sst2", str(tmp_path))
    assert source is DATASETS["sst2"] and isinstance(reader, FolderReader)
    refuses(lambda: open_source(None, None), "--data.dataset", "--data.path", "sst5")


def test_splits_are_loaded_once_with_their_config(hub):
    splits, asked = hub
    splits["dev"] = split(["so so"], [0])
    reader = HubReader(DATASETS["semeval"])
    assert asked == []
    assert reader.has("train") and reader.has("validation") and not reader.has("test")
    table = reader.read("validation")
    assert list(table.columns["text"]) == ["so so"]
    assert table.where(0) == "cardiffnlp/tweet_eval (dev), row 1"
    assert asked == [("cardiffnlp/tweet_eval", "sentiment")]


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
    refuses(lambda: reader.read("validation"), "a/b", "no validation split", "train, test")
    refuses(lambda: reader.read("test"), "a/b (test)", "empty")


@pytest.mark.parametrize(
    "error, reason",
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "Couldn't reach 'a/b' on the Hub"),
        (FileNotFoundError("Dataset 'a/b' is nowhere"), "Dataset 'a/b' is nowhere"),
        (ValueError("BuilderConfig 'x' not found.\nmore"), "BuilderConfig 'x' not found"),
        (RuntimeError("Dataset scripts are no longer supported"), "code of its own"),
    ],
)
def test_failure_to_load_says_what_else_works(monkeypatch, error, reason):
    def fail(path, config=None):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    refuses(lambda: HubReader(Source("a/b")).read("train"), "'a/b'", reason, "--data.path DIR")


def test_no_network_is_an_input_error(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    refuses(lambda: HubReader(Source("a/b")).read("train"), "'a/b'", "hub", "--data.path DIR")


def test_demo():
    reader = DemoReader()
    table = reader.read("validation")
    assert reader.names(None) == ["negative", "positive"]
    assert len(table) == 300 == len(table.rationales)
    assert reader.has("test") and not reader.has("predict")
    refuses(lambda: reader.read("predict"), "demo", "predict")
