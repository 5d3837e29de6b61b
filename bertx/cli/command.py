"""The subcommands fit, validate, test and predict, which LightningCLI runs."""

import glob
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from bertx import __version__, attribution
from bertx.callbacks import (
    AttributionWriter,
    FaithfulnessMonitor,
    HeatmapLogger,
    HuggingFaceExport,
    PredictionWriter,
    ProgressLines,
)
from bertx.cli.account import stay_offline_without_key
from bertx.cli.checkpoints import BestCheckpoint, LastCheckpoint, find_checkpoint
from bertx.cli.configs import BASE, ConfigFile, shipped_folder
from bertx.cli.failing import PROG, debugging, fail
from bertx.cli.monitored import AUTO, best_mode
from bertx.cli.noise import bars_of_libraries, without_anonymous, without_noise
from bertx.cli.saving import SaveConfig
from bertx.data import TextDataModule
from bertx.errors import InputError
from bertx.model import TextClassifier
from bertx.progress import progress

log = logging.getLogger("bertx")

SEED = 42
CALLBACKS = {
    "faithfulness": FaithfulnessMonitor,
    "heatmaps": HeatmapLogger,
    "attributions": AttributionWriter,
    "predictions": PredictionWriter,
    "checkpoint": BestCheckpoint,
    "last_checkpoint": LastCheckpoint,
    "export": HuggingFaceExport,
    "progress": ProgressLines,
}
"""The callbacks of every run, by the key that configures them."""

METHODS = [name for name in attribution.__all__ if name != "Attribution"]
"""Class names that ``methods`` of the callbacks takes without their module."""


class Parser(LightningArgumentParser):
    """Prints an error as one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and leave with code 2; nested parsers raise."""
        if not self.exit_on_error:
            super().error(message, ex)
        hints = [f"For all settings: {self.prog.replace(' [options]', '')} --help"]
        if '.methods"' in message:
            hints.insert(0, f"Known methods: {', '.join(METHODS)}, or the import path of your own.")
        fail("\n".join([message.strip(), *hints]))


