"""What a run of the command line needs, small: a model folder, data files, arguments."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import torch

from tests.tiny import tiny_model, tiny_tokenizer

LABELS = ["negative", "positive"]
FAST = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.num_sanity_val_steps=0",
]
CSV_ONLY = [
    "--trainer.logger={class_path: lightning.pytorch.loggers.CSVLogger, "
    "init_args: {save_dir: lightning_logs, name: ''}}"
]
UNEXPLAINED = ["--faithfulness.methods={}", "--heatmaps.methods={}"]


def save_model(folder, labels=2, kind="bert"):
    """A pretrained encoder as a folder; its weights are small enough to be trained."""
    model = tiny_model(kind, labels, torch.float32)
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_data(folder, labels=LABELS, sizes=None):
    """Sentences whose label is the word they hold; odd numbers of rows."""
    draw = random.Random(0)
    words = ["awful", "superb", "dull", "great", "food"][: len(labels)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for split, size in (sizes or {"train": 45, "validation": 23, "test": 23}).items():
        with Path(folder, f"{split}.jsonl").open("w") as file:
            for i in range(size):
                rest = draw.choices(["the", "film", "was", "plot", "and", "a"], k=2 + i % 5)
                rest.insert(draw.randrange(len(rest)), words[i % len(labels)])
                row = {"text": " ".join(rest), "label": labels[i % len(labels)]}
                file.write(json.dumps(row) + "\n")
    return str(folder)


def arguments(subcommand, model, data, *more):
    """A quick run on the CPU that logs to CSV and explains nothing."""
    return [
        subcommand, f"--model.name={model}", f"--data.path={data}", "--data.batch_size=8",
        *FAST, *CSV_ONLY, *UNEXPLAINED, *more,
    ]  # fmt: skip


def logged(run):
    """Rows of a run's metrics, without what is empty."""
    with Path(run, "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def last_value(run, key):
    """The last value logged under ``key``."""
    return [row[key] for row in logged(run) if key in row][-1]


def in_two_processes(module, folder):
    """Run a test module's ``main`` with the folder as its argument; it starts two processes."""
    subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        check=True,
        timeout=300,
        cwd=Path(__file__).parents[1],
        capture_output=True,
    )
