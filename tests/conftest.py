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
