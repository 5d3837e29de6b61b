"""Weights that stand still, until they are released at the schedule's current rate."""

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from torch.nn.functional import cross_entropy

from bertx.errors import InputError
from bertx.training import TextClassifier
from bertx.training.freezing import Freezing, frozen_weights
from tests.runs import save_model
from tests.tiny import ARCHITECTURES, tiny_model
from tests.training.test_text_classifier import LABELS, loader, trainer

STEPS = 3  # of an epoch of the five texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"), labels=3)


def still(folder, **settings):
    """A module without dropout, so that what it learns is known."""
    module = TextClassifier(folder, LABELS, learning_rate=1e-2, warmup=0.25, **settings)
    module.model.eval()
    return module


def weights(module):
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def by_hand(folder, released):
    """The weights after each step of a plain loop in which the encoder is trained from a step."""
    module = still(folder)
    encoder = set(frozen_weights(module.model, "encoder"))
    decayed = [p for p in module.model.parameters() if p.dim() > 1]
    others = [p for p in module.model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        fused=True,  # biases of keys have no gradient but rounding errors, which Adam makes large
    )
    for step in range(2 * STEPS):
        share = step / 2 if step < 2 else (6 - step) / 4
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * share
        batch = list(loader())[step % STEPS]
        module.zero_grad()
        cross_entropy(module(batch), batch["labels"]).backward()
        for parameter in encoder if step < released else ():
            parameter.grad = None
        optimizer.step()
        yield weights(module)


class Watch(L.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append(weights(pl_module))


@pytest.mark.parametrize(
    ("settings", "released"),
    [({"unfreeze_at_step": 4}, 4), ({"unfreeze_at_epoch": 1}, 3), ({}, 99)],
)
def test_released_weights_are_trained_at_the_current_rate(folder, settings, released, tmp_path):
    watch = Watch()
    module = still(folder, freeze="encoder", **settings)
    trainer(tmp_path, max_epochs=2, callbacks=[watch]).fit(module, loader())
    for found, expected in zip(watch.seen, by_hand(folder, released), strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=2e-6, msg=name)


@pytest.mark.parametrize("released", [2, 4])
def test_resuming_goes_on_as_if_undisturbed(folder, released, tmp_path):
    """Before the release as after it."""
    settings = {"freeze": 2, "unfreeze_at_step": released}
    saved = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole, resumed = still(folder, **settings), still(folder, **settings)
    options = {"max_epochs": 2, "enable_checkpointing": True}
    trainer(tmp_path, callbacks=[saved], **options).fit(whole, loader())
    ckpt_path = tmp_path / "epoch=0.ckpt"
    trainer(tmp_path, **options).fit(resumed, loader(), ckpt_path=ckpt_path)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_stands_still(kind):
    model = tiny_model(kind)
    names = {parameter: name for name, parameter in model.named_parameters()}
    of = {
        frozen: {names[own] for own in frozen_weights(model, frozen)}
        for frozen in ("embeddings", 3, "encoder")
    }
    assert of[3] == of["encoder"] > of["embeddings"]
    assert any("word_embeddings" in name or "tok_embeddings" in name for name in of["embeddings"])
    trained = set(names.values()) - of["encoder"]
    parts = ("classifier", "pooler", "head", "final_norm")
    assert trained and all(any(part in name for part in parts) for name in trained)
    if kind != "albert":
        added = {name for name in of[3] if ".0." in name and "layer" in name}
        assert {names[own] for own in frozen_weights(model, 1)} == of["embeddings"] | added


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("bert", {"frozen": 4}, "`freeze` 4: expected embeddings, encoder, or a number .* 1 to 3"),
        ("bert", {"frozen": 0}, "`freeze` 0: expected"),
        ("albert", {"frozen": 1}, "layers 1, 2, 3 of Albert.* share their weights"),
        ("bert", {"frozen": None, "epoch": 1}, "`unfreeze_at_epoch` 1: nothing is frozen"),
        ("bert", {"frozen": 1, "step": 0}, "`unfreeze_at_step` 0: expected 1 or more"),
        ("bert", {"frozen": 1, "step": 5, "epoch": 1}, "expected one of them"),
    ],
)
def test_what_cannot_be_frozen(kind, settings, words):
    with pytest.raises(InputError, match=words):
        Freezing(tiny_model(kind), **settings)


def test_several_processes_exchange_what_will_be_released():
    """What is wrapped for them needs a gradient from the beginning, and stands still without it."""
    model = tiny_model()
    freezing = Freezing(model, "encoder", step=2)
    freezing.prepare(processes=2)
    assert all(own.requires_grad for own in model.parameters())
    for step in range(4):
        freezing.update(0, step)
        ids = torch.tensor([[2, 5, 6, 3]])
        model(ids).logits.sum().backward()
        freezing.drop_gradients()
        assert all((own.grad is None) is (step < 2) for own in freezing.weights)
        assert model.classifier.weight.grad is not None


def test_the_rate_that_a_finder_suggests_is_that_of_the_schedule(folder, tmp_path):
    class Rates(L.Callback):
        seen = ()

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            (optimizer,) = trainer.optimizers
            self.seen = (*self.seen, *{group["lr"] for group in optimizer.param_groups})

    finder, rates = LearningRateFinder(1e-4, 0.1, 20, early_stop_threshold=None), Rates()
    module, rows = still(folder, freeze="encoder", unfreeze_at_step=5), loader().dataset * 4
    trainer(tmp_path, callbacks=[finder, rates]).fit(module, loader(rows, size=1))
    found = finder.optimal_lr.suggestion()
    assert module.learning_rate == module.hparams["learning_rate"] == found != 1e-2
    shares = [step / 5 if step < 5 else (20 - step) / 15 for step in range(20)]
    assert rates.seen == pytest.approx([found * share for share in shares])
