"""Whole runs of the program under W&B, read back from its files."""

import re
from pathlib import Path

import pytest

from bertx.cli import main
from tests.runs import CSV_ONLY, UNEXPLAINED, arguments
from tests.wandb_reader import read_run
from tests.wandb_server import KEY, closed_port

METHODS = ("attnlrp", "gs", "gi", "lat", "lrp", "random")
MORE = ("--heatmaps.max_examples=3", "--trainer.log_every_n_steps=1")
COLUMNS = ("epoch", "step", "text", "gold", "predicted", "probability", *METHODS)


@pytest.fixture
def logged(model, data, tmp_path, monkeypatch):
    """A fit of two epochs, explained after each, and what W&B holds of it."""
    import wandb

    wandb.teardown()  # its service resolves relative folders from where it was started
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    args = arguments("fit", model, data, "--trainer.max_epochs=2", *MORE)
    main([a for a in args if a not in (*CSV_ONLY, *UNEXPLAINED)])
    folder = Path("lightning_logs/bertx", wandb.run.id)
    directory = Path(wandb.run.dir).parent
    wandb.finish()
    return read_run(directory), folder


def test_every_key_arrives_and_the_heatmaps_are_those_on_disk(logged):
    run, folder = logged
    keys = set().union(*run.history)
    for name in METHODS:
        assert {f"val/deletion_auc/{name}", f"val/deletion_auc/{name}_se"} <= keys
        assert {f"val/insertion_auc/{name}", f"val/insertion_auc/{name}_se"} <= keys
        assert f"val/cost/{name}" in keys
        assert (f"val/deletion_gain/{name}" in keys) == (name != "random")
    for kind in ("deletion", "insertion"):
        assert {f"val/curves/{kind}_table", f"val/curves/{kind}_image"} <= keys
        assert f"val/curves/{kind}" in run.config["_wandb"]["visualize"]
    assert {"val/accuracy", "val/macro_f1", "val/loss", "train/loss"} <= keys
    tables = run.tables("val/heatmaps")
    assert len(tables) == 2
    page = (folder / "bertx/val/heatmaps.html").read_text()
    for number, table in enumerate(tables):
        assert tuple(table["columns"]) == COLUMNS
        assert len(table["data"]) == 3
        for row in table["data"]:
            cells = dict(zip(COLUMNS, row, strict=True))
            assert cells["epoch"] == number and 0 <= cells["probability"] <= 1
            assert cells["gold"] in ("negative", "positive")
            html = cells["gs"].decode()
            assert html.startswith("<div") and "<script" not in html and "http" not in html
            if number == 1:
                assert cells["text"] in page
    _share_their_steps(run)
    assert run.config["data"]["batch_size"] == 8


TENSORBOARD = (
    "--trainer.logger+={class_path: lightning.pytorch.loggers.TensorBoardLogger, "
    "init_args: {save_dir: tensorboard}}"
)
ALARM = (
    "--trainer.callbacks+={class_path: bertx.callbacks.ShortcutAlarm, "
    "init_args: {bound: 0, min_texts: 1, target: gold}}"
)
PLANTED = "--data.shortcut={word: book, label: positive}"
WORDS = ("superb", "awful", "book")


def test_no_text_reaches_a_logger_of_a_run_that_cannot_be_sent(
    model, data, wandb_home, monkeypatch, capfd
):
    """Somebody who has a key, in a cluster without a network, and whose texts are private."""
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", closed_port())
    args = [a for a in arguments("fit", model, data) if a not in CSV_ONLY + UNEXPLAINED]
    args += ["--faithfulness.methods={}", "--heatmaps.methods={gs: GradientSensitivity}"]
    args += ["--trainer.max_epochs=1", "--heatmaps.log_text=false", TENSORBOARD, ALARM, PLANTED]
    monkeypatch.setattr("sys.argv", ["bertx", *args])
    main(args)
    directory, folder = Path(wandb.run.dir).parent, Path("lightning_logs/bertx", wandb.run.id)
    wandb.finish()
    run = read_run(directory)

    said = capfd.readouterr()
    [line] = [line for line in said.out.splitlines() if "wandb sync" in line]
    assert line.endswith(f"To send it later: wandb sync lightning_logs/wandb/{directory.name}")
    assert "A shortcut? One word" in said.out and "Traceback" not in said.err
    assert not _words_in(said.out + said.err)
    [table] = run.tables("val/heatmaps")
    assert all(re.fullmatch(r"example \d+, \d+ words?", row[2]) for row in table["data"])
    assert run.config["data"]["batch_size"] == 8 and run.config["data"]["shortcut"]["share"] == 1
    logged = [path for path in (*directory.rglob("*"), *Path("tensorboard").rglob("events*"))]
    assert not any(_words_in(path.read_text("latin-1")) for path in logged if path.is_file())
    for name in ("bertx/val/heatmaps.html", "config.yaml", "bertx/val/shortcuts.csv"):
        assert "book" in _words_in((folder / name).read_text())


def _words_in(text):
    return set(re.findall(rf"\b({'|'.join(WORDS)})\b", text))


def _share_their_steps(run):
    steps = run.values("trainer/global_step")
    assert steps == sorted(steps)
    keys = ("val/deletion_auc/gs", "val/heatmaps", "val/curves/deletion_image")
    of = [[row["trainer/global_step"] for row in run.history if key in row] for key in keys]
    assert of[0] == of[1] == of[2] and len(of[0]) == 2
