"""Runs that write attributions, also in a process of its own (see `main`)."""

import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback
from pyarrow import dataset
from torch.utils.data import DataLoader

from bertx.attribution import GradientXInput, Random
from bertx.callbacks import AttributionWriter
from tests.callbacks.toy import ForeignModule, trainer
from tests.tiny import WORDS, tiny_batch, tiny_tokenizer

COUNT = 57
TEXTS = [" ".join(WORDS[(i * 7 + j) % 20] for j in range(1 + i % 9)) for i in range(COUNT)]
METHODS = {"gi": GradientXInput(), "random": Random()}
ON_THE_COMMAND_LINE = "--attributions.methods={gi: GradientXInput, random: Random}"


class Predicting(ForeignModule):
    def predict_step(self, batch, _):
        return self.net(batch["input_ids"], attention_mask=batch["attention_mask"]).logits


class Killer(Callback):
    """Ends the run after so many batches."""

    def __init__(self, batches, signal=None):
        self.batches, self.signal = batches, signal

    def on_predict_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx + 1 == self.batches:
            if self.signal is not None:
                os.kill(os.getpid(), self.signal)
            raise RuntimeError("halfway")


def writer(folder, **settings):
    return AttributionWriter(
        **{"methods": METHODS, "folder": f"{folder}/", "rows_per_shard": 10} | settings
    )


def numbered(texts=TEXTS, keep=None):
    """Batches of eight texts with the numbers of their rows."""

    def collate(rows):
        batch = tiny_batch(tiny_tokenizer(), [texts[row] for row in rows])
        batch["index"] = torch.tensor(rows)
        return batch if keep is None else {name: batch[name] for name in keep}

    return DataLoader(range(len(texts)), batch_size=8, collate_fn=collate)


def predict(folder, *callbacks, module=None, data=None):
    run = trainer(Path(folder, "run"), callbacks)
    run.predict(module or Predicting(), data or numbered(), return_predictions=False)


def table(folder):
    """The rows of a folder in the order of the texts."""
    return dataset.dataset(folder).to_table().sort_by("index").to_pylist()


def main(folder):
    """Is killed."""
    torch.set_num_threads(1)
    predict(folder, writer(Path(folder, "kept")), Killer(5, signal.SIGKILL))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
