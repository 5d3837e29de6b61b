"""The callback that saves the configuration of a run."""

from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import Logger

from bertx.callbacks import run_folder
from bertx.callbacks.trainer import texts_are_logged
from bertx.rendering.files import write_whole
from bertx.report.loggers import to_each


class SaveConfig(SaveConfigCallback):
    """Writes ``<run>/config.yaml`` and sends the configuration to every logger.

    Args:
        parser: The parser of the subcommand.
        config: The parsed configuration.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, which is a collective call, then save on rank zero."""
        self._folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file, replacing one of an earlier run in the folder, and log the settings."""
        text = self.parser.dump(self.config, skip_none=False)
        write_whole(self._folder / self.config_filename, text)
        settings = yaml.safe_load(text)
        shortcut = settings["data"].get("shortcut")
        if shortcut and not texts_are_logged(trainer):
            shortcut["word"] = None  # the only setting with words of texts
        to_each(trainer.loggers, _log_settings, settings)


def _log_settings(logger: Logger, settings: dict[str, Any]) -> None:
    logger.log_hyperparams(settings)
