import csv
import os
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from bertx.rendering.canvas import figure_png
from bertx.rendering.correlations import matrix_figure
from bertx.rendering.curves import curves_figure
from bertx.rendering.heatmap import heatmap_html, legend_html
from bertx.rendering.heatmap_page import heatmap_page
from bertx.report.csv_logger import ContinuedCSVLogger
from bertx.report.loggers import log_curves, log_figure, log_heatmaps, to_each
from tests.rendering import examples
from tests.wandb_reader import read_run

FIGURE = matrix_figure(["a", "b"], [[1, 0.5], [0.5, 1]], "Agreement")
BOTH = {"deletion": examples.curves(), "insertion": examples.curves()[:2]}


@pytest.fixture
def wandb_logger(tmp_path, monkeypatch):
    import wandb

    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield WandbLogger(save_dir=tmp_path, project="report")
    wandb.finish()


def log_both(logger, epoch, step, unit="word"):
    when = f"epoch {epoch}, step {step}"
    figures = {kind: curves_figure(lines, kind, when, unit) for kind, lines in BOTH.items()}
    log_curves(logger, "val/curves", BOTH, figures, epoch, step, unit)


def finished(logger):
    import wandb

    folder = Path(logger.experiment.dir).parent
    wandb.finish()
    return read_run(folder)


def drawn(figure):
    return Image.open(BytesIO(figure_png(figure))).convert("RGB")


