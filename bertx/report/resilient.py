"""A `WandbLogger` with which no failure of Weights & Biases ends a run."""

import atexit
import logging
import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from bertx.errors import first_line
from bertx.report.account import RELOGIN, Obstacle, obstacle

if TYPE_CHECKING:
    from wandb import Settings
    from wandb.sdk.lib import RunDisabled
    from wandb.sdk.wandb_run import Run

_BOUNDS = {"init_timeout": 20.0, "finish_timeout": 30.0}
"""Default timeouts in seconds for beginning and ending a run of wandb."""

_UPLOADS = 600.0
"""Default of ``finish_timeout`` with uploads of models, which happen at the end."""

_OFFLINE = ("offline", "dryrun", "disabled")


class ResilientWandbLogger(WandbLogger):
    """A `WandbLogger` that goes offline if Weights & Biases cannot be reached.

    Without a key, with a key that is not accepted, without a network, or if the server hangs, the
    run is logged offline. This is decided within seconds and printed in one line, with the command
    that sends the run later. The same happens if the process of wandb dies. If nothing can be
    written at all, training goes on without logging. There is no prompt for a key.

    The arguments are those of Lightning's `WandbLogger`. The settings ``init_timeout`` and
    ``finish_timeout`` of wandb (also ``WANDB_INIT_TIMEOUT``, ``WANDB_FINISH_TIMEOUT``) default to
    20 and 30 seconds; with ``log_model`` the latter defaults to ten minutes.
    """

    _local = False
    _failed = False
    _first: str | None = None

    @classmethod
    def of(cls, logger: WandbLogger) -> Self:
        """Create a logger with the settings of a `WandbLogger` that has not begun its run."""
        resilient = cls.__new__(cls)
        vars(resilient).update(vars(logger))
        return resilient

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run | RunDisabled":
        """The run, which begins at the first access."""
        import wandb

        if self._experiment is None and wandb.run is None and not hasattr(self, "_attach_id"):
            self._begin()
        return super().experiment

    @property
    def version(self) -> str | None:
        """The id of the run; of its first part if it was continued as another run."""
        return self._first or super().version

    def keep_local(self) -> None:
        """Send neither console output nor the command line; call it before the run begins."""
        self._local = True

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the configuration."""
        self._attempt(super().log_hyperparams, params)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers or media."""
        self._attempt(super().log_metrics, metrics, step)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Log a checkpoint, if ``log_model`` is set."""
        self._attempt(super().after_save_checkpoint, checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Log everything that is logged at the end."""
        self._attempt(super().finalize, status)

    def _begin(self) -> None:
        arguments = self._wandb_init
        if self._offline:
            arguments["mode"] = "offline"
        try:
            chosen = _chosen(arguments.get("settings"))
            settings = _effective(chosen)
            arguments["settings"] = self._bounded(chosen, settings)
            online = (arguments.get("mode") or settings.mode) not in _OFFLINE
            problem = obstacle(settings, chosen.api_key) if online else None
            problem = problem or self._open()
        except Exception as error:
            problem = _failure(error)
        if problem is not None:
            self._go_offline(problem, "this run is logged offline")
        elif online:
            # Runs before the handler of wandb, which waits for pending data without saying why.
            atexit.register(self._end, partial(obstacle, settings, chosen.api_key))

    def _end(self, check: Callable[[], Obstacle | None]) -> None:
        """If the server is gone by now, print how to send the missing data."""
        import wandb

        if self._experiment is None or wandb.run is not self._experiment:
            return
        problem = check()
        if problem is not None:
            print(
                f"{problem.reason}: not everything may have been sent. To send it later: "
                f"{_sync(problem, self._experiment)}",
                flush=True,
            )

    def _bounded(self, chosen: "Settings", settings: "Settings") -> "Settings":
        """Set our defaults in the chosen settings, but keep timeouts that the user has set."""
        bounds = _BOUNDS | ({"finish_timeout": _UPLOADS} if self._log_model else {})
        defaults: dict[str, Any] = dict(bounds)
        if self._local:
            defaults |= {"console": "off", "x_disable_meta": True}
        fields = type(settings).model_fields
        for name, value in defaults.items():
            set_by_user = name in bounds and getattr(settings, name) != fields[name].default
            if name in fields and not set_by_user:
                setattr(chosen, name, value)
        return chosen

    def _open(self) -> Obstacle | None:
        """Begin the run; return what went wrong, if anything."""
        try:
            _ = super().experiment
        except Exception as error:
            return _failure(error)
        return None

    def _go_offline(
        self,
        problem: Obstacle,
        consequence: str,
        *earlier: "Run | RunDisabled",
        modes: Sequence[str] = ("offline", "disabled"),
    ) -> None:
        # Otherwise the telemetry of wandb would report at the end that the server refuses it.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        for mode in modes:
            self._wandb_init["mode"] = mode
            if self._open() is None:
                break
        if self._experiment is None or self._wandb_init["mode"] == "disabled":
            print(f"{problem.reason}: nothing more is logged to Weights & Biases.")
            return
        runs = (*earlier, self._experiment)
        print(f"{problem.reason}: {consequence}. To send it later: {_sync(problem, *runs)}")

    def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
        """Log; if that fails, print it once, and begin a new run if the process of wandb died."""
        try:
            call(*arguments)
        except ConnectionError as error:
            with suppress(Exception):  # values of the first part cannot be logged again
                self._begin_again(error)
                call(*arguments)
        except Exception as error:
            if not self._failed:
                self._failed = True
                print(
                    f"{_failure(error).reason}: some values could not be logged; training goes on."
                )

    def _begin_again(self, error: ConnectionError) -> None:
        import wandb
        from wandb.sdk.lib.module import unset_globals

        ended = self._experiment
        modes = ("offline", "disabled") if self._first is None else ("disabled",)
        self._first, self._experiment = self.version, None
        earlier = () if ended is None else (ended,)
        for run in earlier:
            with suppress(Exception):
                run._console_stop()  # otherwise console output would still be sent to it
        with suppress(Exception):
            wandb.teardown()
        unset_globals()
        os.environ.pop("WANDB_SERVICE", None)  # the address of the process that died
        self._wandb_init |= {"id": None, "config": dict(ended.config) if ended else None}
        consequence = "this run goes on offline, as another one"
        self._go_offline(_failure(error), consequence, *earlier, modes=modes)


def _chosen(settings: "Settings | Mapping[str, Any] | None") -> "Settings":
    """The settings passed to the logger, as a copy."""
    from wandb import Settings

    if isinstance(settings, Mapping):
        return Settings(**settings)
    return Settings() if settings is None else settings.model_copy()


def _effective(chosen: "Settings") -> "Settings":
    """The settings of ``wandb.init``: files and environment, overridden by the chosen ones."""
    from wandb.sdk.wandb_setup import singleton

    settings = singleton().settings.model_copy()
    settings.update_from_settings(chosen)
    return settings


def _failure(error: Exception) -> Obstacle:
    reason = f"Weights & Biases failed ({type(error).__name__}: {first_line(error)})"
    return Obstacle(reason, RELOGIN if "login" in str(error) else "")


def _sync(problem: Obstacle, *runs: "Run | RunDisabled") -> str:
    """Return the command that sends runs once the problem is solved."""
    folders = [Path(str(run.dir)).parent for run in runs]
    begun_online = not all(folder.name.startswith("offline-") for folder in folders)
    here = Path.cwd()
    names = (
        str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
        for folder in folders
    )
    option = "--include-online " if begun_online else ""
    return f"{problem.remedy}wandb sync {option}{' '.join(names)}"
