import json
import logging

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from bertx.data import DATASETS, LengthBucketSampler, TextDataModule
from bertx.data.files import FolderReader
from bertx.errors import InputError
from tests.data.conftest import MINILM


def module(**settings):
    return TextDataModule(MINILM, **settings)


def write(folder, name, *rows, header="text\tlabel"):
    (folder / name).write_text("\n".join([header, *rows, ""]), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train.tsv", *(f"a good film {i}\t1" for i in range(6)), "a bad film\t0")
    write(tmp_path, "dev.tsv", "fine\t1", "dull\t0")
    write(tmp_path, "test.tsv", "so good\t1")
    return tmp_path


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def rows(data):
    return list(zip(data.texts, data.labels, strict=True))


def predicted(**settings):
    """The texts and labels of the predict stage, as the batches hold them."""
    loader = setup("predict", **settings).predict_dataloader()
    found = {
        int(index): (text, int(label))
        for batch in loader
        for index, text, label in zip(batch["index"], batch["text"], batch["labels"], strict=True)
    }
    return [found[index] for index in range(len(loader.dataset))]


def setup(stage="fit", **settings):
    data = module(**settings)
    data.setup(stage)
    return data


# What is loaded


def test_fit_loads_training_and_validation_only(folder):
    (folder / "test.tsv").write_text("broken")
    data = setup(path=str(folder))
    assert rows(data.dataset_of("validation")) == [("fine", 1), ("dull", 0)]
    assert len(data.dataset_of("train")) == 7
    with pytest.raises(RuntimeError, match="test split is not set up"):
        data.dataset_of("test")


@pytest.mark.parametrize("stage", ["validate", TrainerFn.VALIDATING])
def test_validate_needs_no_training_file(folder, stage):
    (folder / "train.tsv").unlink()
    data = setup(stage, path=str(folder), dataset="sst2")
    assert len(data.dataset_of("validation")) == 2


def test_each_file_is_read_once(folder, monkeypatch):
    real, read = FolderReader.tables, []
    noting = lambda self, *args: read.append(args[0]) or real(self, *args)  # noqa: E731
    monkeypatch.setattr(FolderReader, "tables", noting)
    data = module(path=str(folder))
    data.setup("fit")
    data.setup("test")
    assert data.labels == ["0", "1"] and read == ["train", "validation", "test"]


def test_predict_prefers_its_own_file(folder):
    assert predicted(path=str(folder)) == [("so good", 1)]
    write(folder, "predict.tsv", "what is this", header="text")
    assert predicted(path=str(folder)) == [("what is this", -100)]


def test_predict_keeps_texts_without_a_label(folder):
    write(folder, "test.tsv", "so good\t1", "who knows\t")
    assert predicted(path=str(folder)) == [("so good", 1), ("who knows", -100)]
    assert setup("test", path=str(folder)).dataset_of("test").labels == [1]


def test_files_with_the_columns_and_names_of_a_data_set(tmp_path):
    rows_ = ["a\tgood\t1\tx", "b\tbad\t0\ty"]
    write(tmp_path, "train.tsv", *rows_, header="text\tsentence\tlabel\tlabel_text")
    write(tmp_path, "dev.tsv", *rows_, header="text\tsentence\tlabel\tlabel_text")
    data = setup(path=str(tmp_path), dataset="sst2")
    assert data.labels == ["negative", "positive"]
    assert rows(data.dataset_of("train")) == [("good", 1), ("bad", 0)]


def test_named_columns(tmp_path):
    write(tmp_path, "train.tsv", "x\tgood\tup", "y\tbad\tdown", header="text\treview\tmood")
    data = module(path=str(tmp_path), text_column="review", label_column="mood")
    assert data.labels == ["down", "up"]
    wrong = module(path=str(tmp_path), text_column="reveiw", label_column="mood")
    refuses(lambda: wrong.setup("fit"), "'reveiw'", "'review'", "`text_column`")


# The names of the classes


def test_names_from_settings_then_table_then_file(folder):
    assert module(path=str(folder), labels=["bad", "good"]).labels == ["bad", "good"]
    assert module(path=str(folder), dataset="imdb").labels == ["negative", "positive"]
    assert module(path=str(folder)).labels == ["0", "1"]


def test_known_names_need_no_file(tmp_path):
    assert module(path=str(tmp_path), dataset="sst5").labels == list(DATASETS["sst5"].labels)
    unknown = module(path=str(tmp_path))
    refuses(lambda: unknown.labels, "no train split", "`labels`")


def test_labels_exceed_the_names(folder):
    write(folder, "dev.tsv", "fine\t1", "odd\t2")
    refuses(lambda: setup(path=str(folder)), "dev.tsv, line 3", "unknown label '2'")
    named = {"path": str(folder), "dataset": "sst2"}
    refuses(lambda: setup(**named), "dev.tsv, line 3", "label 2", "outside the 2 classes")


# Rows that cannot be used


def test_useless_texts_never_shift_labels(folder, caplog):
    write(
        folder, "train.tsv", "good\t1", "\t0", "   \t0", "bad\t0", "[CLS] [SEP]\t1", "\u200b\t1",
        "fine\t1",
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = setup(path=str(folder)).dataset_of("train")
    assert rows(data) == [("good", 1), ("bad", 0), ("fine", 1)]
    assert [data[i]["index"] for i in range(3)] == [0, 1, 2]
    (line,) = caplog.messages
    assert line.startswith("train: 4 of 7 texts are without a word")
    assert line.endswith(f"the first is {folder}/train.tsv, line 3")


def test_overlong_texts_are_reported_in_one_line(folder, caplog):
    write(folder, "train.tsv", *["good " * 300 + "\t1"] * 12, *["bad\t0"] * 1988)
    with caplog.at_level(logging.INFO, "bertx.data"):
        setup(path=str(folder))
    assert caplog.messages == [
        "train: 12 of 2,000 texts are longer than 128 tokens (max_length) and are cut"
    ]


def test_unlabelled_rows_are_left_out_of_training(folder, caplog):
    write(folder, "train.tsv", "good\t1", "what\t", "bad\t0")
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = setup(path=str(folder)).dataset_of("train")
    assert rows(data) == [("good", 1), ("bad", 0)]
    assert caplog.messages == ["train: 1 of 3 texts are without a label and are left out"]


def test_other_processes_report_nothing(folder, caplog, monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    write(folder, "train.tsv", "good\t1", "\t0", "bad\t0")
    setup(path=str(folder))
    assert not caplog.messages


def test_no_usable_text(folder):
    write(folder, "dev.tsv", " \t1", "[SEP]\t0")
    refuses(lambda: setup(path=str(folder)), "dev.tsv", "all 2 are without a word")


def test_no_label_at_all(folder):
    write(folder, "train.tsv", "good\t-1", "bad\t-1")
    named = {"path": str(folder), "dataset": "sst2"}
    refuses(
        lambda: setup(**named),
        "train: expected labels",
        "all its labels are unknown",
        "predict takes texts",
    )
    write(folder, "train.tsv", "good", "bad", header="text")
    refuses(lambda: setup(**named), "train.tsv", "label column", "'text'")


def test_only_one_class(folder):
    write(folder, "train.tsv", "good\t1", "great\t1")
    named = {"path": str(folder), "dataset": "sst2"}
    refuses(lambda: setup(**named), "at least two classes", "all 2 are 'positive'")


@pytest.mark.parametrize("test", [("sentence", "good"), ("sentence\tlabel", "good\t-1")])
def test_test_stage_needs_labels(folder, test):
    header, row = test
    write(folder, "test.tsv", row, header=header)
    data = module(path=str(folder), dataset="sst2")
    refuses(lambda: data.setup("test"), "test: expected labels", "predict takes texts")
    assert predicted(path=str(folder), dataset="sst2") == [("good", -100)]


def test_validation_without_labels(folder):
    write(folder, "dev.tsv", "good", header="text")
    refuses(lambda: setup("validate", path=str(folder)), "validation: expected labels", "dev.tsv",
            "label column", "'text'", "predict takes texts")  # fmt: skip


def test_minus_one_is_a_class_of_files(tmp_path):
    write(tmp_path, "train.tsv", "bad\t-1", "so so\t0", "good\t1", "dull\t-1")
    write(tmp_path, "dev.tsv", "awful\t-1", "fine\t1")
    data = setup(path=str(tmp_path))
    assert data.labels == ["-1", "0", "1"]
    assert data.dataset_of("train").labels == [0, 1, 2, 0]
    assert data.dataset_of("validation").labels == [0, 2]
    two = module(path=str(tmp_path), labels=["negative", "positive"])
    refuses(lambda: two.setup("fit"), "train.tsv, line 2", "label -1", "not one of the classes")


def test_missing_texts_are_skipped_like_empty_ones(tmp_path, caplog):
    rows_ = [
        {"text": t, "label": n} for t, n in (("good", 1), (None, 0), ("bad", 0), ("odd", None))
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows_))
    with caplog.at_level(logging.INFO, "bertx.data"):
        data = setup(path=str(tmp_path))
    assert rows(data.dataset_of("train")) == [("good", 1), ("bad", 0)]
    wordless, unlabelled, *_ = caplog.messages
    assert wordless.startswith("train: 1 of 4 texts") and wordless.endswith("train.json, row 2")
    assert unlabelled == "train: 1 of 3 texts are without a label and are left out"


def test_classes_that_look_like_one_are_reported(folder, caplog):
    write(folder, "train.tsv", "good\tup", "bad\tdown", "great\tUp ")
    with caplog.at_level(logging.INFO, "bertx.data"):
        assert module(path=str(folder)).labels == ["Up", "down", "up"]
    (line,) = caplog.messages
    assert line.startswith(f"{folder}/train.tsv: 'Up', 'up' are different classes")


@pytest.mark.parametrize(
    "settings, parts",
    [
        ({}, ["`dataset`", "`path`"]),
        ({"dataset": "nothing"}, ["'nothing'"]),
        ({"path": "/no/such/folder"}, ["/no/such/folder", "does not exist"]),
        ({"dataset": "demo", "batch_size": 0}, ["`batch_size`", "0"]),
        ({"dataset": "demo", "token_budget": 127}, ["`token_budget`", "128", "127"]),
        ({"dataset": "demo", "train_examples": -1}, ["`train_examples`", "-1"]),
        ({"dataset": "demo", "validation_fraction": 1.0}, ["`validation_fraction`", "1.0"]),
        ({"dataset": "demo", "labels": ["one"]}, ["`labels`", "['one']"]),
        ({"dataset": "demo", "labels": ["a", "a"]}, ["`labels`", "different"]),
    ],
)
def test_settings_are_checked_at_once(settings, parts):
    refuses(lambda: module(**settings), *parts)


# Held-out and chosen rows


@pytest.fixture
def imdb(monkeypatch):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})

    def split(count, label):
        columns = {"text": [f"review {i}" for i in range(count)], "label": label}
        return Dataset.from_dict(columns, features=features)

    splits = DatasetDict(
        train=split(200, [0] * 150 + [1] * 50), test=split(4, [0, 1, 0, 1]),
        unsupervised=split(3, [-1] * 3),
    )  # fmt: skip
    monkeypatch.setattr(
        "bertx.data.sources.load_splits",
        lambda path, config, names, together: {n: d for n, d in splits.items() if n in names},
    )
    return splits


