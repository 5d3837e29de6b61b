"""Curves and heatmaps to whatever logger the Trainer has.

The functions dispatch on the logger's type. A logger that is not known here gets nothing: the
scalars reach it through Lightning. Support for one more is one more ``@log_curves.register``.
Call them on rank zero.
"""

from collections.abc import Mapping, Sequence
from functools import singledispatch
from io import BytesIO
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from bertx.report.curves import Curve, Kind, Unit, curves_figure, figure_png
from bertx.report.heatmap import Heatmap, heatmap_html, legend_html, printable
from bertx.report.page import HeatmapRow, methods_of

if TYPE_CHECKING:
    from wandb import Html, Image, Table
    from wandb.plot import CustomChart

MOST_ROWS = 64
"""How many examples a W&B table gets; W&B asks for less than 25 MB in one call."""
MOST_DRAWN = 8
"""How many examples are drawn where only a picture can be shown."""


@singledispatch
def log_curves(
    logger: Logger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    epoch: int,
    step: int,
    unit: Unit = "word",
    note: str = "",
) -> None:
    """Log the curves of one validation.

    Weights & Biases: for the prefix ``val/curves``, the plot ``val/curves/deletion`` (its points
    are in the history as the table ``val/curves/deletion_table``; the page shows the last) and the
    picture ``val/curves/deletion_image``, which has a slider over the steps.
    TensorBoard: the picture ``val/curves/deletion``.

    Args:
        logger: Any logger of Lightning's.
        prefix: First part of every key.
        curves: The curves of each kind.
        epoch: The epoch.
        step: The step as the logger's scalars have it.
        unit: What was deleted or inserted.
        note: Printed beside the curves.
    """


@singledispatch
def log_heatmaps(logger: Logger, key: str, rows: Sequence[HeatmapRow], step: int) -> None:
    """Log the heatmaps of one validation.

    Weights & Biases: a table with the columns epoch, step, text, gold, predicted, probability and
    then one per method, of at most 64 rows; the page shows the last, all are in the history.
    TensorBoard: a picture of the first 8 rows, and all rows as a text with each method's strongest
    words.

    Args:
        logger: Any logger of Lightning's.
        key: The key.
        rows: The examples.
        step: The step as the logger's scalars have it.
    """


@log_curves.register
def _log_curves_to_wandb(
    logger: WandbLogger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    epoch: int,
    step: int,
    unit: Unit = "word",
    note: str = "",
) -> None:
    media: dict[str, Any] = {}
    for kind, lines in curves.items():
        media[f"{prefix}/{kind}"] = _wandb_plot(lines, kind, epoch, unit)
        media[f"{prefix}/{kind}_image"] = _wandb_image(lines, kind, _when(epoch, step), unit, note)
    if media:
        logger.log_metrics(media, step=step)


@log_curves.register
def _log_curves_to_tensorboard(
    logger: TensorBoardLogger,
    prefix: str,
    curves: Mapping[Kind, Sequence[Curve]],
    epoch: int,
    step: int,
    unit: Unit = "word",
    note: str = "",
) -> None:
    for kind, lines in curves.items():
        figure = curves_figure(lines, kind, _when(epoch, step), unit, note)
        logger.experiment.add_figure(f"{prefix}/{kind}", figure, step)


@log_heatmaps.register
def _log_heatmaps_to_wandb(
    logger: WandbLogger, key: str, rows: Sequence[HeatmapRow], step: int
) -> None:
    if rows:
        media: dict[str, Any] = {key: _wandb_table(rows[:MOST_ROWS])}
        logger.log_metrics(media, step=step)


@log_heatmaps.register
def _log_heatmaps_to_tensorboard(
    logger: TensorBoardLogger, key: str, rows: Sequence[HeatmapRow], step: int
) -> None:
    from bertx.report.picture import heatmap_figure

    if rows:
        logger.experiment.add_figure(key, heatmap_figure(rows[:MOST_DRAWN]), step)
        logger.experiment.add_text(key, _markdown(rows), step)


def _when(epoch: int, step: int) -> str:
    return f"epoch {epoch}, step {step}"


def _wandb_plot(curves: Sequence[Curve], kind: Kind, epoch: int, unit: Unit) -> "CustomChart":
    import wandb

    points = [
        [epoch, curve.name, *point]
        for curve in curves
        for point in zip(curve.fractions, curve.mean, curve.low, curve.high, strict=True)
    ]
    columns: list[str | int] = ["epoch", "method", "fraction", "probability", "low", "high"]
    return wandb.plot_table(
        "wandb/lineseries/v0",
        wandb.Table(data=points, columns=columns),
        fields={"step": "fraction", "lineKey": "method", "lineVal": "probability"},
        string_fields={"title": kind.capitalize(), "xname": f"share of {unit}s"},
    )


def _wandb_image(curves: Sequence[Curve], kind: Kind, when: str, unit: Unit, note: str) -> "Image":
    import wandb
    from PIL import Image

    picture = figure_png(curves_figure(curves, kind, when, unit, note))
    return wandb.Image(Image.open(BytesIO(picture)), caption=when)


def _wandb_table(rows: Sequence[HeatmapRow]) -> "Table":
    import wandb

    methods = methods_of(rows)
    facts = ("epoch", "step", "text", "gold", "predicted", "probability")
    table = wandb.Table(columns=[*facts, *methods])
    for row in rows:
        names = (printable(text) for text in (row.text, row.gold, row.predicted))
        cells = [_wandb_html(row.heatmaps.get(method)) for method in methods]
        table.add_data(row.epoch, row.step, *names, row.probability, *cells)
    return table


def _wandb_html(heatmap: Heatmap | None) -> "Html | None":
    import wandb

    if heatmap is None:
        return None
    fragment = heatmap_html(heatmap) + legend_html(heatmap.signed)
    # inject would link a style sheet of W&B's
    return wandb.Html(fragment, inject=False, data_is_not_path=True)


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
    """One line of Markdown that shows the text as it is: punctuation becomes entities."""
    line = " ".join(printable(cell).split())
    return "".join(c if c.isalnum() or c in " .,-+" else f"&#{ord(c)};" for c in line)
