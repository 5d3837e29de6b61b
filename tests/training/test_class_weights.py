"""The training loss: what each class counts, and smoothing. The other losses are plain."""

import pytest
import torch

from bertx.data import TextDataModule
from bertx.errors import InputError
from bertx.training import TextClassifier
from bertx.training.class_weights import check_class_weights
from tests.runs import save_data, save_model
from tests.training.test_text_classifier import LABELS, collate, loader, trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"), labels=3)


def by_hand(logits, labels, weights, smoothing):
    """The weighted mean, text by text, from the definition."""
    total = 0.0
    for row, label in zip(logits.double().log_softmax(-1), labels.tolist(), strict=True):
        spread = sum(w * value for w, value in zip(weights, row.tolist(), strict=True))
        total -= (1 - smoothing) * weights[label] * float(row[label])
        total -= smoothing / len(weights) * spread
    return total / sum(weights[label] for label in labels.tolist())


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ([1.0, 2.0, 0.5], [1.0, 2.0, 0.5]),
        ({"good": 3.0, "bad": 1.0, "so so": 2.0}, [1.0, 2.0, 3.0]),
        (None, [1.0, 1.0, 1.0]),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_training_loss(folder, given, weights, smoothing):
    module = TextClassifier(folder, LABELS, class_weights=given, label_smoothing=smoothing)
    module.model.eval()
    trainer(max_steps=1).fit(module, loader(size=5))
    module.log = lambda *_, **__: None  # asked outside of a run
    batch = next(iter(loader(size=5)))
    with torch.no_grad():
        found, validated = module.training_step(batch, 0), module.validation_step(batch, 0)
    expected = by_hand(found["logits"], batch["labels"], weights, smoothing)
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)

    plain = by_hand(found["logits"], batch["labels"], [1.0] * 3, 0.0)
    assert float(validated["loss"]) == pytest.approx(plain, rel=1e-5)


def test_balanced_counts_the_training_split(tmp_path):
    """Those texts that are trained on: seven of one class and three of the other."""
    data = save_data(tmp_path / "data", sizes={"train": 10, "validation": 5})
    lines = (tmp_path / "data/train.jsonl").read_text().splitlines()
    kept = [line for line in lines if "negative" in line] + lines[1:6:2]
    (tmp_path / "data/train.jsonl").write_text("\n".join(kept) + "\n")
    name = save_model(tmp_path / "model")
    labels = ["negative", "positive"]
    module = TextClassifier(name, labels, class_weights="balanced")
    trainer(tmp_path, max_steps=1).fit(module, datamodule=TextDataModule(name, path=data))
    assert module._weights.tolist() == pytest.approx([8 / (2 * 5), 8 / (2 * 3)])


def test_balanced_needs_texts_of_every_class(tmp_path, folder):
    data = save_data(tmp_path / "data", LABELS[::2])
    module = TextClassifier(folder, LABELS, class_weights="balanced")
    with pytest.raises(InputError, match="there is none of 'so so'"):
        trainer().fit(module, datamodule=TextDataModule(folder, path=data, labels=LABELS))
    with pytest.raises(InputError, match="expected a TextDataModule"):
        trainer().fit(module, loader())


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 2.0], r"each of the 3 classes \(bad, so so, good\), but got \[1.0, 2.0\]"),
        ({"bad": 1.0, "good": 2.0}, "but got weights for bad, good"),
        ([1.0, 0.0, 1.0], "above 0, but the weight of 'so so' is 0"),
        ([1.0, 1.0, float("inf")], "above 0, but the weight of 'good' is inf"),
        ("even", "expected balanced, or a weight for each"),
    ],
)
def test_weights_that_cannot_be_used(weights, words):
    with pytest.raises(InputError, match=words):
        check_class_weights(weights, LABELS)


def test_smoothing_is_a_share(folder):
    with pytest.raises(InputError, match="`label_smoothing`: expected 0 or more, and below 1"):
        TextClassifier(folder, LABELS, label_smoothing=1.0)


def test_unlabelled_rows_weigh_nothing(folder):
    module = TextClassifier(folder, LABELS, class_weights=[1.0, 2.0, 3.0], label_smoothing=0.1)
    module.model.eval()
    trainer(max_steps=1).fit(module, loader())
    module.log = lambda *_, **__: None
    rows = loader().dataset
    with torch.no_grad():
        alone = module.training_step(collate(rows), 0)["loss"]
        mixed = module.training_step(collate([*rows, ("the plot", -100, 5)]), 0)["loss"]
    assert float(mixed) == pytest.approx(float(alone), rel=1e-5)