@pytest.fixture
def tensorboard(tmp_path):
    """A logger, and a function that reads back what it wrote."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)

    def events():
        logger.experiment.close()
        return EventAccumulator(logger.log_dir, {"images": 0, "tensors": 0}).Reload()

    return logger, events


def test_wandb_gets_everything_in_one_call_each(wandb_logger):
    odd = examples.row(heatmaps={"attention": examples.unsigned()}, gold="")
    for epoch, step in ((0, 20), (1, 41)):
        log_both(wandb_logger, epoch, step)
        log_heatmaps(wandb_logger, "val/heatmaps", [examples.row(), odd], step)
    run = finished(wandb_logger)

    assert [row["trainer/global_step"] for row in run.history] == [20, 20, 41, 41]
    keys = {key for row in run.history for key in row if key.startswith("val/")}
    assert keys == {
        "val/curves/deletion_table", "val/curves/deletion_image",
        "val/curves/insertion_table", "val/curves/insertion_image",
        "val/heatmaps", "val/heatmaps_page",
    }  # fmt: skip
    assert all(len(run.values(key)) == 2 for key in keys)


def test_wandb_plot(wandb_logger):
    log_both(wandb_logger, 3, 63)
    run = finished(wandb_logger)

    [table] = run.tables("val/curves/deletion_table")
    assert table["columns"] == ["epoch", "method", "fraction", "probability", "low", "high"]
    assert len(table["data"]) == 3 * 11
    one = examples.curves()[1]
    expected = [3, one.name, one.fractions[2], *one.means[2]]
    assert table["data"][11 + 2] == pytest.approx(expected)

    panel = run.config["_wandb"]["visualize"]["val/curves/deletion"]["panel_config"]
    assert panel["panelDefId"] == "wandb/lineseries/v0"
    fields = {"step": "fraction", "lineKey": "method", "lineVal": "probability"}
    assert panel["fieldSettings"] == fields
    assert panel["stringSettings"] == {"title": "Deletion", "xname": "share of words"}
    assert set(fields.values()) <= set(table["columns"])


def test_wandb_image(wandb_logger):
    log_both(wandb_logger, 3, 63, "token")
    run = finished(wandb_logger)
    [value] = run.values("val/curves/insertion_image")
    assert value["caption"] == "epoch 3, step 63"
    figure = curves_figure(BOTH["insertion"], "insertion", "epoch 3, step 63", "token")
    with Image.open(run.media(value)) as image:
        assert image.convert("RGB").tobytes() == drawn(figure).tobytes()


def test_wandb_heatmaps(wandb_logger):
    row = examples.row()
    odd = examples.row(heatmaps={"attention": examples.unsigned()}, gold="")
    log_heatmaps(wandb_logger, "val/heatmaps", [row, odd, examples.hostile_row()], 63)
    [table] = finished(wandb_logger).tables("val/heatmaps")

    facts = ["epoch", "step", "text", "gold", "predicted", "probability"]
    hostile = next(iter(examples.hostile_row().heatmaps))
    assert table["columns"] == [*facts, "grad_x_input", "attention", hostile]
    assert table["data"][0][:6] == [3, 63, examples.TEXT, "positive", "positive", 0.973]
    assert table["data"][0][6] == fragment(examples.signed())
    assert table["data"][0][7] == fragment(examples.unsigned())
    assert table["data"][1][3] == "" and table["data"][1][6] is None
    assert table["data"][2][8] == fragment(examples.hostile_row().heatmaps[hostile])


def fragment(heatmap):
    return (heatmap_html(heatmap) + legend_html(heatmap.signed)).encode("utf-8")


def test_wandb_table_is_cut_at_64_rows(wandb_logger):
    rows = [examples.row(step=i, heatmaps={"attention": examples.unsigned()}) for i in range(70)]
    log_heatmaps(wandb_logger, "val/heatmaps", rows, 63)
    [table] = finished(wandb_logger).tables("val/heatmaps")
    assert [row[1] for row in table["data"]] == list(range(64))


def test_a_copy_of_an_offline_run_is_whole(wandb_logger, tmp_path, monkeypatch):
    """Nothing of it lies elsewhere, not where tables are staged by default."""
    monkeypatch.delenv("WANDB_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rows = [examples.row(), examples.hostile_row()]
    log_both(wandb_logger, 3, 63)
    log_heatmaps(wandb_logger, "val/heatmaps", rows, 63)
    assert "WANDB_DATA_DIR" not in os.environ
    folder = finished(wandb_logger).folder
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    shutil.rmtree(folder)
    assert not list((tmp_path / "home").rglob("staging/*"))
    run = read_run(copy)
    [points], [table] = run.tables("val/curves/deletion_table"), run.tables("val/heatmaps")
    assert len(points["data"]) == 33
    assert table["data"][0][6] == fragment(examples.signed())
    [page] = run.values("val/heatmaps_page")
    assert run.media(page).read_text() == heatmap_page(rows, "val/heatmaps")


def test_wandb_survives_broken_text(wandb_logger):
    row = examples.row(text="nul \x00 half \ud83d", gold="\ud83d")
    log_heatmaps(wandb_logger, "val/heatmaps", [row], 1)
    [table] = finished(wandb_logger).tables("val/heatmaps")
    assert table["data"][0][2:4] == ["nul \ufffd half \ufffd", "\ufffd"]


def test_nothing_to_show_is_no_call(wandb_logger):
    log_curves(wandb_logger, "val/curves", {}, {}, 0, 1)
    log_heatmaps(wandb_logger, "val/heatmaps", [], 1)
    assert finished(wandb_logger).history == []


def test_tensorboard_curves(tensorboard):
    logger, events = tensorboard
    log_both(logger, 0, 20)
    log_both(logger, 1, 41)
    read = events()
    assert set(read.Tags()["images"]) == {"val/curves/deletion", "val/curves/insertion"}
    images = read.Images("val/curves/deletion")
    assert [image.step for image in images] == [20, 41]
    assert (images[0].width, images[0].height) == (960, 540)


def test_tensorboard_heatmaps(tensorboard):
    logger, events = tensorboard
    log_heatmaps(logger, "val/heatmaps", [examples.row(), examples.hostile_row()], 63)
    read = events()
    [image] = read.Images("val/heatmaps")
    assert image.step == 63 and image.height > 200
    [text] = read.Tensors("val/heatmaps/text_summary")
    head, rule, first, second = text.tensor_proto.string_val[0].decode("utf-8").splitlines()
    assert head.startswith(
        "| epoch | text | gold | predicted | probability | grad&#95;x&#95;input |"
    )
    assert "superb +0.52, isn&#39;t -0.31, acting +0.22" in first
    assert len({line.count("|") for line in (head, rule, first, second)}) == 1
    assert "<" not in second


def test_tensorboard_draws_the_first_rows_only(tensorboard):
    logger, events = tensorboard
    log_heatmaps(logger, "few", [examples.row()] * 8, 1)
    log_heatmaps(logger, "many", [examples.row()] * 30, 1)
    read = events()
    assert read.Images("few")[0].height == read.Images("many")[0].height
    assert len(read.Tensors("many/text_summary")[0].tensor_proto.string_val[0].splitlines()) == 32


class Recorder(Logger):
    """A logger that nobody knows; it would fail on any call."""

    name = version = "x"

    def log_metrics(self, metrics, step=None):
        raise AssertionError("not to be called")

    def log_hyperparams(self, params):
        raise AssertionError("not to be called")


def test_other_loggers_get_nothing(tmp_path):
    for logger in (CSVLogger(tmp_path), Recorder()):
        log_both(logger, 0, 1)
        log_heatmaps(logger, "val/heatmaps", [examples.row()], 1)
    assert not list(tmp_path.rglob("*.html"))


def test_a_logger_that_fails_is_named_once_and_the_others_get_everything(tmp_path, caplog):
    class Failing(CSVLogger):
        """Says what was wrong in several lines."""

    @log_heatmaps.register
    def _(logger: Failing, key, rows, step):
        raise OSError("no space left\non the device")

    got = []

    class Working(Recorder):
        """Takes heatmaps."""

    @log_heatmaps.register
    def _(logger: Working, key, rows, step):
        got.append(key)

    loggers = [Failing(tmp_path), Working()]
    with caplog.at_level("WARNING", "bertx"):
        to_each(loggers, log_heatmaps, "first", [], 1)
        to_each(loggers, log_heatmaps, "second", [], 2)
    assert got == ["first", "second"]
    [said] = caplog.messages
    assert said.startswith("Failing failed (OSError: no space left)") and "\n" not in said


def test_subclasses_of_a_known_logger_are_known():
    class Mine(WandbLogger):
        pass

    assert log_curves.dispatch(Mine) is log_curves.dispatch(WandbLogger)
    assert log_curves.dispatch(Mine) is not log_curves.dispatch(Logger)
    assert log_heatmaps.dispatch(TensorBoardLogger) is not log_heatmaps.dispatch(Logger)


def test_wandb_gets_a_picture_with_its_caption(wandb_logger):
    for step in (3, 7):
        log_figure(wandb_logger, "val/agreement_matrix", FIGURE, f"epoch 0, step {step}", step)
    run = finished(wandb_logger)
    assert [row["trainer/global_step"] for row in run.history] == [3, 7]
    [first, second] = run.values("val/agreement_matrix")
    assert (first["caption"], second["caption"]) == ("epoch 0, step 3", "epoch 0, step 7")
    with Image.open(run.media(first)) as image:
        assert image.convert("RGB").tobytes() == drawn(FIGURE).tobytes()


def test_tensorboard_gets_a_picture(tensorboard):
    logger, events = tensorboard
    log_figure(logger, "val/agreement_matrix", FIGURE, "epoch 0, step 3", 3)
    [image] = events().Images("val/agreement_matrix")
    with Image.open(BytesIO(image.encoded_image_string)) as picture:
        assert picture.tobytes() == drawn(FIGURE).tobytes()
    assert image.step == 3


def test_other_loggers_get_no_figure(tmp_path):
    logger = CSVLogger(tmp_path)
    log_figure(logger, "val/agreement_matrix", FIGURE, "epoch 0, step 3", 3)
    logger.save()
    assert not list(tmp_path.rglob("*.csv"))


def test_a_resumed_run_keeps_its_rows_up_to_where_it_goes_on(tmp_path):
    def log(logger, steps, added):
        for step in steps:
            logger.log_metrics({"loss": step + added}, step)
            logger.log_metrics({"accuracy": step + added}, step)
        logger.save()

    log(CSVLogger(tmp_path, "", "version_0"), range(4), 0)
    log(ContinuedCSVLogger.of(CSVLogger(tmp_path, "", "version_0")), range(2, 6), 0.5)
    with (tmp_path / "version_0" / "metrics.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    assert rows == [
        {"step": step, name: step + 0.5 * (step > 1)}
        for step in range(6)
        for name in ("loss", "accuracy")
    ]
