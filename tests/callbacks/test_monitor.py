"""FaithfulnessMonitor in a foreign project: fit, validate, test; right numbers, nothing changed."""

import csv
import logging
import random
from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from bertx.attribution import LRP, Attribution, GradientSensitivity, GradientXInput, Random
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, faithfulness
from bertx.callbacks.batches import read_batch
from bertx.errors import InputError
from bertx.leaderboard.example_values import find_examples, read_examples
from bertx.metrics import DeletionCurve, InsertionCurve, area, fractions
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.encode import inputs_of
from bertx.perturb import Perturber
from bertx.trace import Needs, Trace
from tests.callbacks.toy import DATA, ForeignModule, Plain, loader, trainer
from tests.tiny import tiny_tokenizer
from tests.trace.test_trace import assert_same, condition

METHODS = ("attnlrp", "gs", "gi", "lat", "lrp", "random")


def rows(folder, stage="val"):
    with (folder / "version_0" / "bertx" / stage / "faithfulness.csv").open() as file:
        return list(csv.DictReader(file))


def numbers(monitor):
    return {
        r.method: [s.mean for part in (r.scores, r.gains) for s in part.values() if s is not None]
        for r in monitor.results
    }


def test_fit_validate_and_test_log_every_number(tmp_path):
    monitor = FaithfulnessMonitor()
    runner = trainer(tmp_path, [monitor])
    module = ForeignModule()
    runner.fit(module, loader(), loader())
    for stage in ("val", "test"):
        if stage == "test":
            runner.test(module, loader(), verbose=False)
        for name in METHODS:
            for key in ("deletion_auc", "insertion_auc"):
                assert 0 < runner.callback_metrics[f"{stage}/{key}/{name}"] < 1
                assert 0 < runner.callback_metrics[f"{stage}/{key}/{name}_se"] < 0.2
            assert f"{stage}/cost/{name}" in runner.callback_metrics
            assert f"{stage}/faithfulness_examples" not in runner.callback_metrics
            assert (f"{stage}/deletion_gain/{name}" in runner.callback_metrics) == (
                name != "random"
            )
    runner.validate(module, loader(), verbose=False)
    after_fit, of_its_own = rows(tmp_path)[: len(METHODS)], rows(tmp_path)[len(METHODS) :]
    for a, b in zip(after_fit, of_its_own, strict=True):
        assert float(a["deletion_auc"]) == pytest.approx(float(b["deletion_auc"]), abs=1e-6)


def test_numbers_are_those_of_the_definition(tmp_path):
    """All examples in one padded batch, without Lightning."""
    monitor = FaithfulnessMonitor(
        metrics={"deletion_auc": DeletionCurve(6), "insertion_auc": InsertionCurve(6)},
        operator="remove",
    )
    module = ForeignModule()
    trainer(tmp_path, [monitor]).validate(module, loader(5), verbose=False)
    tokenizer = tiny_tokenizer()
    inputs, grid = inputs_of(read_batch(Plain()(DATA), tokenizer), tokenizer), fractions(6)
    trace = Trace(module.net, inputs, None, Needs.GRADIENT)
    scores = torch.stack([m(trace) for m in (GradientSensitivity(), GradientXInput())])
    perturber = Perturber(module.net, "remove", mask_token_id=4, pad_token_id=0)
    for m, name in enumerate(("gs", "gi")):
        deletion, insertion = (
            kind(6).measure(perturber, trace, scores[m])[:, :-1]
            for kind in (DeletionCurve, InsertionCurve)
        )
        areas = area(deletion, grid)
        result = next(r for r in monitor.results if r.method == name)
        deleted, inserted = result.scores["deletion_auc"], result.scores["insertion_auc"]
        assert deleted.mean == pytest.approx(float(areas.mean()), abs=1e-5)
        assert deleted.se == pytest.approx(float(areas.std() / len(DATA) ** 0.5), abs=1e-5)
        assert inserted.mean == pytest.approx(float(area(insertion, grid).mean()), abs=1e-5)
        assert result.count == len(DATA)


