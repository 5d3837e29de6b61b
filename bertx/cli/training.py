"""The subcommands fit, validate, test and predict, which LightningCLI runs."""

import glob
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
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
    ReportWriter,
    Resumption,
    run_folder,
)
from bertx.callbacks.run import check_logger, check_within, texts_are_logged
from bertx.cli import TRAINING
from bertx.cli.checkpoints import BestCheckpoint, LastCheckpoint, find_checkpoint
from bertx.cli.classifiers import brought
from bertx.cli.configs import BASE, ConfigFile, shipped_folder
from bertx.cli.monitor_mode import AUTO, best_mode
from bertx.cli.noise import bars_of_libraries, without_anonymous, without_noise
from bertx.cli.subcommand import PROG, as_options, debugging, fail
from bertx.data import TextDataModule
from bertx.errors import InputError, out_of_space
from bertx.models.checkpoint import is_checkpoint, read_checkpoint
from bertx.rendering.files import write_whole
from bertx.report.csv_logger import ContinuedCSVLogger
from bertx.report.loggers import to_each
from bertx.report.resilient import ResilientWandbLogger
from bertx.training import TextClassifier

log = logging.getLogger("bertx")

SEED = 42
CALLBACKS: dict[str, type[Callback]] = {
    "faithfulness": FaithfulnessMonitor,
    "heatmaps": HeatmapLogger,
    "attributions": AttributionWriter,
    "predictions": PredictionWriter,
    "checkpoint": BestCheckpoint,
    "last_checkpoint": LastCheckpoint,
    "export": HuggingFaceExport,
    "progress": ProgressLines,
    "report": ReportWriter,
}
"""The callbacks of every run, by the key that configures them; null switches one off."""

_CHECKPOINTS = ("checkpoint", "last_checkpoint")

METHOD_NAMES = [name for name in attribution.__all__ if name != "Attribution"]
"""Class names that ``methods`` of the callbacks takes without their module."""


class TrainingParser(LightningArgumentParser):
    """Prints an error as one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print what is wrong and leave with code 2; nested parsers raise."""
        if not self.exit_on_error:
            super().error(message, ex)
        hints = [f"For all settings: {self.prog.replace(' [options]', '')} --help"]
        if '.methods"' in message:
            hints.insert(0, f"Methods: {', '.join(METHOD_NAMES)}, or the import path of your own.")
        fail("\n".join([message.strip(), *hints]))

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *more: Any, **settings: Any
    ) -> Any:
        """Parse arguments, among which ``--KEY null`` switches a callback off."""
        given = sys.argv[1:] if args is None else args
        return super().parse_args(_switched_off(given), *more, **settings)


