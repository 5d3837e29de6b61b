"""Run by test_distributed in two processes: ``python -m tests.callbacks.distributed FOLDER``."""

import sys
from pathlib import Path

import torch

from bertx.attribution import GradientSensitivity
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger
from bertx.metrics import DeletionCurve
from tests.callbacks import watching
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer

ODD = DATA[:23]  # does not divide by two ranks: one row comes twice
TWO = {"strategy": "ddp_fork", "devices": 2}  # without importing all again


def monitored(folder):
    """Validated, then trained with every callback of a run."""
    callbacks = [FaithfulnessMonitor(), HeatmapLogger(max_examples=7)]
    runner, module = trainer(folder, callbacks, **TWO), ForeignModule()
    runner.validate(module, loader(data=ODD), verbose=False)
    runner.fit(module, loader(data=ODD), loader(data=ODD))


def explained(folder, **settings):
    """Batches with numbers, dealt out by the sampler that Lightning puts into the loader."""
    metrics = {"deletion_auc": DeletionCurve(3)}
    monitor = FaithfulnessMonitor({"gs": GradientSensitivity()}, metrics, ceiling_examples=0)
    runner = trainer(folder, [monitor], **settings)
    runner.validate(ForeignModule(), watching.numbered(ODD), verbose=False)


def main(folder):
    torch.set_num_threads(1)
    monitored(folder / "monitored")
    explained(folder / "explained", **TWO)
    watching.main(folder / "watched", watching.Dealing(), **TWO)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
