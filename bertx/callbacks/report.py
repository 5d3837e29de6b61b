"""ReportWriter: what a run has found as one page, at its end."""

import logging
from dataclasses import astuple
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from bertx.callbacks.run import check_within, here, run_folder, writes
from bertx.errors import InputError, first_line
from bertx.report.history import RATE, Logged, history_path, is_history, write_history

log = logging.getLogger("bertx")


class ReportWriter(Callback):
    """Writes ``<run>/report.html`` when a training has ended: findings, curves, heatmaps, costs.

    While training it keeps losses, accuracy, F1 and the learning rate, whatever the loggers, in
    ``<run>/bertx/history.csv``; everything else on the page is what the other callbacks wrote.
    ``bertx report <run>`` makes the page again, also of several runs. Trouble with it ends no run.

    Args:
        file: The page, within the folder of the run.
        relevant: The smallest difference between methods that matters, in the unit of the metric;
            the default suits probabilities.

    Raises:
        InputError: If the file leads out of the folder, or the difference is not above 0.
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
        """What was logged so far."""
        return {"rows": [astuple(row) for row in self._rows.values()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        rows = [Logged(*row) for row in state_dict["rows"]]
        self._rows = {(row.step, row.key): row for row in rows}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate: after the step it is that of the next one."""
        groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
        self._rate = float(groups[0]["lr"]) if groups else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss and the learning rate whenever the trainer logs."""
        _, step = here(trainer)
        every: int = vars(trainer)["log_every_n_steps"]
        if every and (step + 1) % every == 0:
            self._keep(trainer, "train/")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured, and how the training stood, and write it."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._keep(trainer, "train/", "val/")
            self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page, and say where it is."""
        folder = self._write(trainer)
        if not writes(trainer):
            return
        try:
            print(f"Report: {self._report(folder)}")
        except Exception as error:
            log.warning(
                f"the report is not written ({type(error).__name__}: {first_line(error)}); the "
                f"run is complete. To try again: bertx report {folder}"
            )

    def _keep(self, trainer: Trainer, *stages: str) -> None:
        """Keep the numbers of some stages, and the learning rate; of one step the last hold."""
        epoch, step = here(trainer)
        numbers = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if key.startswith(stages) and is_history(key)
        }
        if self._rate is not None:
            numbers[RATE] = self._rate
        rows = {(step, key): Logged(epoch, step, key, value) for key, value in numbers.items()}
        self._rows |= rows

    def _write(self, trainer: Trainer) -> Path:
        """Write what was kept, on rank zero; which folder it is is agreed on by all."""
        folder = run_folder(trainer)
        if writes(trainer):
            try:
                write_history(history_path(folder), self._rows.values())
            except OSError as error:
                if not self._warned:
                    log.warning(f"{history_path(folder)} is not written ({first_line(error)})")
                self._warned = True
        return folder

    def _report(self, folder: Path) -> Path:
        from bertx.rendering.files import write_whole
        from bertx.report.report import read_report, report_page

        report = read_report([folder], self.relevant)
        return write_whole(folder / self.file, report_page(report))
