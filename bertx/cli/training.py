"""``bertx fit``, ``validate``, ``test`` and ``predict``, which LightningCLI runs."""

import glob
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
)
from lightning.pytorch.loggers import CSVLogger, WandbLogger
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
)
from bertx.callbacks.trainer import check_logger, check_within, texts_are_logged
from bertx.cli import TRAINING
from bertx.cli.checkpoints import (
    AUTO,
    BestCheckpoint,
    LastCheckpoint,
    best_mode,
    find_checkpoint,
)
from bertx.cli.configs import BASE, ConfigFile, has_setting, shipped_folder
from bertx.cli.library_messages import drop_unset_anonymous, filtered_messages, hide_library_bars
from bertx.cli.model_loading import local_copy
from bertx.cli.save_config import SaveConfig
from bertx.cli.subcommand import PROG, as_options, debugging, fail
from bertx.data import TextDataModule
from bertx.errors import InputError, disk_full
from bertx.models.checkpoint import is_checkpoint, read_checkpoint
from bertx.report.csv_logger import ContinuedCSVLogger
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
"""The callbacks of every run by their keys in the configuration, where null switches one off."""

_UNKNOWN = re.compile(r"Subcommand '\w+' does not accept option '([\w.]+)'")
_CHECKPOINTS = ("checkpoint", "last_checkpoint")