def test_validation_is_held_out_by_class(imdb):
    data = setup(dataset="imdb")
    train, held = data.dataset_of("train"), data.dataset_of("validation")
    assert len(train) == 180 and len(held) == 20
    assert sorted(train.texts + held.texts) == sorted(imdb["train"]["text"])
    assert held.labels.count(1) == 5
    truth = dict(zip(imdb["train"]["text"], imdb["train"]["label"], strict=True))
    assert all(truth[text] == label for text, label in rows(train) + rows(held))


def test_validate_holds_out_the_same_rows_as_fit(imdb):
    fit, validate = setup(dataset="imdb"), setup("validate", dataset="imdb")
    assert rows(fit.dataset_of("validation")) == rows(validate.dataset_of("validation"))
    other = setup(dataset="imdb", seed=1)
    assert rows(fit.dataset_of("validation")) != rows(other.dataset_of("validation"))


def test_test_split_of_the_hub(imdb):
    assert setup("test", dataset="imdb").dataset_of("test").labels == [0, 1, 0, 1]


def test_names_of_a_hub_set_that_the_table_does_not_know(imdb):
    assert module(dataset="owner/name").labels == ["neg", "pos"]


def test_examples_are_a_seeded_choice(imdb):
    whole = setup(dataset="imdb")
    small = setup(dataset="imdb", train_examples=30, max_examples=7)
    assert len(small.dataset_of("train")) == 30 and len(small.dataset_of("validation")) == 7
    assert set(rows(small.dataset_of("train"))) <= set(rows(whole.dataset_of("train")))
    again = setup(dataset="imdb", train_examples=30)
    assert rows(again.dataset_of("train")) == rows(small.dataset_of("train"))
    assert len(predicted(dataset="imdb", max_examples=1)) == 4


