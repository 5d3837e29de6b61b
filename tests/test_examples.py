"""The examples run as they stand, on a tiny model."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_model, tiny_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
TEXTS = ["a very good film", "not really dull", "an awful plot , and bad acting"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model("bert", 2, torch.float32).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_train(model, example):
    shown = example("train.py", "--model", model, "--texts", "48")
    (run,) = Path("lightning_logs").iterdir()
    assert (run / "hf/config.json").is_file() and "attnlrp" in shown
    assert "a</" in (run / "bertx/val/heatmaps.html").read_text()


def test_explain(model, example):
    shown = example("explain.py", model, *TEXTS)
    assert shown.count("  acting\n") == 1
    assert "Occlusion" in shown and "deletion_auc" in shown


def test_a_method_of_your_own(model, example):
    shown = example("own_method.py", model, *TEXTS)
    assert shown.count("  dull\n") == 1 and "lengths" in shown


def test_a_metric_of_your_own(model, example):
    assert "flips" in example("own_metric.py", model, *TEXTS)


def test_a_foreign_module(model, example):
    assert "lat" in example("foreign_module.py", model)
    (run,) = Path("lightning_logs").iterdir()
    assert "[UNK]" in (run / "bertx/val/heatmaps.html").read_text()  # the rows' words are not its
