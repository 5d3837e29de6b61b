"""A training whose weights go a given way, and slow readings of what its monitors should see."""

import csv
from pathlib import Path

import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, DistributedSampler

from bertx.attribution import GradientSensitivity, GradientXInput, Random
from bertx.callbacks.agreement import AgreementMonitor
from bertx.callbacks.drift import DriftMonitor
from bertx.callbacks.shortcut import ShortcutAlarm
from bertx.models.inputs import Inputs, merge_by_unit
from bertx.trace import Needs, Trace
from tests.callbacks.toy import DATA, ForeignModule, trainer
from tests.tiny import tiny_batch, tiny_tokenizer

METHODS = {"gi": GradientXInput(), "gs": GradientSensitivity(), "random": Random()}
EPOCHS = 4


class Scripted(ForeignModule):
    """Gradients change nothing; before each epoch the weights take a step of a given size."""

    def __init__(self, steps=(0.05,) * EPOCHS):
        super().__init__()
        self.steps = steps

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)

    def on_train_epoch_start(self):
        drawn = torch.Generator().manual_seed(self.current_epoch)
        with torch.no_grad():
            for weight in self.parameters():
                noise = torch.randn(weight.shape, generator=drawn)
                weight += self.steps[self.current_epoch] * noise


class Reader(Callback):
    """Explains each text on its own, one plain trace at a time, and keeps the unit scores."""

    def __init__(self, methods=METHODS, data=DATA, target="predicted"):
        self.methods, self.data, self.target = methods, data, target
        self.read = []

    def on_validation_epoch_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.read.append([self.explain(module, *row) for row in self.data])

    def explain(self, module, text, label):
        batch = tiny_batch(tiny_tokenizer(), [text], [label])
        target = batch["labels"] if self.target == "gold" else None
        needs = Needs.GRADIENT | Needs.RELEVANCE
        trace = Trace(module.net, Inputs.from_batch(batch), target, needs)
        scores = {
            name: merge_by_unit(method(trace), trace.inputs.units)[0].tolist()
            for name, method in self.methods.items()
        }
        return int(trace.target), scores


def numbered(data=DATA, batch_size=6, sampler=None):
    """Batches that know the numbers of their rows."""

    def collate(rows):
        texts, labels = zip(*(data[row] for row in rows), strict=True)
        return tiny_batch(tiny_tokenizer(), texts, labels) | {"index": torch.tensor(rows)}

    return DataLoader(range(len(data)), batch_size=batch_size, collate_fn=collate, sampler=sampler)


def monitors(**settings):
    return [
        DriftMonitor(METHODS, **settings),
        ShortcutAlarm(bound=0.1, min_texts=1, **settings),
        AgreementMonitor(METHODS, **settings),
    ]


def table(folder, name, stage="val"):
    with Path(folder, "version_0/bertx", stage, f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def main(folder, sampler=None, **settings):
    """Four epochs, with the ten examples or the one of a sample dealt out anew in each."""
    torch.set_num_threads(1)
    for size in (10, 1):
        run = trainer(
            folder / str(size), monitors(max_examples=size),
            max_epochs=EPOCHS, num_sanity_val_steps=0, use_distributed_sampler=False, **settings,
        )  # fmt: skip
        run.fit(Scripted(), numbered(), numbered(sampler=sampler))


class Dealing(DistributedSampler):
    """Deals the rows out to two processes, as they come to be known, in another way each epoch."""

    def __init__(self):
        super().__init__(range(len(DATA)), num_replicas=2, rank=0, shuffle=True)

    def __iter__(self):
        self.rank = torch.distributed.get_rank()
        return super().__iter__()
