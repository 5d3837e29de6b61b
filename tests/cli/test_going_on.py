"""A training that is killed and resumed ends bit for bit like one that is not killed."""

import pytest
import torch

from tests.cli.killing import RUNS, Training, curves, differences, result

LOGGED = ["--trainer.log_every_n_steps=1", "--model.learning_rate=1e-3"]
STOPPING = "{class_path: EarlyStopping, init_args: {monitor: val/loss, min_delta: 9, patience: 3}}"
"""Stops at the fourth validation, whatever comes out."""
EPOCHS = [
    *LOGGED,
    "--trainer.max_epochs=6",
    "--trainer.val_check_interval=3",
    "--last_checkpoint.every_n_train_steps=3",
    f"--trainer.callbacks+={STOPPING}",
]
ACCUMULATING = [
    *LOGGED,
    "--trainer.max_epochs=3",
    "--trainer.accumulate_grad_batches=4",
    "--trainer.val_check_interval=5",
    "--last_checkpoint.every_n_train_steps=1",
    "--data.masking=0.5",
    "--data.num_workers=1",
]
SAME = (
    "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: lightning_logs, "
    "name: '', version: version_0}}"
)
"""One folder for all runs of a training, which then has all that was logged."""
STEPS = [
    *LOGGED,
    f"--trainer.logger={SAME}",
    "--trainer.max_epochs=-1",
    "--trainer.max_steps=11",
    "--trainer.limit_train_batches=4",
    "--trainer.check_val_every_n_epoch=2",
    "--checkpoint.every_n_train_steps=3",
    "--last_checkpoint.every_n_train_steps=2",
]
CASES = {
    "in epochs that end early": (
        EPOCHS,
        ("step", 4), ("validation", 3), ("writing", 0), ("epoch end", 0),
        ("epoch's checkpoint", 0), ("export", 0),
    ),
    "while gradients wait": (
        ACCUMULATING,
        ("step", 5), ("validation", 1), ("step", 1), ("step", 2),
    ),
    "by steps": (
        STEPS,
        ("step", 3), ("epoch end", 0), ("validation", 0), ("epoch's checkpoint", 0),
    ),
}  # fmt: skip
"""Settings, and where it is killed: a place, and how often it is passed before."""


@pytest.fixture
def train(model, data, monkeypatch, workplace):
    """Train in a folder of its own, killed at each place in turn: the steps of every run."""

    def call(name, settings, kills=(), then="last"):
        (workplace / name).mkdir(exist_ok=True)
        monkeypatch.chdir(workplace / name)
        with monkeypatch.context() as patched:
            training = Training(patched, model, data, *settings)
            runs, resumed = [], []
            for kill in [*kills, None]:
                if list(RUNS.rglob("last.ckpt")):
                    resumed = [f"--ckpt_path={then}"]
                killed = training.run(*resumed, kill=kill)
                assert killed == (kill is not None), f"{kill}: no such place was passed"
                runs.append(training.steps)
        return runs

    return call


@pytest.mark.parametrize("name", CASES)
def test_a_killed_training_ends_as_one_that_was_not(name, train):
    settings, *kills = CASES[name]
    (whole,) = train("whole", settings)
    expected, log = result(), curves(RUNS / "version_0")
    runs = train("killed", settings, kills)

    batches = {(epoch, number): [] for epoch, number, *_ in whole}
    for run in runs:
        start = whole.index(run[0]) if run else 0
        assert run == whole[start : start + len(run)], "other rows, or another loss"
        for step in run:
            batches[step[:2]].append(step)
    assert all(batches.values()), "a batch was left out"
    assert differences(result(), expected) == []
    for run in RUNS.glob("version_*"):
        found = curves(run) if list(run.glob("metrics.csv")) else {}
        assert {key: log.get(key) for key in found} == found
    if f"--trainer.logger={SAME}" in settings:
        assert curves(RUNS / "version_0") == log
    assert not list(RUNS.rglob(".*ckpt*")), "a draft was left"


def test_goes_on_from_any_checkpoint_while_gradients_wait(train):
    (whole,) = train("whole", [*ACCUMULATING, "--checkpoint.save_top_k=-1"])
    amid = RUNS / "version_0/checkpoints/epoch=1-step=3.ckpt"
    assert torch.load(amid)["bertx_resumption"]["gradients"]
    (rest,) = train("whole", ACCUMULATING, then=amid)
    assert rest == whole[11:]
