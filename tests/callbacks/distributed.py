"""Run by test_distributed in two processes: ``python -m tests.callbacks.distributed FOLDER``."""

import sys
from pathlib import Path

import torch

from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger
from tests.callbacks.toy import DATA, ForeignModule, loader, trainer

ODD = DATA[:23]  # does not divide by two ranks: one row comes twice


def main(folder, devices):
    torch.set_num_threads(1)
    callbacks = [FaithfulnessMonitor(), HeatmapLogger(max_examples=7)]
    runner = trainer(folder, callbacks, strategy="ddp", devices=devices)
    module = ForeignModule()
    runner.validate(module, loader(data=ODD), verbose=False)
    runner.fit(module, loader(data=ODD), loader(data=ODD))
    if runner.is_global_zero:
        torch.save(module.net.state_dict(), Path(folder, "weights.pt"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), 2)