@pytest.mark.parametrize("kwargs", [{}, {"precision": "bf16-mixed"}])
def test_training_is_bit_identical_with_and_without(tmp_path, kwargs):
    weights = []
    for n, callbacks in enumerate([[], [FaithfulnessMonitor(), HeatmapLogger()]]):
        torch.manual_seed(7)
        module = ForeignModule()
        torch.manual_seed(8)
        runner = trainer(tmp_path / str(n), callbacks, max_epochs=2, **kwargs)
        runner.fit(module, loader(shuffle=True), loader())
        weights.append({k: v.clone() for k, v in module.state_dict().items()})
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    module.eval()
    fresh = ForeignModule().state_dict()
    assert not all(torch.equal(v, weights[0][k]) for k, v in fresh.items())


class Timed:
    """A clock that a method moves on."""

    now = 0.0

    def __call__(self):
        return self.now


class Slow(GradientXInput):
    """Takes a second for each text."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def scores(self, trace):
        self.clock.now += len(trace.inputs)
        return super().scores(trace)


@pytest.mark.parametrize(("budget", "expected"), [("10%", 20), (0.1, 20), ("60%", 60), (1, 96)])
def test_a_budget_says_how_many_examples(tmp_path, monkeypatch, budget, expected):
    clock = Timed()
    monkeypatch.setattr(faithfulness, "monotonic", clock)

    monitor = FaithfulnessMonitor(
        {"slow": Slow(clock)}, {"deletion_auc": DeletionCurve(2)}, ceiling_examples=0, budget=budget
    )

    class Validating(ForeignModule):
        def on_validation_epoch_start(self):
            clock.now += 100

    runner = trainer(tmp_path, [monitor], max_epochs=2)
    data = DATA * 4
    runner.fit(Validating(), loader(), loader(data=data))
    assert runner.callback_metrics["val/faithfulness_examples"] == expected
    folder = tmp_path / "version_0" / "bertx" / "val"
    chosen = {value.example for value in read_examples(find_examples(folder))}
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0)).tolist()
    assert chosen == set(order[:expected])
    runner.test(Validating(), loader(data=data), verbose=False)
    assert runner.callback_metrics["test/faithfulness_examples"] == 96


@pytest.mark.parametrize("budget", ["much", "0%", -1, "nan", 5, "5", "500%", 1.01, "inf"])
def test_a_budget_is_a_share(budget):
    message = (
        "budget: expected a share of training time above 0 and at most 1 .* `budget: 5%` or 0.05"
    )
    with pytest.raises(InputError, match=message):
        FaithfulnessMonitor(budget=budget)


def test_a_precision_that_is_emulated_is_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: False)
    module = ForeignModule()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(InputError, match="does not calculate in bfloat16"):
        trainer(tmp_path, [FaithfulnessMonitor(precision="bf16")]).fit(module, loader(), loader())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    monkeypatch.setattr("bertx.perturb.engine._supports_bf16", lambda device: True)
    monitor = FaithfulnessMonitor(precision="bf16", ceiling_examples=0)
    trainer(tmp_path, [monitor]).validate(module, loader(), verbose=False)
    narrow = numbers(monitor)
    monitor = FaithfulnessMonitor(ceiling_examples=0)
    trainer(tmp_path, [monitor]).validate(module, loader(), verbose=False)
    for name, own in numbers(monitor).items():
        assert own != narrow[name] and own == pytest.approx(narrow[name], abs=0.02)


class Failing(Attribution):
    needs = Needs.GRADIENT | Needs.ATTENTION | Needs.ACTIVATIONS

    def scores(self, trace):
        torch.rand(3)
        raise ArithmeticError("no")


@pytest.mark.parametrize("run", ["validate", "test"])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_changed(tmp_path, run, fails):
    """Compared with a run without callbacks: Lightning itself draws a seed for its loader."""
    module = ForeignModule().train()
    module.net.base_model.encoder.layer[1].eval()
    conditions = []
    methods = {"failing": Failing()} if fails else None
    for callbacks in ([], [FaithfulnessMonitor(methods), HeatmapLogger()]):
        torch.manual_seed(5)
        runner = trainer(tmp_path, callbacks)
        with pytest.raises(ArithmeticError) if fails and callbacks else nullcontext():
            getattr(runner, run)(module, loader(), verbose=False)
        conditions.append(condition(module.net))
    if fails:  # on an error Lightning itself leaves the module in evaluation mode
        conditions[1]["modes"] = conditions[0]["modes"]
    assert_same(*conditions)


def test_the_sample_is_the_same_in_every_epoch_batch_size_and_order(tmp_path):
    seen = []

    class Watching(FaithfulnessMonitor):
        def report(self, trainer, pl_module, stage, chunks):
            chunks = list(chunks)
            texts = [e.text for examples, _ in chunks for e in examples]
            seen.append(sorted(texts))
            super().report(trainer, pl_module, stage, iter(chunks))

    found = []
    shuffled = torch.utils.data.DataLoader(_Shuffled(), batch_size=None)
    for n, data in enumerate([loader(6), loader(24), loader(1), shuffled]):
        monitor = Watching(max_examples=7)
        trainer(tmp_path / str(n), [monitor]).validate(ForeignModule(), data, verbose=False)
        found.append(numbers(monitor))
    assert all(texts == seen[0] and len(texts) == 7 for texts in seen)
    for other in found[1:]:
        for name, values in found[0].items():
            for a, b in zip(values, other[name], strict=True):
                assert a == pytest.approx(b, abs=1e-5)


class _Shuffled(torch.utils.data.Dataset):
    """Batches of odd sizes in an order of their own, told by `index`; -1 is a repeated row."""

    parts = ([20, 3, 1], [*range(4, 20)], [0, 2, -1], [21, 22, 23])

    def __len__(self):
        return len(DATA)

    def __getitem__(self, i):
        if i >= len(self.parts):
            return self.batch([-1])
        return self.batch(self.parts[i])

    def batch(self, part):
        return Plain()([DATA[i] for i in part]) | {"index": torch.tensor(part)}


def test_only_due_epochs_are_explained_and_never_the_sanity_check(tmp_path):
    calls = []

    class Counting(GradientSensitivity):
        def scores(self, trace):
            calls.append(len(trace.inputs))
            return super().scores(trace)

    monitor = FaithfulnessMonitor({"gs": Counting()}, every_n_epochs=2)
    trainer(tmp_path, [monitor], max_epochs=5).fit(ForeignModule(), loader(), loader())
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "3"]
    assert sum(calls) == 2 * len(DATA)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_inner_model_and_half_precision_run(tmp_path, compiled):
    monitor = FaithfulnessMonitor(max_examples=8, ceiling_examples=0)
    maps = HeatmapLogger(max_examples=2)
    runner = trainer(tmp_path, [monitor, maps], precision="bf16-mixed")
    module = ForeignModule(compiled=compiled)
    runner.fit(module, loader(), loader())
    assert len(monitor.results) == len(METHODS) and maps.page.is_file()


def searched(folder):
    """The examples that were searched for the best order."""
    (file,) = (folder / "version_0/bertx/val/examples").glob("*.parquet")
    return {v.example for v in read_examples(file) if v.role == "ceiling"}


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from DATA


@pytest.mark.parametrize("number", [0, 6, None])
def test_of_a_stream_about_as_many_as_wanted_are_searched(tmp_path, number):
    methods = {"gs": GradientSensitivity()}
    monitor = FaithfulnessMonitor(methods, max_examples=None, ceiling_examples=number)
    trainer(tmp_path, [monitor]).validate(ForeignModule(), loader(data=Stream()), verbose=False)
    assert monitor.results[0].count == len(DATA)
    share = 1 if number is None else number / len(DATA)
    assert searched(tmp_path) == {i for i in range(24) if random.Random(i).random() < share}
    assert number != 6 or 3 <= len(searched(tmp_path)) <= 9


def test_a_sample_that_shrinks_is_reported_once_and_searched_as_wanted(tmp_path, caplog):
    methods = {"gs": GradientSensitivity()}
    monitor = FaithfulnessMonitor(methods, max_examples=20, ceiling_examples=9)
    settings = {"limit_val_batches": 2, "limit_test_batches": 0.9}
    runner = trainer(tmp_path, [monitor], **settings)
    module = ForeignModule()
    with caplog.at_level(logging.WARNING, "bertx"):
        runner.validate(module, loader(6), verbose=False)
        runner.fit(module, loader(6), loader(6))
        runner.test(module, loader(2), verbose=False)
    [warning] = [record.message for record in caplog.records if record.name == "bertx"]
    came = int(rows(tmp_path)[0]["count"])
    assert 6 < came <= 12
    assert f"val: only {came} of the 20 examples in FaithfulnessMonitor's sample" in warning
    assert "but limit_val_batches=2 leaves rows out" in warning
    first = min((tmp_path / "version_0/bertx/val/examples").glob("*.parquet"))
    values = read_examples(first)
    drawn = {v.example for v in values if random.Random(v.example).random() < 9 / came}
    assert {v.example for v in values if v.role == "ceiling"} == drawn


def test_a_sampler_or_a_trainer_that_leaves_rows_out_is_named(tmp_path, caplog):
    part = torch.utils.data.SubsetRandomSampler(range(5))
    methods = {"gs": GradientSensitivity()}
    runs = [
        ({}, loader(sampler=part), "but the loader, such as by its sampler, leaves rows out"),
        ({"overfit_batches": 1}, loader(), "but overfit_batches=1 leaves rows out"),
        ({"fast_dev_run": 1, "default_root_dir": tmp_path}, loader(), ""),
        ({}, loader(21, drop_last=True), ""),
    ]
    for n, (settings, data, message) in enumerate(runs):
        caplog.clear()
        monitor = HeatmapLogger(methods)
        runner = trainer(tmp_path / str(n), [monitor], **settings)
        with caplog.at_level(logging.WARNING, "bertx"):
            runner.validate(ForeignModule(), data, verbose=False)
        messages = [record.message for record in caplog.records if record.name == "bertx"]
        assert len(messages) == bool(message) and message in "".join(messages)


KEYS = [
    "val/deletion_auc/gs", "val/deletion_gain/gs_se", "val/cost/gs", "val/fully_perturbed/LABEL_0",
]  # fmt: skip


def watched(folder, *callbacks, every=2, module=None, **settings):
    methods = {"gs": GradientSensitivity(), "random": Random()}
    few = {"max_examples": 6, "ceiling_examples": 0}
    monitor = FaithfulnessMonitor(methods, every_n_epochs=every, **few)
    settings = {"max_epochs": 4, "enable_checkpointing": True} | settings
    runner = trainer(folder, [monitor, *callbacks], **settings)
    runner.fit(module or ForeignModule(), loader(), loader())
    return runner


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("kind", [ModelCheckpoint, EarlyStopping])
def test_a_callback_that_needs_a_number_in_between_is_refused_before_training(tmp_path, kind, key):
    message = f"every_n_epochs 2, but {kind.__name__} monitors '{key}'.* Set every_n_epochs to 1"
    with pytest.raises(InputError, match=message):
        watched(tmp_path, kind(monitor=key), module=Untrained())


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda: ModelCheckpoint(monitor=KEYS[0], every_n_epochs=2, filename="{epoch}"), {}),
        (lambda: ModelCheckpoint(monitor="val/loss"), {}),
        (lambda: ModelCheckpoint(monitor=KEYS[0], save_top_k=0), {}),
        (lambda: EarlyStopping(KEYS[0], strict=False, patience=9), {}),
        (lambda: EarlyStopping(KEYS[0], patience=9), {"check_val_every_n_epoch": 2}),
        (lambda: ModelCheckpoint(monitor=KEYS[0]), {"check_val_every_n_epoch": 2}),
        (lambda: EarlyStopping(KEYS[0], patience=9), {"every": 1}),
    ],
)
def test_one_that_needs_none_is_not(tmp_path, make, settings):
    assert watched(tmp_path, make(), **settings).current_epoch == 4


class HalfNaN(Attribution):
    """Not a number for texts with an exclamation mark."""

    needs = Needs.NOTHING

    def scores(self, trace):
        bad = (trace.inputs.input_ids == tiny_tokenizer().convert_tokens_to_ids("!")).any(1)
        scores = torch.rand(trace.inputs.input_ids.shape)
        return torch.where(bad[:, None], float("nan"), scores)


def test_examples_with_nan_scores_are_reported_and_left_out(tmp_path, caplog):
    methods = {"half": HalfNaN(), "random": Random()}
    monitor = FaithfulnessMonitor(methods)
    with caplog.at_level(logging.WARNING, "bertx"):
        trainer(tmp_path, [monitor, HeatmapLogger(methods)]).fit(
            ForeignModule(), loader(), loader()
        )
    bad = [i for i, (text, _) in enumerate(DATA) if "!" in text]
    assert monitor.results[0].count == len(DATA) - len(bad)
    for index in bad:
        assert f"half: scores of example {index} are not finite" in caplog.text
    assert "not a number" in (tmp_path / "version_0/bertx/val/heatmaps.html").read_text()


def test_target_may_be_a_class_or_the_label(tmp_path):
    found = []
    for n, target in enumerate(["predicted", "gold", 0, "LABEL_0"]):
        monitor = FaithfulnessMonitor({"gs": GradientSensitivity()}, target=target)
        trainer(tmp_path / str(n), [monitor]).validate(ForeignModule(), loader(), verbose=False)
        found.append(monitor.results[0].scores["deletion_auc"].mean)
    assert found[2] == found[3] and len(set(found)) == 3


def fit(tmp_path, module, callback, data=None):
    trainer(tmp_path, [callback]).fit(module, data or loader(), data or loader())


class Untrained(ForeignModule):
    def training_step(self, batch, _):
        raise AssertionError("training began")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FaithfulnessMonitor({"gs": "GS"}), "method 'gs': expected an instance"),
        (lambda: FaithfulnessMonitor(target=3), r"target 3: expected .*0 \(LABEL_0\)"),
        (lambda: FaithfulnessMonitor(target="postive"), "target 'postive': expected"),
        (lambda: FaithfulnessMonitor(metrics={"auc": 3}), "metric 'auc': expected an instance"),
        (lambda: FaithfulnessMonitor(ceiling_examples=-1), "ceiling_examples must be at least 0"),
        (lambda: FaithfulnessMonitor(every_n_epochs=0), "every_n_epochs must be a whole number"),
        (lambda: FaithfulnessMonitor(max_examples=0), "max_examples must be a whole number"),
        (lambda: FaithfulnessMonitor(unit="sentence"), "unit 'sentence': expected 'word'"),
        (lambda: HeatmapLogger(tokenizer="no/such/folder"), "no/such/folder"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_before_training(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        fit(tmp_path, Untrained(), make())


def test_an_unsupported_architecture_is_refused_before_training(tmp_path):
    with pytest.raises(UnsupportedArchitecture, match="LRP does not support DistilBert"):
        fit(tmp_path, Untrained("distilbert"), FaithfulnessMonitor({"lrp": LRP()}))


def test_the_default_methods_are_those_that_the_architecture_supports(tmp_path):
    monitor = FaithfulnessMonitor()
    fit(tmp_path, ForeignModule("distilbert"), monitor)
    assert [r.method for r in monitor.results] == ["attnlrp", "gs", "gi", "lat", "random"]


def test_a_module_without_classifier_or_tokenizer_is_refused(tmp_path):
    module = Untrained()
    module.net = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"FaithfulnessMonitor: expected .* got Untrained"):
        fit(tmp_path, module, FaithfulnessMonitor())
    with pytest.raises(InputError, match="no tokenizer"):
        fit(tmp_path, Untrained(tokenizer=False), FaithfulnessMonitor())


def test_a_tokenizer_without_padding_is_refused(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(InputError, match="has no padding token"):
        fit(tmp_path, Untrained(), FaithfulnessMonitor(tokenizer=tokenizer))


def test_a_tokenizer_can_be_given(tmp_path):
    monitor = FaithfulnessMonitor(tokenizer=tiny_tokenizer())
    fit(tmp_path, ForeignModule(tokenizer=False), monitor)
    assert monitor.results


def test_a_strange_batch_can_be_translated(tmp_path):
    class Tuples(ForeignModule):
        def on_after_batch_transfer(self, batch, _):
            return (batch["input_ids"], batch["labels"])

        def loss(self, batch):
            return self.net(batch[0]).logits.square().mean()

        def validation_step(self, batch, _):
            self.loss(batch)

    with pytest.raises(InputError, match=r"got tuple. Override read\(batch\)"):
        fit(tmp_path / "a", Tuples(), FaithfulnessMonitor())

    class Reading(FaithfulnessMonitor):
        def read(self, batch):
            return {"input_ids": batch[0], "label": batch[1]}

    monitor = Reading()
    fit(tmp_path / "b", Tuples(), monitor)
    assert monitor.results[0].count == len(DATA)


def test_gold_needs_labels(tmp_path):
    data = [(text, -100) for text, _ in DATA]
    with pytest.raises(InputError, match=r"target 'gold': example \d+ has no label"):
        trainer(tmp_path, [FaithfulnessMonitor(target="gold")]).validate(
            ForeignModule(), loader(data=data), verbose=False
        )
