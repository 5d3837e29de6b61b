"""Switching callbacks off, in a configuration or on the command line."""

from pathlib import Path

import pytest
import yaml

from bertx.cli import main
from tests.runs import CSV_ONLY, FAST, arguments

RUN = Path("lightning_logs/version_0")
SWITCHES = ["faithfulness", "heatmaps", "attributions", "predictions", "checkpoint"]
SWITCHES += ["last_checkpoint", "report", "export"]


def files(run=RUN):
    return {path.name for path in run.rglob("*") if path.is_file()}


def test_a_run_without_any_of_them(model, data):
    """Nulls in a file, after an equals sign and on their own are the same."""
    Path("off.yaml").write_text("".join(f"{key}: null\n" for key in SWITCHES[:5]))
    command = ["fit", f"--model.name={model}", f"--data.path={data}", *FAST, *CSV_ONLY]
    main([*command, "--config=off.yaml", "--last_checkpoint=null", "--export", "null",
          "--report=null", "--trainer.max_steps=1"])  # fmt: skip
    assert files() == {"config.yaml", "hparams.yaml"}
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    assert {key: saved[key] for key in SWITCHES} == dict.fromkeys(SWITCHES)


def test_one_that_is_set_again_is_on(run, capsys):
    with pytest.raises(SystemExit):
        run("fit", "--export=null", "--heatmaps=null", "--export.folder=model", "--print_config")
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["heatmaps"] is None
    assert printed["export"]["folder"] == "model"


def test_checkpointing_is_switched_off_as_in_lightning(run):
    run("fit", "--trainer.enable_checkpointing=false", "--trainer.max_steps=1")
    assert "model.safetensors" in files(RUN / "hf")
    assert not (RUN / "checkpoints").exists()


def test_the_last_checkpoint_alone(run):
    run("fit", "--checkpoint=null", "--trainer.max_steps=1", "--export=null")
    assert files(RUN / "checkpoints") == {"last.ckpt"}
    run("validate", "--ckpt_path=last")


def test_only_null_switches_off(model, data, fails):
    args = arguments("fit", model, data, "--config={heatmaps: false}")
    assert "heatmaps: expected settings, or null to switch it off, but got False" in fails(args)
