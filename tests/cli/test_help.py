"""Help lists all settings."""

import os
import re
import subprocess
import sys
from inspect import getdoc, signature
from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI

from bertx import callbacks
from bertx.callbacks import FaithfulnessMonitor, HeatmapLogger
from bertx.callbacks.explaining import ExplainingCallback
from bertx.cli import COMMANDS, TRAINING, main
from bertx.cli.subcommand import ended_with_reader

ROOT = Path(__file__).parents[2]
EXPLAINING = [
    cls
    for cls in vars(callbacks).values()
    if isinstance(cls, type) and issubclass(cls, ExplainingCallback)
]


def test_help_shows_the_documented_settings(capsys):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--data.path", "--faithfulness.max_examples", "The pretrained model: a hub id"):
        assert words in shown
    assert "--model.labels" not in shown and "--data.tokenizer" not in shown
    for key, callback in (("faithfulness", FaithfulnessMonitor), ("heatmaps", HeatmapLogger)):
        for name in signature(callback).parameters:
            assert re.search(rf"--{key}\.{name} [^\s\]]+ [A-Z]\w* ", shown), name


@pytest.mark.parametrize("callback", EXPLAINING)
def test_docstrings_describe_every_setting_in_its_place(callback):
    _, arguments = getdoc(callback).split("\nArgs:\n")
    described = re.findall(r"^ {4}(\w+): \w", arguments.split("\n\n")[0], re.MULTILINE)
    assert described == [*signature(callback).parameters]


def test_a_description_of_its_own_comes_first_and_none_needs_no_arguments():
    class Described(FaithfulnessMonitor):
        """One.

        Args:
            unit: What it is.
        """

    class Undescribed(FaithfulnessMonitor):
        """Two."""

    assert "    unit: What it is.\n    operator: How" in Described.__doc__
    assert "null for the precision of the run.\n    tokenizer: A tokenizer or" in Described.__doc__
    assert Undescribed.__doc__ == "Two."


def test_every_subcommand_is_listed_and_an_unknown_one_is_refused_with_the_list(capsys):
    assert set(TRAINING) == set(LightningCLI.subcommands())
    for args, code in (([], 0), (["--help"], 0), (["fitt"], 2)):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == code
        told = "".join(capsys.readouterr())
        assert all(name in told for name in [*TRAINING, *COMMANDS])
    assert "'fitt'" in told


@pytest.mark.parametrize(
    "command", ["explain", "judge", "leaderboard", "report", "study seeds", "study reproduce"]
)
def test_help_shows_a_default_once_and_neither_types_nor_null(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "type:" not in shown and "null" not in shown and "False" not in shown
    for described in re.split(r" --(?=\w+ )", shown.partition("options:")[2]):
        assert described.count("Default:") <= 1, described
    if command in ("explain", "judge"):
        assert "package:MODULE/FOLDER. Required." in shown and "mps. Default: auto." in shown


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["study", "--help"], ["--help"]])
def test_a_reader_that_stops_early_meets_no_traceback(arguments, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-m", "bertx.cli", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) in (0, 1)


def test_a_broken_pipe_of_another_program_is_an_error():
    with pytest.raises(BrokenPipeError, match="of a worker"), ended_with_reader():
        raise BrokenPipeError("of a worker")


def test_a_process_without_output_ends_without_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as for ``bertx ... >&-``, or a service
    with ended_with_reader():
        print("nobody reads this")
