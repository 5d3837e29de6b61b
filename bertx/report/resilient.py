"""Lightning's logger for Weights & Biases, made so that trouble with it never costs a run."""

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
"""Seconds, where nobody has set others, after which wandb gives up to begin and to end a run."""

_UPLOADS = 600.0
"""The latter where models are uploaded, which happens at the end."""

_OFFLINE = ("offline", "dryrun", "disabled")


class ResilientWandbLogger(WandbLogger):
    """A `WandbLogger` that goes on offline where Weights & Biases cannot be reached.

    Without a key, with one that is not accepted, without a network, and where the server hangs, the
    run is logged offline, which is known within seconds and said in one line, with the command that
    sends it later. So it is if wandb's own process dies in the middle. If nothing can be written at
    all, nothing is; training goes on. Nobody is asked for a key.

    All arguments are those of Lightning's `WandbLogger`. wandb's settings ``init_timeout`` and
    ``finish_timeout`` (also ``WANDB_INIT_TIMEOUT``, ``WANDB_FINISH_TIMEOUT``) are 20 and 30 seconds
    unless they are set; with ``log_model`` the latter is ten minutes.
    """

    _local = False
    _failed = False
    _first: str | None = None

    @classmethod
    def of(cls, logger: WandbLogger) -> Self:
        """The same as a logger of Lightning's that has not begun its run."""
        resilient = cls.__new__(cls)
        vars(resilient).update(vars(logger))
        return resilient

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run | RunDisabled":
        """The run, which is begun when it is first asked for."""
        import wandb

        if self._experiment is None and wandb.run is None and not hasattr(self, "_attach_id"):
            self._begin()
        return super().experiment

    @property
    def version(self) -> str | None:
        """The id of the run; that of its first part if it had to go on in another one."""
        return self._first or super().version

    def keep_local(self) -> None:
        """Send neither what is printed nor the command line; to be called before the run begins."""
        self._local = True

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the configuration."""
        self._attempt(super().log_hyperparams, params)

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers or media."""
        self._attempt(super().log_metrics, metrics, step)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Log a checkpoint, if that was asked for."""
        self._attempt(super().after_save_checkpoint, checkpoint_callback)

    def finalize(self, status: str) -> None:
        """Log what is left to be logged at the end."""
        self._attempt(super().finalize, status)

    def _begin(self) -> None:
        wanted = self._wandb_init
        if self._offline:
            wanted["mode"] = "offline"
        try:
            given = _given(wanted.get("settings"))
            settings = _effective(given)
            wanted["settings"] = self._bounded(given, settings)
            online = (wanted.get("mode") or settings.mode) not in _OFFLINE
            problem = obstacle(settings, given.api_key) if online else None
            problem = problem or self._open()
        except Exception as error:
            problem = _failure(error)
        if problem is not None:
            self._go_offline(problem, "this run is logged offline")
        elif online:
            # Before wandb's own, which waits for what is not sent yet and does not say why.
            atexit.register(self._end, partial(obstacle, settings, given.api_key))

    def _end(self, check: Callable[[], Obstacle | None]) -> None:
        """Say how to send what the server, which has gone since, does not have."""
        import wandb

        if self._experiment is not None and wandb.run is self._experiment and (found := check()):
            print(
                f"{found.reason}: not everything may have been sent. To send it later: "
                f"{_sync(found, self._experiment)}",
                flush=True,
            )

    def _bounded(self, given: "Settings", settings: "Settings") -> "Settings":
        """The settings that were given, with ours where nobody has chosen."""
        bounds = _BOUNDS | ({"finish_timeout": _UPLOADS} if self._log_model else {})
        ours: dict[str, Any] = dict(bounds)
        if self._local:
            ours |= {"console": "off", "x_disable_meta": True}
        fields = type(settings).model_fields
        for name, value in ours.items():
            chosen = name in bounds and getattr(settings, name) != fields[name].default
            if name in fields and not chosen:
                setattr(given, name, value)
        return given

    def _open(self) -> Obstacle | None:
        """Begin the run as it is set up; what went wrong, if something did."""
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
        # wandb's own telemetry would say at the end that the server refuses it too.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        for self._wandb_init["mode"] in modes:
            if self._open() is None:
                break
        if self._experiment is None or self._wandb_init["mode"] == "disabled":
            print(f"{problem.reason}: nothing more is logged to Weights & Biases.")
            return
        runs = (*earlier, self._experiment)
        print(f"{problem.reason}: {consequence}. To send it later: {_sync(problem, *runs)}")

    def _attempt(self, call: Callable[..., None], *arguments: Any) -> None:
        """Log; if that fails, say so once, and go on in a new run if wandb's process is gone."""
        try:
            call(*arguments)
        except ConnectionError as error:
            with suppress(Exception):  # what belongs to the first part cannot be logged again
                self._begin_again(error)
                call(*arguments)
        except Exception as error:
            if not self._failed:
                self._failed = True
                print(f"{_failure(error).reason}: some of it is not logged; training goes on.")

    def _begin_again(self, error: ConnectionError) -> None:
        import wandb
        from wandb.sdk.lib.module import unset_globals

        ended = self._experiment
        modes = ("offline", "disabled") if self._first is None else ("disabled",)
        self._first, self._experiment = self.version, None
        earlier = () if ended is None else (ended,)
        for run in earlier:
            with suppress(Exception):
                run._console_stop()  # or what is printed would still be sent to it
        with suppress(Exception):
            wandb.teardown()
        unset_globals()
        os.environ.pop("WANDB_SERVICE", None)  # where the process was to be found
        self._wandb_init |= {"id": None, "config": dict(ended.config) if ended else None}
        consequence = "this run goes on offline, as another one"
        self._go_offline(_failure(error), consequence, *earlier, modes=modes)


def _given(settings: "Settings | Mapping[str, Any] | None") -> "Settings":
    from wandb import Settings

    if isinstance(settings, Mapping):
        return Settings(**settings)
    return Settings() if settings is None else settings.model_copy()


def _effective(given: "Settings") -> "Settings":
    """What ``wandb.init`` goes by: files and environment, then what is given."""
    from wandb.sdk.wandb_setup import singleton

    settings = singleton().settings.model_copy()
    settings.update_from_settings(given)
    return settings


def _failure(error: Exception) -> Obstacle:
    reason = f"Weights & Biases failed ({type(error).__name__}: {first_line(error)})"
    return Obstacle(reason, RELOGIN if "login" in str(error) else "")


def _sync(problem: Obstacle, *runs: "Run | RunDisabled") -> str:
    """The command that sends runs once the problem is solved."""
    folders = [Path(str(run.dir)).parent for run in runs]
    begun_online = not all(folder.name.startswith("offline-") for folder in folders)
    here = Path.cwd()
    names = (
        str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
        for folder in folders
    )
    option = "--include-online " if begun_online else ""
    return f"{problem.remedy}wandb sync {option}{' '.join(names)}"
