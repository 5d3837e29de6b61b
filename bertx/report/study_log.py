"""A study to a logger: its numbers, tables and figures, as its folder has them.

As in `bertx.report.loggers`: dispatched on the logger's type, nothing for one that is not known.
"""

import json
from functools import singledispatch
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from bertx.report.loggers import log_media


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