class BertxCLI(LightningCLI):
    """LightningCLI for text classification with the configurations of bertx.

    ``_base.yaml`` is read first, then every ``--config`` in turn, then the rest of the command
    line. What a checkpoint was made with never replaces any of it: ``--ckpt_path`` gives weights
    and, for ``fit``, the state of the training.

    Args:
        asked: The subcommand, if it is known: a parser for each of the others takes longer than
            anything else before the training.
    """

    def __init__(self, *args: Any, asked: str | None = None, **settings: Any) -> None:
        self._asked = asked
        super().__init__(*args, **settings)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The subcommands, with the arguments of the trainer's methods that are no options."""
        every = LightningCLI.subcommands()
        every["predict"] = every["predict"] | {"return_predictions"}
        return {name: every[name] for name in every if self._asked in (name, None)}

    def before_fit(self) -> None:
        """Say which weights are new, beside those of the head: these are expected to be."""
        config = self.config["fit"]
        prefix = f"{self.model.model.base_model_prefix}."
        new = [name for name in self.model.drawn if name.startswith(prefix)]
        if new and not config.get("ckpt_path"):
            more = f" and {len(new) - 3} more" if len(new) > 3 else ""
            rank_zero_only(log.warning)(
                f"model {config['model']['name']!r}: beside the head, weights that it was not "
                f"given are trained from scratch: {', '.join(new[:3])}{more}"
            )

    def _check_trained(self) -> None:
        """Refuse a head that nobody trained."""
        config = self.config[self.config["subcommand"]]
        if self.model.drawn and not config.get("ckpt_path"):
            raise InputError(
                f"model {config['model']['name']!r} was not trained to classify texts: it has no "
                f"weights for {', '.join(self.model.drawn[:3])}. Give those of a run with "
                "--ckpt_path last, best or a file."
            )

    before_validate = before_test = before_predict = _check_trained

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
            parser.add_class_arguments(
                callback, key, fail_untyped=False, instantiate=False, sub_configs=True
            )
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/accuracy",
                "checkpoint.mode": AUTO,
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.filename": "epoch={epoch}-step={step}",
            }
        )
        parser.link_arguments("model.name", "data.tokenizer")
        parser.link_arguments("data", "model.labels", self._classes, apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Settle what depends on other settings."""
        _drop_rate_monitor(self._get(self.config, "trainer"))
        checkpoint = self._settings("checkpoint")
        if checkpoint and checkpoint["filename"]:
            check_within("checkpoint.filename", checkpoint["filename"])
        if checkpoint and checkpoint["mode"] == AUTO:
            faithfulness = self._settings("faithfulness")
            metrics = faithfulness["metrics"] if faithfulness else None
            checkpoint["mode"] = best_mode(checkpoint["monitor"], metrics)

    def after_instantiate_classes(self) -> None:
        """Refuse loggers that would write elsewhere, before they make a folder."""
        for logger in self.trainer.loggers:
            check_logger(logger)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that no trouble with Weights & Biases ends, and that sends no text unasked.

        It has the callbacks that are not switched off; the configuration that it saves is the one
        that was given.
        """
        self.config = self._given
        config = self._get(self.config_init, "trainer")
        callbacks, saving = self._callbacks(config)
        if not saving:
            kwargs = {"enable_checkpointing": False, **kwargs}  # Lightning would add one of its own
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": [*callbacks, Resumption()]}
        configured = config["logger"] if isinstance(config["logger"], list) else [config["logger"]]
        loggers = [self._sturdy(logger) for logger in configured]
        config["logger"] = loggers if isinstance(config["logger"], list) else loggers[0]
        trainer = super().instantiate_trainer(**_bar(config), **kwargs)
        without_anonymous(trainer.loggers)
        if not texts_are_logged(trainer):
            for logger in loggers:
                if isinstance(logger, ResilientWandbLogger):
                    logger.keep_local()
        return trainer

    def _sturdy(self, logger: Any) -> Any:
        """A logger of Lightning's that loses nothing where it can be helped."""
        if type(logger) is WandbLogger:
            return ResilientWandbLogger.of(logger)
        which = self.config["subcommand"]
        resumed = which == "fit" and self.config[which].get("ckpt_path")
        return ContinuedCSVLogger.of(logger) if type(logger) is CSVLogger and resumed else logger

    def _callbacks(self, config: Namespace) -> tuple[list[Callback], bool]:
        """The callbacks that are not switched off, and whether any of the run saves checkpoints."""
        active = {key: self._get(self.config_init, key) for key in CALLBACKS if self._settings(key)}
        if config["enable_checkpointing"] is False:
            active = {key: one for key, one in active.items() if key not in _CHECKPOINTS}
        saving = bool(active.keys() & _CHECKPOINTS) or _has_checkpoint(config["callbacks"])
        return [CALLBACKS[key](**settings) for key, settings in active.items()], saving

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
        if config.get("weights_only") is None:
            config["weights_only"] = True

    def instantiate_classes(self) -> None:
        """Make the data module, which may refuse its data, then the model and the trainer.

        The model of a checkpoint comes from the checkpoint alone; a training that goes on has still
        to name the model from which it began.
        """
        self._given, self.config = self.config, self.config.clone()
        config = self.config[self.config["subcommand"]]
        name, fits = config["model"]["name"], self.config["subcommand"] == "fit"
        if config.get("ckpt_path"):
            config["ckpt_path"] = path = brought("--ckpt_path", str(config["ckpt_path"]))
            if is_checkpoint(path) and (not fits or _began_as(name, path)):
                config["model"]["name"] = config["data"]["tokenizer"] = path
        try:
            super().instantiate_classes()
            if fits:
                self.model.hparams["name"] = self.model.model.name_or_path = name
        except ValueError as error:  # what jsonargparse makes of any error of `_classes`
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            raise

    def _settings(self, key: str) -> Namespace | None:
        """The settings of a callback of every run; None if it is switched off."""
        settings = self.config[self.config["subcommand"]][key]
        if settings is None or isinstance(settings, Namespace):
            return settings
        raise InputError(
            f"{key}: expected settings, or null to switch it off, but got {settings!r}."
        )

    def _classes(self, data: TextDataModule) -> list[str]:
        """The classes; data that cannot be used are refused before there is a model or a logger."""
        data.setup(self.config["subcommand"])
        return data.labels

    def _run_folders(self) -> Iterator[str]:
        config = self.config[self.config["subcommand"]]
        yield config["trainer"]["default_root_dir"] or "."
        for settings in map(self._settings, _CHECKPOINTS):
            if settings and settings["dirpath"]:
                yield settings["dirpath"]
        configured = config["trainer"]["logger"]
        every = configured if isinstance(configured, list) else [configured]
        for logger in every:
            arguments = (isinstance(logger, Namespace) and logger.get("init_args")) or {}
            if folder := arguments.get("save_dir") or arguments.get("dir"):
                yield os.fspath(folder)


def run_training(args: ArgsType = None) -> None:
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
        fail(as_options(str(error), field_option))
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by the latter
        full = out_of_space(error)
        if debugging() or not full:
            raise
        fail(f"{full}.")
    except SIGTERMException:
        sys.exit(128 + 15)  # by itself it would leave with 0, as if training had been finished


def field_option(field: str) -> str:
    """The option of a field of the data, model or trainer, or of a callback as CLASS.FIELD."""
    first, _, rest = field.partition(".")
    if key := next((key for key, cls in CALLBACKS.items() if cls.__name__ == first), None):
        return f"--{key}.{rest}"
    parts = {"data": TextDataModule, "model": TextClassifier, "trainer": Trainer}
    key = next((key for key, cls in parts.items() if first in signature(cls).parameters), None)
    return f"`{field}`" if key is None else f"--{key}.{field}"


def _start(args: ArgsType) -> None:
    bars_of_libraries()
    given = sys.argv[1:] if args is None else args
    asked = given[0] if isinstance(given, list) and given and given[0] in TRAINING else None
    with without_noise():
        BertxCLI(
            TextClassifier,
            TextDataModule,
            save_config_callback=SaveConfig,
            trainer_class=Trainer,
            seed_everything_default=SEED,
            parser_class=TrainingParser,
            parser_kwargs=_parser_settings([asked] if asked else [*TRAINING]),
            auto_configure_optimizers=False,
            args=args,
            asked=asked,
        )


def _parser_settings(subcommands: Sequence[str]) -> dict[str, Any]:
    # Not a pattern: the folder may have any name.
    base = glob.escape(str(shipped_folder().resolve() / f"{BASE}.yaml"))
    return {
        "prog": PROG,
        "version": __version__,
        **{name: {"default_config_files": [base]} for name in subcommands},
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


def _switched_off(args: Sequence[str]) -> list[str]:
    """Arguments with ``--KEY null`` as a configuration, where jsonargparse takes null for KEY."""
    arguments, given = list[str](), iter(args)
    for argument in given:
        key, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and key in CALLBACKS:
            value = value if equals else next(given, "")
            argument = f"--config={{{key}: null}}" if value == "null" else f"--{key}={value}"
        arguments.append(argument)
    return arguments


def _bar(trainer: Namespace) -> dict[str, bool]:
    """Unless asked for, a bar is shown on a terminal alone; elsewhere `ProgressLines` prints."""
    every = trainer["callbacks"] if isinstance(trainer["callbacks"], list) else []
    asked = trainer["enable_progress_bar"] is not None
    if asked or any(isinstance(one, ProgressBar) for one in every) or sys.stdout.isatty():
        return {}
    return {"enable_progress_bar": False}


def _has_checkpoint(callbacks: Any) -> bool:
    every = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(callback, Checkpoint) for callback in every)


def _began_as(name: str, path: str) -> bool:
    """Whether a checkpoint is of a model of that name, and has all that it is built from."""
    try:
        checkpoint = read_checkpoint(path)
    except InputError:  # it is refused where it is loaded
        return False
    return checkpoint.name == name and checkpoint.has("model") and checkpoint.has("tokenizer")


def _is_local(path: str) -> bool:
    return path != "hpc" and "://" not in path and not path.startswith("registry")


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
