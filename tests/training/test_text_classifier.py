"""The module: what it optimizes, logs, refuses, and reloads."""

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from bertx.errors import InputError
from bertx.training import TextClassifier
from tests.runs import save_model
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_tokenizer

LABELS = ["bad", "so so", "good"]
TEXTS = ["the film was good", "dull", "never bad !", "a great plot and a great book", "awful"]
GOLD = [2, 0, 1, 2, 0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"), labels=3)


@pytest.fixture
def module(folder):
    return TextClassifier(folder, LABELS, learning_rate=1e-3)


def collate(rows):
    texts, labels, index = zip(*rows, strict=True)
    return {**tiny_batch(tiny_tokenizer(), list(texts), list(labels)), "index": torch.tensor(index)}


def loader(rows=None, size=2):
    rows = rows or [(text, gold, i) for i, (text, gold) in enumerate(zip(TEXTS, GOLD, strict=True))]
    return DataLoader(rows, size, collate_fn=collate)


def trainer(folder=".", **settings):
    settings = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings}
    return L.Trainer(
        accelerator="cpu", default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def close(values):
    return {key: pytest.approx(value, abs=1e-6) for key, value in values.items()}


def oracle(module, rows):
    """Mean loss, accuracy and macro F1, one text at a time."""
    module.eval()
    losses, pairs = [], []
    with torch.no_grad():
        for row in rows:
            logits = module(collate([row]))
            losses.append(float(cross_entropy(logits, torch.tensor([row[1]]))))
            pairs.append((int(logits.argmax()), row[1]))
    f1 = []
    for c in {c for pair in pairs for c in pair}:
        hits = sum(p == g == c for p, g in pairs)
        f1.append(2 * hits / sum((p == c) + (g == c) for p, g in pairs))
    accuracy = sum(p == g for p, g in pairs) / len(pairs)
    return {"loss": sum(losses) / len(losses), "accuracy": accuracy, "macro_f1": sum(f1) / len(f1)}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_any_encoder(kind, tmp_path):
    module = TextClassifier(save_model(tmp_path, 3, kind), LABELS)
    assert module(collate([("the film", 0, 0), ("good", 1, 1)])).shape == (2, 3)


def test_metrics_are_means_over_examples(module):
    rows = loader().dataset
    (found,) = trainer().validate(module, loader(size=2), verbose=False)
    expected = oracle(module, rows)
    assert found == close({f"val/{key}": value for key, value in expected.items()})
    (found,) = trainer().test(module, loader(size=3), verbose=False)
    assert found == close({f"test/{key}": value for key, value in expected.items()})


def test_each_evaluation_counts_anew(module):
    runner = trainer()
    expected = oracle(module, loader().dataset)
    for stage in ("val", "test", "test"):
        evaluate = runner.validate if stage == "val" else runner.test
        rows = loader().dataset[: 2 if stage == "val" else 5]
        (found,) = evaluate(module, loader(rows), verbose=False)
    assert found == close({f"test/{key}": value for key, value in expected.items()})


def test_repeated_and_unlabelled_rows_do_not_count(module):
    rows = loader().dataset
    extra = [("good", 2, -1), ("the plot", -100, 5), ("awful", 0, -1)]
    (clean,) = trainer().validate(module, loader(rows), verbose=False)
    (mixed,) = trainer().validate(module, loader(rows + extra), verbose=False)
    assert mixed == close(clean)


def test_validate_then_fit_then_validate(module):
    runner = trainer(max_epochs=2)
    runner.validate(module, loader(), verbose=False)
    runner.fit(module, loader(), loader())
    fitted = float(runner.callback_metrics["val/loss"])
    (again,) = runner.validate(module, loader(), verbose=False)
    assert again["val/loss"] == pytest.approx(fitted, abs=1e-6)


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_last_layer_runs_for_the_token_that_the_head_reads(recomputed, module):
    if recomputed:
        module.model.activation_checkpointing_enable()
    seen, plain = [], torch.nn.functional.linear
    batch = collate(
        [(text, gold, i) for i, (text, gold) in enumerate(zip(TEXTS, GOLD, strict=True))]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", lambda x, *w: seen.append(x) or plain(x, *w))
        loss = cross_entropy(module.train()(batch), batch["labels"])
    loss.backward()
    alone = sum(x.dim() == 3 and x.shape[1] == 1 for x in seen)
    assert alone == (0 if recomputed else 3)
    assert all(p.grad is not None for p in module.parameters())


def test_dropout_is_on_while_training_and_off_while_validating(module):
    seen = {}

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_):
            same = collate([("the film was good", 2, 0)])
            modes = {part.training for part in pl_module.model.modules()}
            seen["train"] = modes, bool((pl_module(same) == pl_module(same)).all())

        def on_validation_batch_start(self, trainer, pl_module, *_):
            seen["val"] = {part.training for part in pl_module.model.modules()}

    trainer(callbacks=[Watch()]).fit(module, loader(), loader())
    assert seen == {"train": ({True}, False), "val": {False}}


def test_biases_and_norms_do_not_decay(module):
    runner = trainer(max_steps=1)
    runner.fit(module, loader())
    decaying, free = runner.optimizers[0].param_groups
    names = {parameter: name for name, parameter in module.model.named_parameters()}
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert {names[p].rpartition(".")[2] for p in decaying["params"]} == {"weight"}
    for parameter in free["params"]:
        assert names[parameter].endswith("bias") or "Norm" in names[parameter]
    assert len(decaying["params"]) + len(free["params"]) == len(names)
    assert not any("Norm" in names[p] for p in decaying["params"])


def test_frozen_weights_are_not_optimized(module):
    module.model.bert.embeddings.requires_grad_(False)
    runner = trainer(max_steps=1)
    runner.fit(module, loader())
    optimized = sum(len(group["params"]) for group in runner.optimizers[0].param_groups)
    assert optimized == sum(p.requires_grad for p in module.parameters())


def test_the_rate_rises_and_falls_linearly(folder):
    rates = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    module = TextClassifier(folder, LABELS, learning_rate=1.0, warmup=0.35)
    trainer(max_epochs=2, callbacks=[Watch()], max_steps=10, limit_train_batches=5).fit(
        module, loader(size=1)
    )
    expected = [0, 1 / 4, 2 / 4, 3 / 4, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates == pytest.approx(expected)


def test_a_resumed_training_follows_the_rate_that_it_is_given(folder, tmp_path):
    rates = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    options = {"max_epochs": 2, "callbacks": [Watch()], "enable_checkpointing": True}
    runner = trainer(tmp_path, **{**options, "max_epochs": 1})
    runner.fit(TextClassifier(folder, LABELS, 1.0, warmup=0.0), loader(size=1))
    del rates[:]
    saved, other = runner.checkpoint_callback.best_model_path, TextClassifier(folder, LABELS, 0.5)
    trainer(tmp_path, **options).fit(other, loader(size=1), ckpt_path=saved)
    # The first step is still at the end of the shorter training.
    assert rates[1:] == pytest.approx([0.5 * share / 9 for share in (4, 3, 2, 1)])


def test_a_checkpoint_gives_the_module_back(module, tmp_path):
    runner = trainer(tmp_path, logger=CSVLogger(tmp_path), enable_checkpointing=True)
    runner.fit(module, loader(), loader())
    again = TextClassifier.load_from_checkpoint(runner.checkpoint_callback.best_model_path)
    batch = collate(loader().dataset)
    assert torch.equal(again.eval()(batch), module.eval()(batch))
    assert again.labels == LABELS and again.learning_rate == 1e-3
    assert again.model.config.id2label == dict(enumerate(LABELS))


def test_a_checkpoint_of_another_model_is_refused(module, tmp_path):
    runner = trainer(tmp_path, enable_checkpointing=True)
    runner.fit(module, loader(), loader())
    other = TextClassifier(save_model(tmp_path / "other", 3, "distilbert"), LABELS)
    best = runner.checkpoint_callback.best_model_path
    with pytest.raises(InputError, match=r"weights of .* differ in model\..*`name`"):
        trainer().validate(other, loader(), ckpt_path=best)


def test_outputs_of_the_steps(module):
    batch = collate(loader().dataset)
    module.eval()
    out = trainer().predict(module, loader(size=5))[0]
    assert out["index"].tolist() == [0, 1, 2, 3, 4]
    assert torch.allclose(out["probabilities"], module(batch).softmax(-1), atol=1e-6)
    assert out["probabilities"].sum(-1).tolist() == pytest.approx([1.0] * 5)
    found = module.validation_step(batch, 0)
    assert set(found) == {"loss", "logits"}
    batch["labels"][1:] = -100
    expected = cross_entropy(found["logits"][:1], batch["labels"][:1])
    torch.testing.assert_close(module.validation_step(batch, 0)["loss"], expected)


@pytest.mark.parametrize(("label", "stage"), [(3, "fit"), (-1, "fit"), (7, "validate")])
def test_labels_outside_the_classes_are_refused(module, label, stage):
    rows = [("the film", 1, 0), ("x" * 100, label, 1)]
    with pytest.raises(InputError) as caught:
        getattr(trainer(), stage)(module, loader(rows))
    message = str(caught.value)
    assert "labels 0..2 (bad, so so, good)" in message and f"label {label}" in message
    assert f"example 1 ('{'x' * 80}'...)" in message


def test_a_text_longer_than_the_model_is_refused_with_the_length_that_fits(module):
    rows = [("dull " * 70, 1, 0)]  # the tiny model has 64 positions
    with pytest.raises(InputError, match=r"72 tokens.* has 64 positions.*max_length` to 64"):
        trainer().fit(module, loader(rows))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize(("call", "stage"), [("fit", "train"), ("test", "test")])
def test_logits_that_are_not_finite_are_refused(module, value, call, stage):
    module.model.classifier.bias.data[1] = value
    with pytest.raises(InputError) as caught:
        getattr(trainer(), call)(module, loader())
    message = str(caught.value)
    assert message.startswith(f"{stage}, step 0: expected finite logits, but example 0 ('the film")
    assert "`learning_rate`" in message and str(value) in message


def test_predict_loses_no_text_for_one_that_overflows(module):
    bad = module.model.get_input_embeddings()
    expected = trainer().predict(module, loader(size=5))[0]["probabilities"]
    batch = next(iter(loader(size=5)))
    bad.weight.data[batch["input_ids"][2, 1]] = float("inf")
    hit = (batch["input_ids"] == batch["input_ids"][2, 1]).any(1)
    found = trainer().predict(module, loader(size=5))[0]["probabilities"]
    assert found[hit].isnan().all() and 0 < hit.sum() < 5
    torch.testing.assert_close(found[~hit], expected[~hit])


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": 0}, {"learning_rate": float("nan")}, {"weight_decay": -1}, {"warmup": 1.1}],
)
def test_settings_out_of_range_are_refused(settings, folder):
    ((name, value),) = settings.items()
    with pytest.raises(InputError, match=f"`{name}`: .* got {value}"):
        TextClassifier(folder, LABELS, **settings)


def test_training_needs_an_end(module):
    with pytest.raises(InputError, match="max_epochs"):
        trainer(max_epochs=-1).fit(module, loader())
