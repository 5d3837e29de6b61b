"""What libraries print that means nothing to somebody who runs bertx, kept away by its words."""

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
    r"|.*LOAD REPORT"  # of a model without a head; bertx says what of it matters
)
_WARNED = (
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning of torch
    r"LightningCLI's args parameter is intended",  # `bertx.cli.main` called in a notebook
    r".*does not have many workers which may be a bottleneck",  # the collator takes no time
    r".*Checkpoint directory .* exists and is not empty",  # last.ckpt is replaced on purpose
    r".*Experiment logs directory .* exists and is not empty",
)
_PRINTERS = ("lightning", "lightning.pytorch", "lightning.fabric", "transformers")


@contextmanager
def without_noise() -> Iterator[None]:
    """Keep meaningless lines away, by their words alone: all others are shown as before."""
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


def bars_of_libraries() -> None:
    """Let Hugging Face's libraries draw their bars on a terminal alone: a log takes lines."""
    if interactive():
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # read when it is imported


def without_anonymous(loggers: Sequence[Any]) -> None:
    """Keep Lightning from passing wandb a setting that wandb warns of even where it is unset."""
    for logger in loggers:
        settings = getattr(logger, "_wandb_init", None)
        if isinstance(settings, dict) and settings.get("anonymous", "") is None:
            del settings["anonymous"]


def _matters(record: logging.LogRecord) -> bool:
    return not _LOGGED.match(record.getMessage())
