"""What Ctrl-C and SIGTERM leave behind, and resuming from it."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from bertx.cli import main
from bertx.cli.checkpoints import find_checkpoint
from tests.runs import arguments, logged, save_data, save_model

SIGNALS = {signal.SIGINT: 1, signal.SIGTERM: 128 + 15}
PERIOD, EPOCH = 20, 250
ENDLESS = [
    "--trainer.max_steps=100000",
    "--trainer.max_epochs=-1",
    f"--last_checkpoint.every_n_train_steps={PERIOD}",
]
RUN = Path("lightning_logs/version_0")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Long epochs, so that every signal falls into one."""
    sizes = {"train": 8 * EPOCH, "validation": 23}
    return save_data(tmp_path_factory.mktemp("data"), sizes=sizes)


@pytest.fixture(scope="module")
def ended(model, data, tmp_path_factory):
    """Two trainings, each ended by a signal after its first checkpoint: folder, code, output."""
    started = {}
    for number in SIGNALS:
        folder = tmp_path_factory.mktemp(number.name)
        args = arguments("fit", model, data, *ENDLESS)
        with (folder / "output.txt").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bertx.cli", *args],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A shell starts what it puts into the background deaf to Ctrl-C.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        started[number] = folder, process
    try:
        return {number: end(*started[number], number) for number in SIGNALS}
    finally:
        for _, process in started.values():
            process.kill()


def end(folder, process, number):
    deadline = time.monotonic() + 240
    while not (folder / RUN / "checkpoints/last.ckpt").is_file():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    code = process.wait(timeout=120)
    return folder, code, (folder / "output.txt").read_text()


def test_resumes_where_it_was_ended(ended, run, monkeypatch, capsys):
    for number in SIGNALS:
        check_resuming(number, ended[number], run, monkeypatch, capsys)


def check_resuming(number, ended, run, monkeypatch, capsys):
    folder, code, output = ended
    assert code == SIGNALS[number]
    assert "Traceback" not in output
    monkeypatch.chdir(folder)
    last = RUN / "checkpoints/last.ckpt"
    done = torch.load(last)["global_step"]
    periodic = done > 0 and (done % PERIOD == 0 or done % EPOCH == 0)
    assert periodic or "saved checkpoint to" in output

    stop = ["--trainer.max_epochs=-1", f"--trainer.max_steps={done + 3}"]
    run("fit", *stop, "--ckpt_path=last", "--trainer.log_every_n_steps=1")
    assert f"Checkpoint: {last}" in capsys.readouterr().out
    again = RUN.with_name("version_1")
    steps = [row["step"] for row in logged(again) if "train/loss" in row]
    assert steps == [steps[0], steps[0] + 1, steps[0] + 2]
    assert steps[0] == done
    assert torch.load(again / "checkpoints/last.ckpt")["global_step"] == done + 3


def test_a_resumed_run_remembers_the_best(run):
    run("fit", "--trainer.max_epochs=2", "--trainer.limit_train_batches=6")
    best = torch.load(RUN / "checkpoints/last.ckpt")["callbacks"]
    kept = next(s for key, s in best.items() if key.startswith("BestCheckpoint"))
    assert kept["best_model_score"] > 0
    # The next epoch changes nothing, so its score is at most the best one.
    still = [
        "--trainer.limit_train_batches=6",
        "--model.learning_rate=1e-30",
        "--model.weight_decay=0",
    ]
    run("fit", "--trainer.max_epochs=3", "--ckpt_path=last", *still)
    again = torch.load("lightning_logs/version_1/checkpoints/last.ckpt")["callbacks"]
    state = next(s for key, s in again.items() if key.startswith("BestCheckpoint"))
    assert state["best_model_path"] == kept["best_model_path"]
    assert Path(state["best_model_path"]).is_file()


def test_goes_on_without_the_model_that_it_began_with(data, tmp_path):
    model = save_model(tmp_path / "base")
    settings = ["--trainer.max_epochs=2", "--trainer.limit_train_batches=4"]
    main(arguments("fit", model, data, *settings, "--trainer.max_steps=3"))
    begun = torch.load(RUN / "checkpoints/last.ckpt")
    begun["bertx_resumption"]["stopped"] = True  # by a callback that the next run does not have
    torch.save(begun, RUN / "checkpoints/last.ckpt")
    (tmp_path / "base").rename(tmp_path / "gone")
    main(arguments("fit", model, data, *settings, "--ckpt_path=last"))
    again = RUN.with_name("version_1")
    last = torch.load(again / "checkpoints/last.ckpt")
    assert last["global_step"] == 8 and last["hyper_parameters"]["name"] == model
    assert "base" in (again / "config.yaml").read_text()
    for path in (RUN / "hf/config.json", RUN / "hf/tokenizer.json"):
        assert (again / "hf" / path.name).read_text() == path.read_text()


def test_an_error_overwrites_no_checkpoint(run, capsys):
    """What Ctrl-C saves is sound; what NaN logits stop is not."""
    with pytest.raises(SystemExit):
        run("fit", "--model.learning_rate=1e38", "--trainer.gradient_clip_val=null")
    assert "finite logits" in capsys.readouterr().err
    assert not list(Path().rglob("*.ckpt"))


def test_a_best_checkpoint_that_was_superseded_is_found(workplace):
    """A run that is killed has removed the best one that its last.ckpt names."""
    for name, best in (("last", "gone"), ("epoch=1-step=8", "epoch=1-step=8"), ("a", "a")):
        path, named = (f"run/checkpoints/{stem}.ckpt" for stem in (name, best))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        state = {"BestCheckpoint{'mode': 'max'}": {"best_model_path": named}}
        torch.save({"callbacks": state if name != "a" else {}}, path)
    assert find_checkpoint("best", ["run"]) == "run/checkpoints/epoch=1-step=8.ckpt"


def test_the_last_checkpoint_is_the_newest(workplace):
    paths = [Path(f"run/{name}/last.ckpt") for name in "abc"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.touch()
    for seconds, path in enumerate(paths[::-1], 10**10):
        os.utime(path, (seconds, seconds))
        assert find_checkpoint("last", ["run", "other"]) == str(path)


def test_what_cannot_be_gone_on_with_is_refused_in_a_line(run, fails, model, data):
    run("fit", "--trainer.max_steps=4", "--last_checkpoint.every_n_train_steps=2")
    last = RUN / "checkpoints/last.ckpt"
    on = ["--ckpt_path=last", "--trainer.max_steps=6"]
    error = fails(arguments("fit", model, data, *on, "--data.seed=3"))
    assert "seed 42 (now 3). Restore these settings" in error
    last.write_bytes(last.read_bytes()[:-99])
    error = fails(arguments("fit", model, data, *on))
    assert f"checkpoint {last}: expected a complete file" in error
    assert len(error.strip().splitlines()) == 1