class TrainingParser(LightningArgumentParser):
    """A parser that prints an error as one line, and takes no abbreviated options."""

    config_name = "<unicode string>"  # as PyYAML calls a configuration; see `ConfigFile`
    config_files: Sequence[str] = ()
    _command: Sequence[str] = ()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with code 2; nested parsers raise."""
        if not self.exit_on_error:
            super().error(message, ex)
        prog = " ".join([self.prog.replace(" [options]", ""), *self._command])
        hints = [f"For all settings: {prog} --help"]
        if '.methods"' in message:
            names = sorted({*attribution.__all__} - {"Attribution"}, key=str.casefold)
            hints.insert(0, f"Methods: {', '.join(names)}, or the import path of a custom class.")
        message = message.strip().replace("<unicode string>", self.config_name)
        if unknown := _UNKNOWN.fullmatch(message):
            files = [file for file in self.config_files if has_setting(file, unknown[1])]
            message += f", which is in {', '.join(files)}" if files else ""
        fail("\n".join([message, *hints]))

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *more: Any, **settings: Any
    ) -> Any:
        """Parse arguments, of which ``--KEY null`` switches a callback off."""
        arguments = sys.argv[1:] if args is None else args
        self._command = [name for name in arguments[:1] if name in TRAINING]
        return super().parse_args(_nulls_as_config(arguments), *more, **settings)


class BertxCLI(LightningCLI):
    """LightningCLI for text classification with the configurations of bertx.

    ``_base.yaml`` is read first, then every ``--config`` in turn, then the other options. The
    settings in a checkpoint override none of these: ``--ckpt_path`` gives weights and, for ``fit``,
    the state of the training.

    Args:
        only: The subcommand that is run, if known. Building the parsers of the other ones would
            take longer than anything else before the training.
    """

    def __init__(self, *args: Any, only: str | None = None, **settings: Any) -> None:
        self._only = only
        super().__init__(*args, **settings)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the subcommands, with the arguments of `Trainer`'s methods that are no options."""
        skipped = LightningCLI.subcommands()
        skipped["predict"] = skipped["predict"] | {"return_predictions"}
        return {name: skipped[name] for name in skipped if self._only in (name, None)}

    @property
    def _options(self) -> Namespace:
        """The parsed options of the subcommand."""
        options: Namespace = self.config[self.config["subcommand"]]
        return options

    def before_fit(self) -> None:
        """Warn of weights beside the head that are trained from scratch."""
        prefix = f"{self.model.model.base_model_prefix}."
        new = [name for name in self.model.untrained if name.startswith(prefix)]
        if new and not self._options.get("ckpt_path"):
            more = f" and {len(new) - 3} more" if len(new) > 3 else ""
            rank_zero_only(log.warning)(
                f"model {self._options['model']['name']!r}: these weights are missing and are "
                f"trained from scratch, like the head: {', '.join(new[:3])}{more}"
            )

    def _check_trained(self) -> None:
        """Refuse a head that was not trained."""
        if self.model.untrained and not self._options.get("ckpt_path"):
            raise InputError(
                f"model {self._options['model']['name']!r} was not trained to classify texts: it "
                f"has no weights for {', '.join(self.model.untrained[:3])}. Give the checkpoint of "
                "a run with --ckpt_path last, best or a path."
            )

    before_validate = before_test = before_predict = _check_trained

    def predict(self, **kwargs: Any) -> None:
        """Predict without collecting the predictions, which callbacks write."""
        self.trainer.predict(**kwargs, return_predictions=False)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Return a parser whose ``--config`` takes names."""
        settings = {"dump_header": [f"bertx=={__version__}"], "allow_abbrev": False, **kwargs}
        parser = self.parser_class(**settings)
        parser.add_argument(
            "-c",
            "--config",
            action=ConfigFile,
            help="A path, the name of a file in ./configs, or the name of a shipped configuration.",
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, and link settings that model and data share."""
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
        parser.link_arguments("data", "model.labels", self._class_names, apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Set what depends on other settings."""
        _drop_rate_monitor(self._options["trainer"])
        checkpoint = self._callback_settings("checkpoint")
        if checkpoint and checkpoint["filename"]:
            check_within("checkpoint.filename", checkpoint["filename"])
        if checkpoint and checkpoint["mode"] == AUTO:
            faithfulness = self._callback_settings("faithfulness")
            metrics = faithfulness["metrics"] if faithfulness else None
            checkpoint["mode"] = best_mode(checkpoint["monitor"], metrics)

    def after_instantiate_classes(self) -> None:
        """Refuse loggers that would write outside of their folders, before they create any."""
        for logger in self.trainer.loggers:
            check_logger(logger)

    def instantiate_classes(self) -> None:
        """Build the data module, which may refuse its data, then the model and the trainer.

        With a checkpoint, the model is built from the checkpoint alone. If ``fit`` resumes, the
        settings must still name the model from which the training began.
        """
        self._user_config, self.config = self.config, self.config.clone()
        options = self._options
        name, fits = options["model"]["name"], self.subcommand == "fit"
        if options.get("ckpt_path"):
            options["ckpt_path"] = path = local_copy("--ckpt_path", str(options["ckpt_path"]))
            if is_checkpoint(path) and (not fits or _is_whole(path, name)):
                options["model"]["name"] = options["data"]["tokenizer"] = path
        try:
            super().instantiate_classes()
        except ValueError as error:  # jsonargparse turns errors of `_class_names` into these
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            raise
        if fits:
            self.model.hparams["name"] = self.model.model.name_or_path = name

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with all active callbacks, and loggers that cannot end the run."""
        self.config = self._user_config  # is saved with the run
        config = self._get(self.config_init, "trainer")
        callbacks = self._active_callbacks(config)
        if not any(isinstance(c, Checkpoint) for c in [*callbacks, *_list(config["callbacks"])]):
            # Otherwise Lightning adds a checkpoint callback.
            kwargs = {"enable_checkpointing": False, **kwargs}
        self.trainer_defaults = {**self.trainer_defaults, "callbacks": [*callbacks, Resumption()]}
        loggers = [self._resilient(logger) for logger in _list(config["logger"])]
        config["logger"] = loggers if isinstance(config["logger"], list) else loggers[0]
        trainer = super().instantiate_trainer(**_progress_bar(config), **kwargs)
        drop_unset_anonymous(trainer.loggers)
        if not texts_are_logged(trainer):
            for logger in loggers:
                if isinstance(logger, ResilientWandbLogger):
                    logger.keep_local()
        return trainer

    def _resilient(self, logger: Any) -> Any:
        """Replace Lightning's loggers: W&B's may end a run, and the CSV logger forgets old rows."""
        if type(logger) is WandbLogger:
            return ResilientWandbLogger.of(logger)
        resumed = self.subcommand == "fit" and self._options.get("ckpt_path")
        return ContinuedCSVLogger.of(logger) if type(logger) is CSVLogger and resumed else logger

    def _active_callbacks(self, trainer: Namespace) -> list[Callback]:
        """Build the callbacks of every run that are not switched off."""
        active = [key for key in CALLBACKS if self._callback_settings(key)]
        if trainer["enable_checkpointing"] is False:
            active = [key for key in active if key not in _CHECKPOINTS]
        return [CALLBACKS[key](**self._get(self.config_init, key)) for key in active]

    def _parse_ckpt_path(self) -> None:
        """Replace ``last`` and ``best`` by a path, without Lightning's change of other settings."""
        options = self._options
        path = options.get("ckpt_path")
        if path in ("last", "best"):
            options["ckpt_path"] = find_checkpoint(path, self._run_folders())
            rank_zero_only(print)(f"Checkpoint: {options['ckpt_path']}")
        elif path and _is_local(str(path)) and not Path(path).exists():
            raise InputError(
                f"--ckpt_path {path}: no such file. Expected a checkpoint, or last or best for a "
                "checkpoint of the newest run."
            )
        if options.get("weights_only") is None:
            options["weights_only"] = True

    def _callback_settings(self, key: str) -> Namespace | None:
        """Return the settings of a callback of every run; None if it is switched off."""
        settings = self._options[key]
        if settings is None or isinstance(settings, Namespace):
            return settings
        raise InputError(
            f"{key}: expected settings, or null to switch it off, but got {settings!r}."
        )

    def _class_names(self, data: TextDataModule) -> list[str]:
        """Return the classes, and refuse unusable data before there is a model or a logger."""
        data.setup(self.config["subcommand"])
        return data.labels

    def _run_folders(self) -> Iterator[str]:
        trainer = self._options["trainer"]
        yield trainer["default_root_dir"] or "."
        for settings in map(self._callback_settings, _CHECKPOINTS):
            if settings and settings["dirpath"]:
                yield settings["dirpath"]
        for logger in _list(trainer["logger"]):
            arguments = (isinstance(logger, Namespace) and logger.get("init_args")) or {}
            if folder := arguments.get("save_dir") or arguments.get("dir"):
                yield os.fspath(folder)


def run_training(args: ArgsType = None) -> None:
    """Run a subcommand that needs data and a trainer.

    Args:
        args: Arguments without the name of the program; None for ``sys.argv``.
    """
    try:
        _allow_completion()
        _run(args)
    except (InputError, MisconfigurationException) as error:
        if debugging():
            raise
        fail(as_options(str(error), field_option))
    except (OSError, RuntimeError) as error:  # torch raises the latter if a disk is full
        full = disk_full(error)
        if debugging() or not full:
            raise
        fail(f"{full}.")
    except SIGTERMException:
        sys.exit(128 + 15)  # uncaught it exits with 0, as if the training had been finished


def field_option(field: str) -> str:
    """Return the option of a field of the data, model or trainer, or of CALLBACK_CLASS.FIELD."""
    first, _, rest = field.partition(".")
    if key := next((key for key, cls in CALLBACKS.items() if cls.__name__ == first), None):
        return f"--{key}.{rest}"
    for key, cls in (("data", TextDataModule), ("model", TextClassifier), ("trainer", Trainer)):
        if first in signature(cls).parameters:
            return f"--{key}.{field}"
    return f"`{field}`"


def _run(args: ArgsType) -> None:
    hide_library_bars()
    arguments = sys.argv[1:] if args is None else args
    only = None
    if isinstance(arguments, list) and arguments and arguments[0] in TRAINING:
        only = arguments[0]
    with filtered_messages():
        BertxCLI(
            TextClassifier,
            TextDataModule,
            save_config_callback=SaveConfig,
            trainer_class=Trainer,
            seed_everything_default=SEED,
            parser_class=TrainingParser,
            parser_kwargs=_parser_settings([only] if only else [*TRAINING]),
            auto_configure_optimizers=False,
            args=args,
            only=only,
        )


def _parser_settings(subcommands: Sequence[str]) -> dict[str, Any]:
    # jsonargparse takes the path for a pattern.
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
    """Drop the LearningRateMonitor of ``_base.yaml`` without a logger, which it requires."""
    callbacks = trainer["callbacks"]
    if trainer["logger"] is False and isinstance(callbacks, list):
        kept = [c for c in callbacks if not c["class_path"].endswith("LearningRateMonitor")]
        trainer["callbacks"] = kept


def _nulls_as_config(args: Sequence[str]) -> list[str]:
    """Turn ``--KEY null`` into a configuration: jsonargparse would not switch the callback off."""
    arguments, rest = list[str](), iter(args)
    for argument in rest:
        key, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and key in CALLBACKS:
            value = value if equals else next(rest, "")
            argument = f"--config={{{key}: null}}" if value == "null" else f"--{key}={value}"
        arguments.append(argument)
    return arguments


def _progress_bar(trainer: Namespace) -> dict[str, bool]:
    """Disable the bar without a terminal, unless it is set; `ProgressLines` prints instead."""
    custom = any(isinstance(callback, ProgressBar) for callback in _list(trainer["callbacks"]))
    if trainer["enable_progress_bar"] is not None or custom or sys.stdout.isatty():
        return {}
    return {"enable_progress_bar": False}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_whole(path: str, name: str) -> bool:
    """Return whether a checkpoint holds all that is needed to build the model called ``name``."""
    try:
        checkpoint = read_checkpoint(path)
    except InputError:  # raised again where it is loaded
        return False
    return checkpoint.name == name and checkpoint.has("model") and checkpoint.has("tokenizer")


def _is_local(path: str) -> bool:
    return path != "hpc" and "://" not in path and not path.startswith("registry")