def test_shuffled_labels_are_those_of_other_training_texts(imdb, caplog):
    """Of those texts alone that are trained on: the ones held out keep theirs."""
    with caplog.at_level(logging.INFO, "bertx.data"):
        data, plain = setup(dataset="imdb", shuffle_labels=True), setup(dataset="imdb")
    shuffled, true = data.dataset_of("train"), plain.dataset_of("train")
    assert shuffled.texts == true.texts and data.class_counts() == plain.class_counts()
    changed = sum(a != b for a, b in zip(shuffled.labels, true.labels, strict=True))
    assert 40 < changed < 90  # 180 texts of 3:1: 3/8 of them on average, or 67.5
    assert rows(data.dataset_of("validation")) == rows(plain.dataset_of("validation"))
    assert [m for m in caplog.messages if m.startswith("train: the labels of 180 texts are shuf")]


def test_shuffled_labels_follow_from_the_seed_and_have_no_reasons():
    data, again, other = (
        setup(dataset="demo", shuffle_labels=True, seed=seed) for seed in (42, 42, 1)
    )
    labels = [one.dataset_of("train").labels for one in (data, again, other)]
    assert labels[0] == labels[1] != labels[2]
    data.setup("test")
    assert data.dataset_of("train").rationales is None
    assert data.dataset_of("validation").rationales and data.dataset_of("test").rationales
    assert "rationale" not in next(iter(data.train_dataloader()))


