"""The configuration of a run, kept where it can be read again."""

from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import Logger

from bertx.callbacks import run_folder
from bertx.callbacks.run import texts_are_logged
from bertx.rendering.files import write_whole
from bertx.report.loggers import to_each


class SaveConfig(SaveConfigCallback):
    """Writes ``<run>/config.yaml`` and sends the configuration to every logger.

    Args:
        parser: The parser of the subcommand.
        config: What it parsed.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, which is a collective call, then save on rank zero."""
        self._folder = run_folder(trainer)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file, over one of an earlier run in the same folder, and tell the loggers."""
        text = self.parser.dump(self.config, skip_none=False)
        write_whole(self._folder / self.config_filename, text)
        settings = yaml.safe_load(text)
        if not texts_are_logged(trainer):
            settings = _without_words(settings)
        to_each(trainer.loggers, _log_settings, settings)


def _log_settings(logger: Logger, settings: dict[str, Any]) -> None:
    logger.log_hyperparams(settings)


def _without_words(settings: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the one setting that has words of texts, the planted shortcut."""
    data = settings["data"]
    if not data.get("shortcut"):
        return settings
    return {**settings, "data": {**data, "shortcut": {**data["shortcut"], "word": None}}}
