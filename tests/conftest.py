"""What all tests share: tiny random models, a tiny tokenizer, and the folder of real data."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def bert():
    """A BERT of 3 layers and 2 heads with random weights, float64, evaluation mode."""
    return tiny_model("bert")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data: skipped where BERTX_TEST_DATA is unset, failing where it names nothing."""
    folder = os.environ.get("BERTX_TEST_DATA")
    if not folder:
        pytest.skip("BERTX_TEST_DATA is not set")
    assert Path(folder, "sst2", "train.tsv").is_file(), f"BERTX_TEST_DATA={folder} has no sst2"
    return Path(folder)


@pytest.fixture
def wandb_home(tmp_path, monkeypatch):
    """A home without a key, from which wandb sends runs; before and after it no session is open."""
    import wandb

    (tmp_path / "home").mkdir()
    names = ("API_KEY", "BASE_URL", "CONFIG_DIR", "DATA_DIR", "DIR", "IDENTITY_TOKEN_FILE", "MODE")
    for name in names:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wandb.teardown()
    yield tmp_path / "home"
    wandb.finish()
    wandb.teardown()