def test_too_few_rows_to_hold_one_out(tmp_path):
    write(tmp_path, "train.tsv", "good\t1", "bad\t0")
    refuses(lambda: setup(path=str(tmp_path)), "hold one out for validation")


# Batches


def test_batches_of_the_demonstration():
    data = setup(dataset="demo", train_examples=100, batch_size=16)
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, LengthBucketSampler) and loader.sampler.shuffle
    batches = list(loader)
    assert [len(batch["text"]) for batch in batches] == [16] * 6 + [4]
    index = torch.cat([batch["index"] for batch in batches])
    assert sorted(index.tolist()) == list(range(100))
    train = data.dataset_of("train")
    for batch in batches:
        assert batch["text"] == [train.texts[i] for i in batch["index"]]
        assert batch["labels"].tolist() == [train.labels[i] for i in batch["index"]]
        assert batch["rationale"].any(1).all()


def test_evaluation_batches_are_in_a_fixed_order():
    data = setup(dataset="demo", eval_batch_size=64)
    first, second = ([b["text"] for b in data.val_dataloader()] for _ in range(2))
    assert first == second and len(first[0]) == 64
    data.setup("test")
    data.setup("predict")
    assert len(data.test_dataloader()) == len(data.predict_dataloader()) == 5


@pytest.mark.parametrize("masking", [0.0, 0.5])
def test_batches_are_within_the_token_budget(masking):
    settings = {"train_examples": 100, "max_examples": 50, "masking": masking}
    data = setup(
        dataset="demo", batch_size=1000, eval_batch_size=1000, token_budget=300, **settings
    )
    data.setup("predict")
    loaders = data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()
    for loader, rows_ in zip(loaders, (100, 50, len(data.predicted)), strict=True):
        batches = list(loader)
        assert len(loader) == len(batches) and max(b["input_ids"].numel() for b in batches) <= 300
        assert sum(b["input_ids"].numel() > 200 for b in batches) > 0.7 * len(batches)
        assert sorted(i for b in batches for i in b["index"].tolist()) == list(range(rows_))


def test_worker_processes_make_the_same_batches():
    data = setup(dataset="demo", max_examples=20, num_workers=0, eval_batch_size=8)
    apart = setup(dataset="demo", max_examples=20, num_workers=1, eval_batch_size=8)
    for ours, theirs in zip(data.val_dataloader(), apart.val_dataloader(), strict=True):
        assert ours["text"] == theirs["text"]
        assert torch.equal(ours["input_ids"], theirs["input_ids"])


class Witness(LightningModule):
    """Notes which rows each stage sees."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained, self.validated = [], []

    def training_step(self, batch, _):
        self.trained += batch["index"].tolist()
        return self.weight

    def validation_step(self, batch, _):
        self.validated += batch["index"].tolist()

    def predict_step(self, batch, _):
        return batch["index"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(
    "settings", [{}, {"token_budget": 200}, {"token_budget": 200, "masking": 0.5}]
)
def test_trainer_sees_every_row_in_fit_and_predict(tmp_path, settings):
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, num_sanity_val_steps=0, default_root_dir=tmp_path,
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    data = module(dataset="demo", train_examples=70, max_examples=20, **settings)
    witness = Witness()
    trainer.fit(witness, data)
    first, second = witness.trained[:70], witness.trained[70:]
    assert sorted(first) == sorted(second) == list(range(70)) and first != second
    assert sorted(witness.validated) == sorted([*range(20)] * 2)
    predicted = torch.cat(trainer.predict(witness, data))
    assert sorted(predicted.tolist()) == list(range(300))


# Real data


def test_sst2(data_folder):
    data = setup(path=str(data_folder / "sst2"), dataset="sst2")
    assert len(data.dataset_of("train")) == 67_349
    assert len(data.dataset_of("validation")) == 872
    assert data.dataset_of("validation").labels.count(1) == 444
    refuses(lambda: data.setup("test"), "predict takes texts")
    data.setup("predict")
    assert len(data.predicted) == 1_821


def test_imdb(data_folder):
    data = setup(path=str(data_folder / "imdb"), dataset="imdb", train_examples=500)
    assert len(data.dataset_of("train")) == 500
    assert [data.dataset_of("validation").labels.count(label) for label in (0, 1)] == [200, 200]


def test_yelp5(data_folder):
    data = module(path=str(data_folder / "yelp5"), dataset="yelp5")
    data.setup("test")
    assert data.labels[4] == "5 stars"
    assert [data.dataset_of("test").labels.count(label) for label in range(5)] == [200] * 5
