"""Weights & Biases without an account."""

import os
from pathlib import Path

import pytest
from jsonargparse import Namespace

from bertx.cli.account import stay_offline_without_key

KEY = "0123456789" * 4


def logger(name="lightning.pytorch.loggers.WandbLogger", **init_args):
    return Namespace(class_path=name, init_args=Namespace(init_args))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without any key."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path(tmp_path / "home/.config/wandb").mkdir(parents=True)
    monkeypatch.setenv("WANDB_MODE", "")  # so that monkeypatch puts the old value back
    for name in ("API_KEY", "BASE_URL", "CONFIG_DIR", "DIR", "IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    return tmp_path / "home"


def test_goes_offline_and_says_how_to_sync(capsys):
    stay_offline_without_key([logger(save_dir="runs")])
    assert os.environ["WANDB_MODE"] == "offline"
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "wandb login && wandb sync runs/wandb/offline-run-*" in said


def test_other_loggers_and_choices_are_left(monkeypatch, capsys):
    stay_offline_without_key([])
    stay_offline_without_key([logger("lightning.pytorch.loggers.CSVLogger", save_dir="runs")])
    stay_offline_without_key([logger(offline=True), logger(mode="disabled")])
    assert os.environ["WANDB_MODE"] == ""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    stay_offline_without_key([logger()])
    assert os.environ["WANDB_MODE"] == "disabled"
    assert not capsys.readouterr().out


def from_environment(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def from_netrc_as_wandb_writes_it(home, monkeypatch):
    from wandb.sdk.lib import wbauth

    wbauth.write_netrc_auth(host="https://api.wandb.ai", api_key=KEY)
    assert (home / ".netrc").is_file()


def from_netrc_elsewhere(home, monkeypatch):
    (home / "mine").write_text(f"machine wandb.example.org login user password {KEY}")
    monkeypatch.setenv("NETRC", str(home / "mine"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")


def from_settings(home, monkeypatch):
    (home / ".config/wandb/settings").write_text(f"[default]\napi_key = {KEY}\n")


def from_settings_of_the_folder(home, monkeypatch):
    Path("wandb").mkdir()
    Path("wandb/settings").write_text("[default]\nmode = disabled\n")


@pytest.mark.parametrize(
    "provide",
    [
        from_environment,
        from_netrc_as_wandb_writes_it,
        from_netrc_elsewhere,
        from_settings,
        from_settings_of_the_folder,
    ],
)
def test_stays_online_with_a_key(provide, home, monkeypatch, capsys):
    provide(home, monkeypatch)
    capsys.readouterr()
    stay_offline_without_key([logger()])
    assert os.environ["WANDB_MODE"] == ""
    assert not capsys.readouterr().out


@pytest.mark.parametrize("text", ["machine other.org login user password x", "machine", ""])
def test_a_netrc_without_the_key(text, home):
    (home / ".netrc").write_text(text)
    stay_offline_without_key([logger()])
    assert os.environ["WANDB_MODE"] == "offline"
