"""Logging of curves, heatmaps, figures and studies to Weights & Biases and TensorBoard.

The functions dispatch on the type of the logger. Other loggers only get the scalars, which
Lightning sends; ``@log_curves.register`` adds support for one. Call the functions on rank zero,
through `to_each`: a logger that fails must not end a training.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from weakref import WeakSet

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from bertx.errors import first_line
from bertx.metrics.curve_metrics import Kind
from bertx.models.inputs import Unit
from bertx.rendering.canvas import figure_png
from bertx.rendering.curves import Curve
from bertx.rendering.heatmap import Heatmap, heatmap_html, legend_html, printable
from bertx.rendering.heatmap_page import HeatmapRow, heatmap_page, methods_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from wandb import Html, Table
    from wandb.plot import CustomChart

log = logging.getLogger("bertx")

P = ParamSpec("P")

MOST_ROWS = 64
"""Most examples in a W&B table; W&B takes less than 25 MB in one call."""
MOST_DRAWN = 8
"""Most examples in a picture, for loggers that show no HTML."""

_failed: WeakSet[Logger] = WeakSet()


def to_each(
    loggers: Iterable[Logger],
    send: Callable[Concatenate[Logger, P], object],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call a function for each of several loggers; warn once of a logger that fails.

    Args:
        loggers: The loggers.
        send: A function such as `log_curves`, whose first argument is the logger.
        *args: Its other arguments.
        **kwargs: Its keyword arguments.
    """
    for logger in loggers:
        try:
            send(logger, *args, **kwargs)
        except Exception as error:
            if logger not in _failed:
                _failed.add(logger)
                log.warning(
                    f"{type(logger).__name__} failed ({type(error).__name__}: "
                    f"{first_line(error)}), so it does not have everything; the run goes on, and "
                    "its files are complete"
                )


@singledispatch
def log_curves(
    logger: Logger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    figures: "Mapping[Kind, Figure]",
    epoch: int,
    step: int,
    unit: Unit = "word",
) -> None:
    """Log the curves of one validation.

    Weights & Biases: for the prefix ``val/curves``, the plot ``val/curves/deletion`` (its points
    are in the history as the table ``val/curves/deletion_table``; the page shows the last one) and
    the picture ``val/curves/deletion_image``, which has a slider over the steps.
    TensorBoard: the picture ``val/curves/deletion``.

    Args:
        logger: Any Lightning logger.
        prefix: First part of every key.
        curves: The curves of each kind.
        figures: The figure of each kind.
        epoch: The epoch.
        step: The step of the logger's scalars.
        unit: What was deleted or inserted.
    """


@singledispatch
def log_heatmaps(logger: Logger, key: str, rows: Sequence[HeatmapRow], step: int) -> None:
    """Log the heatmaps of one validation.

    Weights & Biases: a table with the columns epoch, step, text, gold, predicted, probability and
    one for each method, of at most 64 rows, and under ``<key>_page`` the same rows as a page of
    HTML, which has a slider over the steps. W&B shows the last table; all are in the history.
    TensorBoard: a picture of the first 8 rows, and all rows as a text with each method's strongest
    words.

    Args:
        logger: Any Lightning logger.
        key: The key.
        rows: The examples.
        step: The step of the logger's scalars.
    """


@singledispatch
def log_figure(logger: Logger, key: str, figure: "Figure", caption: str, step: int) -> None:
    """Log a figure as a picture, which has a slider over the steps.

    Args:
        logger: Any Lightning logger.
        key: The key.
        figure: The figure.
        caption: A line below it, for loggers that show captions.
        step: The step of the logger's scalars.
    """


@singledispatch
def log_study(logger: Logger, folder: Path) -> None:
    """Log the results of a study.

    Weights & Biases: numbers as ``study/<name>/<number>``, tables as
    ``study/<name>/tables/<table>`` and figures as ``study/<name>/figures/<figure>``, in one step.

    Args:
        logger: The logger.
        folder: The folder of the study, with ``summary.json`` and ``figures``.
    """


@log_curves.register(WandbLogger)
def _log_curves_to_wandb(
    logger: WandbLogger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    figures: "Mapping[Kind, Figure]",
    epoch: int,
    step: int,
    unit: Unit = "word",
) -> None:
    import wandb

    media: dict[str, Any] = {}
    when = f"epoch {epoch}, step {step}"
    for kind, lines in curves.items():
        media[f"{prefix}/{kind}"] = _wandb_plot(lines, kind, epoch, unit)
        media[f"{prefix}/{kind}_image"] = wandb.Image(_picture(figures[kind]), caption=when)
    if media:
        log_media(logger, media, step)


