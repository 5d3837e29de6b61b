"""A figure to whatever logger the Trainer has.

As in `bertx.report.loggers`: dispatched on the logger's type, nothing for a logger that is not
known here, one more ``@log_figure.register`` for one more logger. Call it on rank zero.
"""

from functools import singledispatch
from io import BytesIO
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from bertx.rendering.canvas import figure_png

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
