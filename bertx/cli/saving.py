"""The configuration of a run, kept where it can be read again."""

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from bertx.callbacks import run_folder
from bertx.report.disk import write_whole


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
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))
