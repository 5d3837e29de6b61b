"""ResilientWandbLogger: whatever Weights & Biases does, the run goes on and can be sent later."""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import WandbLogger

from bertx.report import account, resilient
from bertx.report.resilient import ResilientWandbLogger
from tests.wandb_reader import read_run
from tests.wandb_server import KEY, closed_port, serving


@pytest.fixture
def begin(wandb_home, tmp_path, monkeypatch):
    """Begin a run of somebody who has a key, and log a number."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)

    def call(url, **settings):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        logger = ResilientWandbLogger(project="p", save_dir=tmp_path / "runs", **settings)
        logger.log_hyperparams({"seed": 7})
        logger.log_metrics({"loss": 0.5}, step=1)
        return logger

    return call


def finished(logger):
    """What is in the run's folder."""
    import wandb

    folder = Path(logger.experiment.dir).parent
    wandb.finish()
    return read_run(folder)


def stop_service():
    """End wandb's own process as the kernel does where memory is short."""
    children = subprocess.check_output(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())])
    services = [line.split() for line in children.decode().splitlines() if "wandb-core" in line]
    for pid, *_ in services:
        os.kill(int(pid), signal.SIGKILL)
    assert services


@pytest.mark.parametrize(
    "trouble", ["no key", "wrong key", "closed port", "hangs", "no permission"]
)
def test_goes_offline_and_says_how_to_sync(trouble, begin, monkeypatch, capfd):
    import wandb

    monkeypatch.setattr(account, "PATIENCE", 0.3)
    if trouble == "no key":
        monkeypatch.delenv("WANDB_API_KEY")
    server = {
        "wrong key": {"stranger": 401},
        "hangs": {"hangs": True},
        "no permission": {"refused": 403},
    }
    with serving(**server.get(trouble, {})) as found:
        logger = begin(closed_port() if trouble == "closed port" else found.url)
        assert logger.experiment.settings.mode == "offline"
        run = finished(logger)
        wandb.teardown()
    assert run.values("loss") == [0.5] and run.config["seed"] == 7
    said = capfd.readouterr()
    assert said.out.count("\n") == 1 and "Traceback" not in said.err
    login = {"no key": "wandb login && ", "wrong key": "wandb login --relogin && "}
    command = f"{login.get(trouble, '')}wandb sync runs/wandb/{run.folder.name}\n"
    assert said.out.endswith(f": this run is logged offline. To send it later: {command}")
    if trouble != "no permission":
        assert {operation for operation, _ in found.asked} <= {"Viewer"}


def test_a_run_with_a_key_is_live(begin, capfd):
    import wandb

    with serving() as server:
        logger = begin(server.url)
        assert logger.experiment.settings.mode == "online"
        assert logger.experiment.settings.init_timeout == 20
        assert logger.experiment.settings.finish_timeout == 30
        wandb.finish()
        history = [body for path, body in server.sent if path.endswith("/file_stream")]
        assert "UpsertBucket" in dict(server.asked) and any(b"loss" in body for body in history)
        wandb.teardown()
    assert not capfd.readouterr().out


def test_bounds_that_were_chosen_stay(begin, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "77")
    logger = begin("http://unused", mode="offline", settings={"finish_timeout": 5})
    assert logger.experiment.settings.init_timeout == 77
    assert logger.experiment.settings.finish_timeout == 5
    wandb.finish()


@pytest.mark.parametrize("choice", [{"offline": True}, {"mode": "offline"}, {"mode": "disabled"}])
def test_nobody_is_asked_for_a_run_that_is_not_sent(choice, begin, monkeypatch, capfd):
    monkeypatch.setattr(resilient, "obstacle", lambda *_: pytest.fail("asked"))
    monkeypatch.setenv("WANDB_MODE", "online")  # which Lightning sets, so that it is put back
    logger = begin("http://unused", **choice)
    assert logger.experiment.settings.mode == choice.get("mode", "offline")
    assert not capfd.readouterr().out


def test_a_server_that_is_gone_at_the_end_is_named(begin, monkeypatch, capsys):
    import wandb

    hooks = []
    keeping = SimpleNamespace(register=lambda *hook: hooks.append(hook))
    monkeypatch.setattr(resilient, "atexit", keeping)
    with serving() as server:
        logger = begin(server.url)
        [(end, check)] = hooks
        end(check)
        assert not capsys.readouterr().out
        server.stranger = 401
        end(check)
        folder = Path(logger.experiment.dir).parent.name
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and f"wandb sync --include-online runs/wandb/{folder}" in said
        wandb.finish()
        end(check)
        assert not capsys.readouterr().out
        wandb.teardown()


def test_goes_on_in_another_run_if_wandbs_process_dies(begin, capfd):
    logger = begin("http://unused", mode="offline")
    first, version = Path(logger.experiment.dir).parent, logger.version
    stop_service()
    for step in range(2, 500):  # what is on its way when the process dies is lost
        logger.log_metrics({"loss": 1 / step}, step=step)
        if logger.experiment.id != version:
            break
        time.sleep(0.02)
    logger.log_metrics({"loss": 0.125}, step=step + 1)
    run = finished(logger)
    assert run.values("loss") == [1 / step, 0.125] and run.config["seed"] == 7
    assert logger.version == version and run.folder != first
    said = capfd.readouterr()
    assert said.out.count("\n") == 1 and "Traceback" not in said.err
    assert f"wandb sync runs/wandb/{first.name} runs/wandb/{run.folder.name}" in said.out


@pytest.mark.parametrize("call", ["log_metrics", "log_hyperparams"])
def test_a_call_that_fails_is_said_once(call, begin, monkeypatch, capsys):
    logger = begin("http://unused", mode="offline")
    with monkeypatch.context() as patched:
        patched.setattr(WandbLogger, call, lambda *_: 1 / 0)
        getattr(logger, call)({"loss": 1.0})
        getattr(logger, call)({"loss": 2.0})
    logger.log_metrics({"loss": 4.0}, step=3)
    assert finished(logger).values("loss") == [0.5, 4.0]
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "ZeroDivisionError: division by zero" in said


def test_trains_without_wandb_where_it_cannot_work_at_all(begin, monkeypatch, capsys):
    import wandb

    real = wandb.init

    def broken(**settings):
        if settings.get("mode") != "disabled":
            raise OSError("wandb-core cannot be started")
        return real(**settings)

    monkeypatch.setattr(wandb, "init", broken)
    logger = begin("http://unused", mode="offline")
    assert logger.version
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "wandb-core cannot be started" in said


def test_what_is_printed_can_stay_on_the_machine(begin, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["bertx", "--planted", "zorp"])
    logger = ResilientWandbLogger(project="p", save_dir=tmp_path / "runs", mode="offline")
    logger.keep_local()
    assert logger.experiment.settings.console == "off"
    print("a word: zorp")
    run = finished(logger)
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert files and not any(b"zorp" in path.read_bytes() for path in files)
