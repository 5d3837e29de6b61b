"""DriftMonitor: the right numbers from epoch to epoch, also across checkpoints."""

from io import BytesIO
from math import isnan, nan
from statistics import mean, stdev

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from scipy.stats import spearmanr

from bertx.attribution import Attribution, GradientSensitivity
from bertx.callbacks.drift import DriftMonitor
from bertx.errors import InputError
from tests.callbacks.test_watching import Counting
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer
from tests.callbacks.watching import METHODS, Reader, Scripted, numbered, table
from tests.tiny import tiny_tokenizer

EXCLAMATION = tiny_tokenizer().convert_tokens_to_ids("!")


def run(folder, *callbacks, module=None, data=None, ckpt=None, **settings):
    runner = trainer(folder, callbacks, **{"max_epochs": 4, "num_sanity_val_steps": 0} | settings)
    data = numbered() if data is None else data
    runner.fit(module or Scripted(), data, data, ckpt_path=ckpt)
    return runner


def slow_drift(before, after):
    """½ Σ |s/Σ|s| - s'/Σ|s'|| of one text, and Spearman's correlation; None without one."""
    then, now = ([s / sum(map(abs, scores)) for s in scores] for scores in (before, after))
    same = len(set(before)) == 1 or len(set(after)) == 1
    distance = sum(abs(a - b) for a, b in zip(then, now, strict=True)) / 2
    return distance, None if same else spearmanr(before, after).statistic


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run with a monitor, what was logged, and what a slow reader saw."""
    folder = tmp_path_factory.mktemp("drift")
    monitor, reader, logged = DriftMonitor(METHODS), Reader(target="gold"), []

    class Logged(Reader):
        def on_validation_epoch_end(self, trainer, module):
            super().on_validation_epoch_end(trainer, module)
            logged.append({})

        def on_validation_end(self, trainer, module):
            logged[-1] = {k: float(v) for k, v in trainer.callback_metrics.items()}

    reader.__class__ = Logged
    run(folder, monitor, reader)
    return folder, monitor, reader.read, logged


@pytest.mark.parametrize("name", METHODS)
def test_numbers_are_those_of_the_definition(watched, name):
    folder, monitor, read, logged = watched
    rows = [row for row in table(folder, "drift") if row["method"] == name]
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    for epoch in range(1, 4):
        values = [
            slow_drift(before[name], after[name])
            for (_, before), (_, after) in zip(read[epoch - 1], read[epoch], strict=True)
        ]
        drifts, correlations = zip(*values, strict=True)
        correlations = [value for value in correlations if value is not None]
        expected = {
            "drift": mean(drifts),
            "drift_se": stdev(drifts) / len(drifts) ** 0.5,
            "spearman": mean(correlations),
            "spearman_se": stdev(correlations) / len(correlations) ** 0.5,
            "count": len(DATA),
        }
        for key, value in expected.items():
            assert float(rows[epoch][key]) == pytest.approx(value, abs=1e-5), key
        assert logged[epoch][f"val/drift/{name}"] == pytest.approx(expected["drift"], abs=1e-5)
        assert logged[epoch][f"val/drift/{name}_se"] == pytest.approx(
            expected["drift_se"], abs=1e-5
        )
        assert logged[epoch][f"val/drift_rank/{name}"] == pytest.approx(
            expected["spearman"], abs=1e-5
        )
    [last] = [result for result in monitor.results if result.method == name]
    assert last.drift == float(rows[3]["drift"]) and last.count == len(DATA)


def test_there_is_nothing_to_compare_the_first_time_with(watched):
    folder, _, _, logged = watched
    for row in table(folder, "drift")[: len(METHODS)]:
        assert isnan(float(row["drift"])) and row["count"] == "0" and row["settled"] == ""
    assert isnan(logged[0]["val/drift/gs"]) and isnan(logged[0]["val/drift_settled/gs"])


def test_a_control_that_does_not_look_at_the_model_never_drifts(watched):
    _, monitor, _, _ = watched
    [result] = [result for result in monitor.results if result.method == "random"]
    assert (result.drift, result.spearman, result.settled) == (0.0, pytest.approx(1.0), 0)


def test_checkpoints_and_early_stopping_can_watch_it(tmp_path):
    steps = (0.05, 0.05, 0.001, 0.05, 0.05, 0.05)
    best = ModelCheckpoint(tmp_path / "best", "{epoch}", monitor="val/drift/gs", mode="min")
    stop = EarlyStopping("val/drift/gs", mode="min", patience=2, check_finite=False)
    monitor = DriftMonitor({"gs": GradientSensitivity()})
    settings = {"max_epochs": 6, "enable_checkpointing": True}
    runner = run(tmp_path, monitor, best, stop, module=Scripted(steps), **settings)
    assert best.best_model_path.endswith("epoch=2.ckpt") and runner.current_epoch == 5
    assert float(best.best_model_score) < 0.01


def test_it_settles_where_the_drift_becomes_low_and_stays_so(tmp_path, capsys):
    steps = (0.05, 0.05, 0.002, 0.05, 0.002, 0.002, 0.002)
    monitor = DriftMonitor({"gs": GradientSensitivity()}, patience=3)
    run(tmp_path, monitor, module=Scripted(steps), max_epochs=7)
    settled = [row["settled"] for row in table(tmp_path, "drift")]
    assert settled == ["", "", "", "", "", "", "3"]  # from the explanations of epoch 3 on
    path = tmp_path / "version_0/bertx/val/drift.csv"
    assert f"Drift: {path} (settled: gs since epoch 3)" in capsys.readouterr().out


def test_what_is_low_depends_on_the_largest_drift(tmp_path, capsys):
    steps = (0.05, 0.05, 0.02, 0.02, 0.02)
    found = []
    for low in (0.1, 0.9):
        monitor = DriftMonitor({"gs": GradientSensitivity()}, low=low)
        run(tmp_path / str(low), monitor, module=Scripted(steps), max_epochs=5)
        found.append(monitor.results[0].settled)
    assert found == [None, 1] and capsys.readouterr().out.count("(no method has settled)") == 1


@pytest.mark.parametrize("target", ["gold", "predicted"])
def test_a_resumed_run_goes_on_with_the_curve(tmp_path, target):
    """It is broken off where the drift becomes low."""

    def part(name, monitor, *more, epochs=5, **settings):
        module = Scripted((0.05, 0.05, 0.05, 0.001, 0.001))
        run(tmp_path / name, monitor, *more, module=module, max_epochs=epochs, **settings)

    whole, first, second = (DriftMonitor(METHODS, target=target) for _ in range(3))
    keep = ModelCheckpoint(tmp_path / "kept", save_last=True)
    part("whole", whole)
    part("first", first, keep, epochs=3, enable_checkpointing=True)
    part("second", second, ckpt=tmp_path / "kept/last.ckpt")
    expected, found = (table(tmp_path / name, "drift") for name in ("whole", "second"))
    assert found == expected[3 * len(METHODS) :] and second.results == whole.results
    assert all(result.count for result in second.results)
    assert [result.settled for result in second.results] == [2, 2, 0]


def test_its_state_needs_no_trust(tmp_path):
    monitor = DriftMonitor(METHODS)
    run(tmp_path, monitor, max_epochs=2)
    file = BytesIO()
    torch.save(monitor.state_dict(), file)
    file.seek(0)
    copy = DriftMonitor(METHODS)
    copy.load_state_dict(torch.load(file, weights_only=True))
    [(_, keys, counts, scores), *_] = copy.state_dict()["scores"]
    assert len(keys) == len(counts) == len(DATA) and len(scores) == sum(counts)
    for part, kept in zip(copy.state_dict()["scores"], monitor.state_dict()["scores"], strict=True):
        assert part[:3] == kept[:3] and torch.equal(part[3], kept[3])
    assert copy.state_dict()["curves"] == monitor.state_dict()["curves"]


def test_only_what_was_explained_before_is_compared(tmp_path):
    """Another text, also of as many words, a new row, other units: none of them counts."""
    assert DATA[0] == ("the film was not very good ", 0)
    monitor = DriftMonitor(METHODS)
    module = Scripted((0.05,) * 6)
    run(tmp_path / "one", monitor, module=module, data=numbered(DATA[:20]), max_epochs=1)
    changed = [
        ("the book was not very good", 0),
        *DATA[1:19],
        (f"{DATA[19][0]} and more", DATA[19][1]),
        *DATA[20:],
    ]
    again = DriftMonitor(METHODS)
    again.load_state_dict(monitor.state_dict())
    run(tmp_path / "two", again, module=module, data=numbered(changed), max_epochs=1)
    assert {result.count for result in again.results} == {18}
    tokens = DriftMonitor(METHODS, unit="token")
    tokens.load_state_dict(monitor.state_dict())
    run(tmp_path / "three", tokens, module=module, data=numbered(DATA[:20]), max_epochs=1)
    whole = [text for text, _ in DATA[:20] if "unbelievable" not in text]
    assert {result.count for result in tokens.results} == {len(whole)} != {20}


def test_explanations_of_two_classes_are_not_compared(tmp_path):
    monitor, reader = DriftMonitor(METHODS, target="predicted"), Reader()
    run(tmp_path, monitor, reader, module=Scripted((0.1, 0.1, 0.1, 0.1)))
    rows = [row for row in table(tmp_path, "drift") if row["method"] == "gi"][1:]
    for row, before, after in zip(rows, reader.read, reader.read[1:], strict=False):
        same = [
            slow_drift(then["gi"], now["gi"])[0]
            for (a, then), (b, now) in zip(before, after, strict=True)
            if a == b
        ]
        assert row["count"] == str(len(same))
        assert float(row["drift"]) == pytest.approx(mean(same), abs=1e-5)
    assert any(0 < int(row["count"]) < len(DATA) for row in rows)


class Broken(Attribution):
    """Not a number for texts with an exclamation mark, in every other epoch."""

    calls = 0

    def scores(self, trace):
        type(self).calls += 1
        bad = (trace.inputs.input_ids == EXCLAMATION).any(1)
        scores = torch.rand(trace.inputs.input_ids.shape) + 1
        return torch.where(bad[:, None], nan, scores)


def test_texts_without_finite_scores_do_not_count(tmp_path):
    monitor = DriftMonitor({"broken": Broken()})
    run(tmp_path, monitor, max_epochs=2)
    exclaimed = sum("!" in text for text, _ in DATA)
    assert 0 < monitor.results[0].count == len(DATA) - exclaimed < len(DATA)
    assert 0 < monitor.results[0].drift < 1


@pytest.mark.parametrize("call", ["validate", "test"])
def test_a_run_without_training_has_no_drift(tmp_path, call):
    method = Counting()
    runner = trainer(tmp_path, [DriftMonitor({"gs": method})])
    getattr(runner, call)(ForeignModule(), loader(), verbose=False)
    assert method.texts == 0 and not any("drift" in key for key in runner.callback_metrics)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 1.5}, "low: expected a share"),
        ({"patience": 0}, "patience must be a whole number of at least 1"),
        ({"every_n_epochs": 0}, "every_n_epochs"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        DriftMonitor(**settings)
