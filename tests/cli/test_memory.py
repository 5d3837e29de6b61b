"""Whole runs of predict: memory does not grow with the number of texts."""

import gc
import json
import tracemalloc
from functools import wraps
from pathlib import Path

from lightning.pytorch import Trainer
from pyarrow import dataset

from bertx.callbacks import predictions
from bertx.cli import main
from tests.cli.test_runs import RUN
from tests.runs import arguments

WORDS = "the film was great bad plot".split()
GROWTH = 200
"""Bytes a text: a text with its prediction takes over 300."""


def corpus(count):
    folder = Path(f"corpus-{count}")
    folder.mkdir(exist_ok=True)
    with (folder / "predict.jsonl").open("w") as file:
        for i in range(count):  # all of one length, as a batch holds its tokens
            file.write(json.dumps({"text": " ".join(WORDS[: i % 5 + 1]) + f" {i:05}"}) + "\n")
    return folder


def peak(model, count, *more):
    """Most memory during a run, in bytes."""
    args = arguments("predict", model, corpus(count), "--data.eval_batch_size=125", *more)
    gc.collect()
    gc.freeze()  # else garbage waits the longer the more other tests have left
    tracemalloc.start()
    try:
        main([*args, "--data.labels=[negative, positive]"])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_predict_needs_no_more_memory_for_more_texts(model, monkeypatch):
    monkeypatch.setattr("bertx.data.splits.CHUNK", 250)
    monkeypatch.setattr(predictions, "ROWS_PER_SHARD", 250)
    more = ["--attributions.methods={random: Random}", "--attributions.rows_per_shard=250"]
    peak(model, 100, *more)  # what is loaded once
    few, many = peak(model, 500, *more), peak(model, 2_000, *more)
    assert many - few < 1_500 * GROWTH, (few, many)
    run = RUN.with_name("version_2")
    assert len((run / "predictions.csv").read_text().split("\n")) == 2_002
    assert dataset.dataset(run / "attributions").count_rows() == 2_000


def test_lightning_keeps_neither_predictions_nor_rows(run, monkeypatch):
    """Tensors are not in the memory that is traced above."""
    runs = []
    predict = Trainer.predict

    @wraps(predict)  # the command line reads its options off the signature
    def kept(self, *args, **kwargs):
        runs.append((self, predict(self, *args, **kwargs)))

    monkeypatch.setattr(Trainer, "predict", kept)
    run("predict")
    ((trainer, returned),) = runs
    assert returned is None and not trainer.predict_loop._predictions
    sampler = trainer.predict_dataloaders.batch_sampler
    assert not hasattr(sampler, "seen_batch_indices")
