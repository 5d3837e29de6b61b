"""Figures to loggers."""

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from bertx.rendering.canvas import figure_png
from bertx.rendering.matrix import matrix_figure
from bertx.report.figures import log_figure
from tests.report.test_loggers import finished

FIGURE = matrix_figure(["a", "b"], [[1, 0.5], [0.5, 1]], "Agreement")


def test_wandb_gets_a_picture_with_its_caption(tmp_path, monkeypatch):
    import wandb

    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    logger = WandbLogger(save_dir=tmp_path, project="report")
    try:
        for step in (3, 7):
            log_figure(logger, "val/agreement_matrix", FIGURE, f"epoch 0, step {step}", step)
        run = finished(logger)
    finally:
        wandb.finish()
    assert [row["trainer/global_step"] for row in run.history] == [3, 7]
    [first, second] = run.values("val/agreement_matrix")
    assert (first["caption"], second["caption"]) == ("epoch 0, step 3", "epoch 0, step 7")
    (tmp_path / "expected.png").write_bytes(figure_png(FIGURE))
    with Image.open(run.media(first)) as image, Image.open(tmp_path / "expected.png") as expected:
        assert image.tobytes() == expected.tobytes()


def test_tensorboard_gets_a_picture(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    log_figure(logger, "val/agreement_matrix", FIGURE, "epoch 0, step 3", 3)
    logger.experiment.close()
    [image] = (
        EventAccumulator(logger.log_dir, {"images": 0}).Reload().Images("val/agreement_matrix")
    )
    assert image.step == 3 and image.width > 100


def test_other_loggers_get_nothing(tmp_path):
    logger = CSVLogger(tmp_path)
    log_figure(logger, "val/agreement_matrix", FIGURE, "epoch 0, step 3", 3)
    logger.save()
    assert not list(tmp_path.rglob("*.csv"))