@log_curves.register(TensorBoardLogger)
def _log_curves_to_tensorboard(
    logger: TensorBoardLogger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    figures: "Mapping[Kind, Figure]",
    epoch: int,
    step: int,
    unit: Unit = "word",
) -> None:
    for kind, figure in figures.items():
        log_figure(logger, f"{prefix}/{kind}", figure, f"epoch {epoch}, step {step}", step)


@log_heatmaps.register
def _log_heatmaps_to_wandb(
    logger: WandbLogger, key: str, rows: Sequence[HeatmapRow], step: int
) -> None:
    if rows:
        shown = rows[:MOST_ROWS]
        page = _wandb_html(heatmap_page(shown, key))
        log_media(logger, {key: _wandb_table(shown), f"{key}_page": page}, step)


@log_heatmaps.register
def _log_heatmaps_to_tensorboard(
    logger: TensorBoardLogger, key: str, rows: Sequence[HeatmapRow], step: int
) -> None:
    from bertx.rendering.heatmap_figure import heatmap_figure

    if rows:
        log_figure(logger, key, heatmap_figure(rows[:MOST_DRAWN]), "", step)
        logger.experiment.add_text(key, _markdown(rows), step)


@log_figure.register(WandbLogger)
def _log_figure_to_wandb(
    logger: WandbLogger, key: str, figure: "Figure", caption: str, step: int
) -> None:
    import wandb

    picture: Any = wandb.Image(_picture(figure), caption=caption)
    logger.log_metrics({key: picture}, step=step)


@log_figure.register(TensorBoardLogger)
def _log_figure_to_tensorboard(
    logger: TensorBoardLogger, key: str, figure: "Figure", caption: str, step: int
) -> None:
    picture = np.asarray(_picture(figure).convert("RGB"))
    logger.experiment.add_image(key, picture, step, dataformats="HWC")


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


def log_media(logger: WandbLogger, media: dict[str, Any], step: int | None = None) -> None:
    """Log everything in one call, and so in one step.

    A table is an artifact, whose files stay offline in a staging folder until they are sent. By
    default that is in the user's home, and is missing when the folder of a run is copied from a
    cluster. Here the files are staged in the folder of the run. Their manifest still has absolute
    paths: ``wandb sync`` of a copy sends the page, which is not an artifact, but not the table.
    """
    with _staged_in(Path(str(logger.experiment.dir)).parent):
        logger.log_metrics(media, step=step)


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Let wandb stage files in a folder; the environment variable is its only setting for this."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before


def _picture(figure: "Figure") -> "Image":
    from PIL import Image

    return Image.open(BytesIO(figure_png(figure)))


def _wandb_plot(curves: Sequence[Curve], kind: Kind, epoch: int, unit: Unit) -> "CustomChart":
    import wandb

    points = [[epoch, curve.name, *point] for curve in curves for point in curve.points]
    columns: list[str | int] = ["epoch", "method", "fraction", "probability", "low", "high"]
    return wandb.plot_table(
        "wandb/lineseries/v0",
        wandb.Table(data=points, columns=columns),
        fields={"step": "fraction", "lineKey": "method", "lineVal": "probability"},
        string_fields={"title": kind.capitalize(), "xname": f"share of {unit}s"},
    )


def _wandb_table(rows: Sequence[HeatmapRow]) -> "Table":
    import wandb

    methods = methods_of(rows)
    facts = ("epoch", "step", "text", "gold", "predicted", "probability")
    table = wandb.Table(columns=[*facts, *methods])
    for row in rows:
        names = (printable(text) for text in (row.text, row.gold, row.predicted))
        cells = [_wandb_heatmap(row.heatmaps.get(method)) for method in methods]
        table.add_data(row.epoch, row.step, *names, row.probability, *cells)
    return table


def _wandb_heatmap(heatmap: Heatmap | None) -> "Html | None":
    if heatmap is None:
        return None
    return _wandb_html(heatmap_html(heatmap) + legend_html(heatmap.signed))


def _wandb_html(text: str) -> "Html":
    import wandb

    # inject would link a style sheet of W&B
    return wandb.Html(text, inject=False, data_is_not_path=True)


def _markdown(rows: Sequence[HeatmapRow]) -> str:
    methods = methods_of(rows)
    head = ["epoch", "text", "gold", "predicted", "probability", *methods]
    lines = [[_literal(cell) for cell in head], ["---"] * len(head)]
    for row in rows:
        facts = [str(row.epoch), row.text, row.gold, row.predicted, f"{row.probability:.3f}"]
        strongest = [
            ", ".join(row.heatmaps[method].strongest(3)) if method in row.heatmaps else "–"
            for method in methods
        ]
        lines.append([_literal(cell) for cell in [*facts, *strongest]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _literal(cell: str) -> str:
    """Escape a text as one line of Markdown: punctuation becomes entities."""
    line = " ".join(printable(cell).split())
    return "".join(c if c.isalnum() or c in " .,-+" else f"&#{ord(c)};" for c in line)
