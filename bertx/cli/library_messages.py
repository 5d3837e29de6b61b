"""Filters for messages and progress bars of libraries that mean nothing to users of bertx."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bertx.progress import interactive

_LOGGED = re.compile(
    r"💡 Tip: "  # advertises services of Lightning's makers
    r"|GPU available: False|TPU available: False"
    r"|LOCAL_RANK: \d+ - CUDA_VISIBLE_DEVICES"
    r"|You are using the plain ModelCheckpoint callback"
    r"|Loading `\w+_dataloader` to estimate number of stepping batches"
    r"|.*LOAD REPORT"  # of a model without a head; bertx reports the parts that matter
)
_WARNED = (
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's use of torch
    r"LightningCLI's args parameter is intended",  # `bertx.cli.main` called in a notebook
    r".*does not have many workers which may be a bottleneck",  # collating is fast
    r".*Checkpoint directory .* exists and is not empty",  # last.ckpt is replaced on purpose
    r".*Experiment logs directory .* exists and is not empty",
)
_PRINTERS = ("lightning", "lightning.pytorch", "lightning.fabric", "transformers")


@contextmanager
def filtered_messages() -> Iterator[None]:
    """Hide log messages and warnings that match the patterns above; show all others."""
    handlers = [handler for name in _PRINTERS for handler in logging.getLogger(name).handlers]
    for handler in handlers:
        handler.addFilter(_matters)
    try:
        with warnings.catch_warnings():
            for message in _WARNED:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(_matters)


def hide_library_bars() -> None:
    """Disable the progress bars of Hugging Face's libraries unless they are on a terminal."""
    if interactive():
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # read when it is imported


def drop_unset_anonymous(loggers: Sequence[Any]) -> None:
    """Drop an unset ``anonymous``, which Lightning passes to wandb and wandb warns about."""
    for logger in loggers:
        settings = getattr(logger, "_wandb_init", None)
        if isinstance(settings, dict) and settings.get("anonymous", "") is None:
            del settings["anonymous"]


def _matters(record: logging.LogRecord) -> bool:
    return not _LOGGED.match(record.getMessage())
