"""ReportWriter: the results of a training run as one page."""

import logging
from dataclasses import astuple
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from bertx.callbacks.trainer import check_within, epoch_and_step, run_folder, writes_files
from bertx.errors import InputError, first_line
from bertx.report.history import RATE, Logged, history_path, is_history, write_history

log = logging.getLogger("bertx")


class ReportWriter(Callback):
    """Writes ``<run>/report.html`` at the end of training: findings, curves, heatmaps, costs.

    During training it records losses, accuracy, F1 and the learning rate in
    ``<run>/bertx/history.csv``, whatever the loggers; everything else on the page comes from the
    files of other callbacks. ``bertx report <run>`` writes the page again, also for several runs.
    An error in the report does not stop the run.

    Args:
        file: The page, within the folder of the run.
        relevant: The smallest difference between methods that matters, in the unit of the metric;
            the default suits probabilities.

    Raises:
        InputError: If ``file`` leads out of the folder, or ``relevant`` is not above 0.
    """

    def __init__(self, file: str = "report.html", relevant: float = 0.01) -> None:
        check_within("report.file", file)
        if not relevant > 0:
            raise InputError(f"report.relevant: expected a number above 0, got {relevant}")
        self.file = file
        self.relevant = relevant
        self._rows: dict[tuple[int, str], Logged] = {}
        self._rate: float | None = None
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the rows logged so far."""
        return {"rows": [astuple(row) for row in self._rows.values()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of a checkpoint."""
        rows = [Logged(*row) for row in state_dict["rows"]]
        self._rows = {(row.step, row.key): row for row in rows}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Store the learning rate before the scheduler changes it."""
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        self._rate = float(groups[0]["lr"]) if groups else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss and the learning rate whenever the trainer logs."""
        _, step = epoch_and_step(trainer)
        every: int = vars(trainer)["log_every_n_steps"]
        if every and (step + 1) % every == 0:
            self._record(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the metrics of training and validation, and write them."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._record(trainer, "train/", "val/")
            self._write_history(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page and print its path."""
        folder = self._write_history(trainer)
        if not writes_files(trainer):
            return
        try:
            print(f"Report: {self._write_report(folder)}")
        except Exception as error:
            log.warning(
                f"the report is not written ({type(error).__name__}: {first_line(error)}); the "
                f"run is complete. To try again: bertx report {folder}"
            )

    def _record(self, trainer: Trainer, *stages: str) -> None:
        """Record the metrics of some stages and the learning rate, replacing those of this step."""
        epoch, step = epoch_and_step(trainer)
        values = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key.startswith(stages) and is_history(key)
        }
        if self._rate is not None:
            values[RATE] = self._rate
        for key, value in values.items():
            self._rows[step, key] = Logged(epoch, step, key, value)

    def _write_history(self, trainer: Trainer) -> Path:
        """Write the recorded values on rank zero, and return the run's folder; collective."""
        folder = run_folder(trainer)
        if writes_files(trainer):
            try:
                write_history(history_path(folder), self._rows.values())
            except OSError as error:
                if not self._warned:
                    log.warning(f"{history_path(folder)} is not written ({first_line(error)})")
                self._warned = True
        return folder

    def _write_report(self, folder: Path) -> Path:
        from bertx.rendering.files import write_whole
        from bertx.report.report import read_report, report_page

        report = read_report([folder], self.relevant)
        return write_whole(folder / self.file, report_page(report))
