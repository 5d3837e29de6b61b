"""Kills trainings at random moments (SIGKILL), goes on with each, and compares what comes out.

Half of the trainings accumulate gradients, mask words and load batches in two processes. Each is
killed up to four times. What it ends with has to be that of a training that nobody killed: weights,
optimizer, random streams, the best checkpoint, the exported model, the rows of every batch, and
whatever was logged.

    python -m benchmarks.kills [number of kills, 20]
"""

import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from lightning.pytorch import Callback

from bertx.cli import main as bertx
from tests.cli.killing import RUNS, curves, differences, result
from tests.runs import CSV_ONLY, FAST, save_data, save_model

ROWS = Path("rows.jsonl")
COMMON = [
    "--data.batch_size=8",
    "--trainer.max_epochs=3",
    "--trainer.val_check_interval=0.4",
    "--trainer.log_every_n_steps=1",
    "--trainer.callbacks+=benchmarks.kills.Rows",
    "--model.learning_rate=1e-3",
    "--last_checkpoint.every_n_train_steps=7",
    "--faithfulness.methods={attnlrp: AttnLRP, random: Random}",
    "--faithfulness.max_examples=8",
    "--faithfulness.ceiling_examples=0",
    "--heatmaps.methods={}",
]
KINDS = [
    [],
    ["--trainer.accumulate_grad_batches=4", "--data.masking=0.5", "--data.num_workers=2"],
]
TIMED = ("cost", "seconds")


class Rows(Callback):
    """Writes which rows each batch had."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        row = [trainer.current_epoch, batch_idx, batch["index"].tolist(), outputs["loss"].item()]
        with ROWS.open("a") as file:
            file.write(json.dumps(row) + "\n")


def start(arguments, folder):
    """A run in a process of its own, which has imported everything."""
    if child := os.fork():
        return child
    try:
        os.chdir(folder)
        log = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv[1:] = []
        bertx(arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child):
    """Whether a process has ended; fails if it ended badly."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done and status:
        raise SystemExit(f"a run failed with {os.waitstatus_to_exitcode(status)}")
    return bool(done)


def train(arguments, folder):
    """Train to the end; the seconds that it took behind the first batch."""
    child, first = start(arguments, folder), None
    while not ended(child):
        if first is None and (folder / ROWS).exists():
            first = time.monotonic()
        time.sleep(0.01)
    return time.monotonic() - (first or 0)


def train_killed(arguments, folder, seconds, kills, draw):
    """Train, killed so many times at the most; where it was killed each time."""
    places = []
    while True:
        found = list((folder / RUNS).rglob("last.ckpt"))
        known = len(lines(folder / ROWS))
        child = start([*arguments, *(["--ckpt_path=last"] if found else [])], folder)
        if len(places) == kills:
            os.waitpid(child, 0)
            return places
        while len(lines(folder / ROWS)) == known and not (over := ended(child)):
            time.sleep(0.01)
        deadline = time.monotonic() + draw.uniform(0, seconds * (1 - len(places) / (kills + 1)))
        while not over and time.monotonic() < deadline:
            time.sleep(0.01)
            over = ended(child)
        if over:
            return places
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        epoch, batch, *_ = json.loads(lines(folder / ROWS)[-1])
        places.append(f"epoch {epoch} batch {batch}")


def lines(path):
    text = path.read_text() if path.exists() else ""
    return text.splitlines()


def outcome(folder):
    """What a training comes to, and the rows and losses of each batch as it was last trained on."""
    os.chdir(folder)
    batches = {(e, b): (rows, loss) for e, b, rows, loss in map(json.loads, lines(ROWS))}
    for epoch in {epoch for epoch, _ in batches}:
        rows = [row for (e, _), (own, _) in batches.items() if e == epoch for row in own]
        assert sorted(rows) == list(range(len(rows))), f"epoch {epoch} has rows twice or not at all"
    return {**result(), "batches": batches}


def logged():
    """All numbers that the runs of a training logged, by key and step, but for times."""
    numbers = {}
    for run in RUNS.glob("version_*"):
        if (run / "metrics.csv").exists() and (run / "metrics.csv").stat().st_size:
            numbers |= curves(run)
        table = run / "bertx/val/faithfulness.csv"
        for row in csv.DictReader(table.open()) if table.exists() else ():
            numbers |= {(row["method"], row["step"], key): own for key, own in row.items()}
    # As text, in which what is not a number equals itself.
    return {key: str(own) for key, own in numbers.items() if not any(t in str(key) for t in TIMED)}


def compare(whole, killed):
    """Where a training that was killed differs from one that was not."""
    theirs, expected = outcome(whole), logged()
    ours, found = outcome(killed), logged()
    wrong = differences(ours, theirs)
    # A logger may not have written its last lines; what is there has to be right.
    return wrong + [
        f"{key}: {own}, not {expected.get(key)}"
        for key, own in found.items()
        if expected.get(key) != own
    ]


def main(kills=20):
    draw, done, different = random.Random(0), 0, 0
    place = Path(tempfile.mkdtemp())
    sizes = {"train": 203, "validation": 61}
    model, data = save_model(place / "model"), save_data(place / "data", sizes=sizes)
    base = ["fit", f"--model.name={model}", f"--data.path={data}", *FAST, *CSV_ONLY, *COMMON]
    wholes = []
    for number, kind in enumerate(KINDS):
        folder = place / f"whole_{number}"
        folder.mkdir()
        seconds = train([*base, *kind], folder)
        wholes.append((folder, seconds))
        print(f"undisturbed: {seconds:.1f} s", flush=True)
    number = 0
    while done < kills:
        which, folder = number % len(KINDS), place / f"killed_{number}"
        folder.mkdir()
        whole, seconds = wholes[which]
        most = min(4, kills - done)
        places = train_killed([*base, *KINDS[which]], folder, seconds, most, draw)
        wrong = compare(whole, folder)
        done, number, different = done + len(places), number + 1, different + bool(wrong)
        print(f"killed in {'; '.join(places)}: {wrong or 'equal'}", flush=True)
    print(f"{done} kills of {number} trainings: {number - different} equal, {different} different")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
