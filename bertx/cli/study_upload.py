"""Studies sent to Weights & Biases, to the project of every run of bertx."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bertx.cli.configs import BASE, shipped_folder


def log_studies(folders: Sequence[Path]) -> None:
    """Log studies as one run; without a key or a network it is logged offline.

    Args:
        folders: Their folders.
    """
    from bertx.report.loggers import to_each
    from bertx.report.resilient import ResilientWandbLogger
    from bertx.report.study_log import log_study

    settings = _settings()
    Path(settings["save_dir"]).mkdir(parents=True, exist_ok=True)
    name = "-".join(["study", *(folder.name for folder in folders)])
    logger = ResilientWandbLogger(**settings, name=name, job_type="study")
    for folder in folders:
        to_each([logger], log_study, folder)
    logger.finalize("success")


def _settings() -> dict[str, Any]:
    """Project and folder of W&B's logger in the configuration that every run starts from."""
    base = yaml.safe_load((shipped_folder() / f"{BASE}.yaml").read_text(encoding="utf-8"))
    loggers = base["trainer"]["logger"]
    found = next(own for own in loggers if own["class_path"].endswith("WandbLogger"))
    arguments: dict[str, Any] = found["init_args"]
    return arguments
