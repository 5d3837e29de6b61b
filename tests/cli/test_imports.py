"""What starting the command costs."""

import subprocess
import sys

import pytest

from bertx.cli import main

LATE = ("wandb", "datasets", "matplotlib", "pyarrow", "jinja2", "captum", "pandas", "sklearn")


def test_heavy_packages_come_when_they_are_used():
    """Beyond what Lightning, torchmetrics and jsonargparse themselves import."""
    script = (
        "import sys, lightning.pytorch, torchmetrics, jsonargparse; before = set(sys.modules)\n"
        "import bertx.cli\n"
        f"print([name for name in {LATE} if name in set(sys.modules) - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_shows_the_documented_settings(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--data.path", "--faithfulness.max_examples", "The pretrained model: a hub id"):
        assert words in shown
    assert "--model.labels" not in shown and "--data.tokenizer" not in shown