class BertxCLI(LightningCLI):
    """LightningCLI for text classification with the configurations of bertx.

    ``_base.yaml`` is read first, then every ``--config`` in turn, then the rest of the command
    line. What a checkpoint was made with never replaces any of it: ``--ckpt_path`` gives weights
    and, for ``fit``, the state of the training.
    """

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The subcommands, with the arguments of the trainer's methods that are no options."""
        known = LightningCLI.subcommands()
        return {**known, "predict": known["predict"] | {"return_predictions"}}

    def before_fit(self) -> None:
        """Say which weights are new: a head is expected to be."""
        prefix = f"{self.model.model.base_model_prefix}."
        new = [name for name in self.model.drawn if name.startswith(prefix)]
        if new and not self.config["fit"].get("ckpt_path"):
            more = f" and {len(new) - 3} more" if len(new) > 3 else ""
            rank_zero_only(log.warning)(
                f"model {self.config['fit']['model']['name']!r}: beside the head, weights that it "
                f"was not given are trained from scratch: {', '.join(new[:3])}{more}"
            )

    def before_validate(self) -> None:
        """Refuse a head that nobody trained."""
        self._check_trained()

    def before_test(self) -> None:
        """Refuse a head that nobody trained."""
        self._check_trained()

    def before_predict(self) -> None:
        """Refuse a head that nobody trained."""
        self._check_trained()

    def predict(self, **kwargs: Any) -> None:
        """Predict; what comes out is written by callbacks and not collected."""
        self.trainer.predict(**kwargs, return_predictions=False)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose ``--config`` takes names."""
        parser = self.parser_class(**{"dump_header": [f"bertx=={__version__}"], **kwargs})
        parser.add_argument(
            "-c",
            "--config",
            action=ConfigFile,
            help="A path, the name of a file in ./configs, or the name of a shipped configuration.",
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, and tie what model and data share."""
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/accuracy",
                "checkpoint.mode": AUTO,
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.filename": "epoch={epoch}-step={step}",
            }
        )
        parser.link_arguments("model.name", "data.tokenizer")
        parser.link_arguments("data.labels", "model.labels", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Settle what depends on the loggers before they are made."""
        stay_offline_without_key(self._loggers())
        _drop_rate_monitor(self._get(self.config, "trainer"))
        checkpoint = self._get(self.config, "checkpoint")
        if checkpoint["mode"] == AUTO:
            metrics = self._get(self.config, "faithfulness")["metrics"]
            checkpoint["mode"] = best_mode(checkpoint["monitor"], metrics)

    def instantiate_classes(self) -> None:
        """Make the model, the data and the trainer."""
        with progress("Loading the model"):
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer; unless asked for, it has its bar on a terminal alone."""
        given = self._get(self.config_init, "trainer")
        bars = [c for c in given["callbacks"] or [] if isinstance(c, ProgressBar)]
        if given["enable_progress_bar"] is None and not bars and not sys.stdout.isatty():
            kwargs["enable_progress_bar"] = False
        trainer = super().instantiate_trainer(**kwargs)
        without_anonymous(trainer.loggers)
        return trainer

    def _parse_ckpt_path(self) -> None:
        """Turn ``last`` and ``best`` into a path; leave the configuration as it was given."""
        config = self.config[self.config["subcommand"]]
        which = config.get("ckpt_path")
        if which in ("last", "best"):
            config["ckpt_path"] = find_checkpoint(which, self._run_folders())
            rank_zero_only(print)(f"Checkpoint: {config['ckpt_path']}")
        elif which and _is_local(str(which)) and not Path(which).exists():
            raise InputError(
                f"--ckpt_path {which}: no such file. Expected a checkpoint, or last or best for "
                "that of the newest run."
            )

    def _check_trained(self) -> None:
        config = self.config[self.config["subcommand"]]
        if self.model.drawn and not config.get("ckpt_path"):
            raise InputError(
                f"model {config['model']['name']!r} was not trained to classify texts: it has no "
                f"weights for {', '.join(self.model.drawn[:3])}. Give those of a run with "
                "--ckpt_path last, best or a file."
            )

    def _loggers(self) -> list[Namespace]:
        configured = self.config[self.config["subcommand"]]["trainer"]["logger"]
        every = configured if isinstance(configured, list) else [configured]
        return [logger for logger in every if isinstance(logger, Namespace)]

    def _run_folders(self) -> Iterator[str]:
        config = self.config[self.config["subcommand"]]
        yield config["trainer"]["default_root_dir"] or "."
        for key in ("checkpoint", "last_checkpoint"):
            if config[key]["dirpath"]:
                yield config[key]["dirpath"]
        for logger in self._loggers():
            arguments = logger.get("init_args") or {}
            if folder := arguments.get("save_dir") or arguments.get("dir"):
                yield os.fspath(folder)


def run(args: ArgsType = None) -> None:
    """Run the subcommands that need data and a trainer.

    Args:
        args: Arguments without the name of the program; None for those of the process.
    """
    try:
        _allow_completion()
        _start(args)
    except (InputError, MisconfigurationException) as error:
        if debugging():
            raise
        fail(str(error))
    except SIGTERMException:
        sys.exit(128 + 15)  # by itself it would leave with 0, as if training had been finished


def _start(args: ArgsType) -> None:
    bars_of_libraries()
    with without_noise():
        BertxCLI(
            TextClassifier,
            TextDataModule,
            save_config_callback=SaveConfig,
            trainer_class=Trainer,
            seed_everything_default=SEED,
            parser_class=Parser,
            parser_kwargs=_parser_settings(),
            auto_configure_optimizers=False,
            args=args,
        )


def _parser_settings() -> dict[str, Any]:
    # Not a pattern: the folder may have any name.
    base = glob.escape(str(shipped_folder().resolve() / f"{BASE}.yaml"))
    return {
        "prog": PROG,
        "version": __version__,
        "description": "Fine-tune text classifiers and see why they decide. Other subcommands "
        f"explain a trained one ({PROG} explain --help), find out which explanations of it can be "
        f"trusted ({PROG} judge --help), and compare those of runs ({PROG} leaderboard --help).",
        **{name: {"default_config_files": [base]} for name in LightningCLI.subcommands()},
    }


def _allow_completion() -> None:
    """Add ``--print_completion``, which older versions of jsonargparse lack."""
    try:
        jsonargparse.set_parsing_settings(add_print_completion_argument=True)
    except TypeError:
        pass


def _drop_rate_monitor(trainer: Namespace) -> None:
    """Lightning's LearningRateMonitor, which the base asks for, refuses to run without a logger."""
    callbacks = trainer["callbacks"]
    if trainer["logger"] is False and isinstance(callbacks, list):
        kept = [c for c in callbacks if not c["class_path"].endswith("LearningRateMonitor")]
        trainer["callbacks"] = kept


def _is_local(path: str) -> bool:
    return path != "hpc" and "://" not in path and not path.startswith("registry")
