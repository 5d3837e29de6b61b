"""Figures, and studies with theirs, to whatever logger the Trainer has.

As in `bertx.report.loggers`: dispatched on the logger's type, nothing for a logger that is not
known here, one more ``@log_figure.register`` for one more logger. Call it on rank zero.
"""

import json
from functools import singledispatch
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from bertx.rendering.canvas import figure_png
from bertx.report.loggers import log_media

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@singledispatch
def log_figure(logger: Logger, key: str, figure: "Figure", caption: str, step: int) -> None:
    """Log a figure as a picture, which has a slider over the steps.

    Args:
        logger: Any logger of Lightning's.
        key: The key.
        figure: The figure.
        caption: A line below it, for loggers that show one.
        step: The step as the logger's scalars have it.
    """


@log_figure.register(WandbLogger)
def _log_figure_to_wandb(
    logger: WandbLogger, key: str, figure: "Figure", caption: str, step: int
) -> None:
    import wandb
    from PIL import Image

    picture = wandb.Image(Image.open(BytesIO(figure_png(figure))), caption=caption)
    media: dict[str, Any] = {key: picture}
    logger.log_metrics(media, step=step)


@log_figure.register(TensorBoardLogger)
def _log_figure_to_tensorboard(
    logger: TensorBoardLogger, key: str, figure: "Figure", caption: str, step: int
) -> None:
    logger.experiment.add_figure(key, figure, step)


@singledispatch
def log_study(logger: Logger, folder: Path) -> None:
    """Log what a study has found.

    Weights & Biases: its numbers are ``study/<name>/<number>``, in one step with
    ``study/<name>/tables/<table>`` and ``study/<name>/figures/<figure>``.

    Args:
        logger: The logger.
        folder: The folder of the study, with ``summary.json`` and ``figures``.
    """


@log_study.register
def _log_study_to_wandb(logger: WandbLogger, folder: Path) -> None:
    import wandb

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    key = f"study/{summary['study']}"
    media: dict[str, Any] = {
        f"{key}/{name}": value for name, value in summary["numbers"].items() if value is not None
    }
    for table in summary["tables"]:
        media[f"{key}/tables/{table['name']}"] = wandb.Table(
            columns=table["columns"], data=table["rows"], allow_mixed_types=True
        )
    for figure in summary["figures"]:
        path = folder / "figures" / f"{figure['name']}.png"
        media[f"{key}/figures/{figure['name']}"] = wandb.Image(str(path), caption=figure["title"])
    log_media(logger, media)
