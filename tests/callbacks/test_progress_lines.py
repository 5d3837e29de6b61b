"""Progress while a trainer runs: lines without a bar, one more bar beside a bar."""

import io
import re

import pytest
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar

from bertx.attribution import GradientXInput
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger, ProgressLines
from bertx.errors import InputError
from bertx.progress import displayed
from tests.callbacks.toy import ForeignModule, loader, trainer
from tests.displays import Remembered

LOSSES = [0.5, 0.25, 0.75]


class Known(ForeignModule):
    """Its validation losses are known."""

    def validation_step(self, batch, _):
        self.log("val/loss", LOSSES[self.current_epoch], prog_bar=True, batch_size=1)


class Clock(Callback):
    """Every training batch takes 2 s, every validation batch a minute."""

    now = 1000.0

    def on_train_batch_start(self, *args):
        self.now += 2

    def on_validation_batch_start(self, *args):
        self.now += 60


def fit(folder, **kwargs):
    clock, lines = Clock(), ProgressLines(every_n_steps=3)
    lines.clock = lambda: clock.now
    best = ModelCheckpoint(folder, monitor="val/loss", mode="min")
    settings = {"max_epochs": 3, "enable_checkpointing": True, **kwargs}
    trainer(folder, [clock, lines, best], **settings).fit(Known(), loader(), loader())


def test_a_line_for_some_steps_and_one_for_every_validation(tmp_path, capsys):
    fit(tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Epoch")]
    places = [line.partition(":")[0] for line in lines]
    assert places == [
        "Epoch 0/2, step 3/12", "Epoch 0/2, step 4/12",
        "Epoch 1/2, step 6/12", "Epoch 1/2, step 8/12",
        "Epoch 2/2, step 9/12", "Epoch 2/2, step 12/12", "Epoch 2/2, step 12/12",
    ]  # fmt: skip
    # 18 rows in 6 s; 6 s for 3 of 12 steps. Validations count for what is left, not for the rows.
    assert lines[0].endswith("learning rate 0.001, 3 rows/s, about 18 s left")
    assert ": loss " in lines[0]
    assert lines[2].endswith("3 rows/s, about 4 min 12 s left")
    best = "best val/loss so far"
    assert lines[1].endswith(f": val/loss 0.5, {best} 0.5, validated in 4 min 0 s")
    assert lines[3].endswith(f": val/loss 0.25, {best} 0.25, validated in 4 min 0 s")
    assert lines[6].endswith(f": val/loss 0.75, {best} 0.25, validated in 4 min 0 s")


def test_beside_a_bar_there_are_no_lines(tmp_path, capsys):
    fit(tmp_path, enable_progress_bar=True, max_epochs=1)
    assert "step 3" not in capsys.readouterr().err


def test_evaluation_that_takes_long_says_how_far_it_is(tmp_path, monkeypatch):
    seen = Remembered()
    monkeypatch.setattr("bertx.callbacks.progress_lines.Lines", lambda: seen)
    trainer(tmp_path, [ProgressLines()]).test(ForeignModule(), loader(), verbose=False)
    assert seen.tasks == [("Testing, batches", 4, 4)]


def test_a_number_below_zero_is_refused():
    with pytest.raises(InputError, match="every_n_steps must be at least 0, got -1"):
        ProgressLines(every_n_steps=-1)


def monitors():
    methods = {"gi": GradientXInput()}
    return [FaithfulnessMonitor(methods, max_examples=7), HeatmapLogger(methods, max_examples=5)]


def test_monitors_show_progress_where_the_command_line_does(tmp_path):
    seen = Remembered()
    with displayed(seen):
        trainer(tmp_path, monitors()).validate(ForeignModule(), loader(), verbose=False)
    assert sorted(seen.tasks) == [
        ("FaithfulnessMonitor, val examples", 7, 7), ("HeatmapLogger, val examples", 5, 5)
    ]  # fmt: skip


def test_monitors_add_a_bar_to_that_of_the_trainer(tmp_path, capsys):
    shown = io.StringIO()
    bar = RichProgressBar(console_kwargs={"force_terminal": True, "file": shown})
    runner = trainer(tmp_path, [bar, *monitors()], enable_progress_bar=True)
    runner.validate(ForeignModule(), loader(), verbose=False)
    assert "Validation" in shown.getvalue()
    assert "FaithfulnessMonitor, val examples" in shown.getvalue()
    assert len(bar.progress.tasks) == 1  # it is gone afterwards
    assert "FaithfulnessMonitor" not in capsys.readouterr().err


def test_who_wants_no_bar_gets_no_progress_of_monitors(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bertx.progress.SECONDS_BETWEEN_LINES", 0.001)
    trainer(tmp_path, monitors()).validate(ForeignModule(), loader(), verbose=False)
    assert "examples" not in capsys.readouterr().err
    trainer(tmp_path, [*monitors(), ProgressLines()]).validate(
        ForeignModule(), loader(), verbose=False
    )
    assert re.search(r"FaithfulnessMonitor, val examples: \d of 7, ", capsys.readouterr().err)
