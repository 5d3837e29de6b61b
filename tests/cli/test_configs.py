"""Configurations are found by name, and all shipped ones are valid and run."""

import re
from pathlib import Path
from textwrap import indent

import pytest
import yaml

from bertx.cli import main
from bertx.cli.configs import find_config, shipped_configs, shipped_folder
from bertx.data import DATASETS
from tests.runs import CSV_ONLY, FAST, last_value, logged, save_data, save_model

NAMES = shipped_configs()
ROOT = Path(__file__).parents[2]
PAGES = [path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]]
BLOCKS = [b for page in PAGES for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
CODE = [c for page in PAGES for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]


def printed(capsys, *args):
    with pytest.raises(SystemExit) as left:
        main([*args])
    assert left.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_the_shipped_ones():
    assert NAMES == ["demo", "imdb", "semeval", "sst2", "sst5", "yelp5"]
    assert (shipped_folder() / "_base.yaml").is_file()


def test_lookup(workplace):
    shipped = str(shipped_folder() / "sst2.yaml")
    assert find_config("sst2") == find_config("sst2.yaml") == shipped
    Path("configs").mkdir()
    Path("configs/sst2.yaml").write_text("seed_everything: 1")
    assert find_config("sst2") == find_config("sst2.yaml") == "configs/sst2.yaml"
    Path("sst2.yaml").write_text("seed_everything: 2")
    assert find_config("sst2.yaml") == "sst2.yaml"
    assert find_config(shipped) == shipped
    assert find_config("{seed_everything: 3}") == "{seed_everything: 3}"


def test_own_configs_come_before_shipped_ones(capsys):
    Path("configs").mkdir()
    Path("configs/sst2.yaml").write_text("{seed_everything: 7, data: {dataset: sst2}}")
    config = printed(capsys, "fit", "-c", "sst2", "--print_config")
    assert config["seed_everything"] == 7 and config["trainer"]["gradient_clip_val"] == 1.0


def test_later_configs_and_flags_win(capsys):
    Path("mine.yaml").write_text("{trainer: {max_epochs: 9}, model: {learning_rate: 1.0e-3}}")
    flags = ["--model.learning_rate=0.5", "--print_config"]
    config = printed(capsys, "fit", "-c", "imdb", "-c", "mine.yaml", *flags)
    assert config["trainer"]["max_epochs"] == 9
    assert config["model"]["learning_rate"] == 0.5
    assert config["data"]["max_length"] == 512


def test_unknown_names_list_the_shipped_ones(fails):
    assert ", ".join(NAMES) in fails(["fit", "--config", "sst3"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-c", "broken.yaml"], 'in "broken.yaml", line 2, column 1'),
        (["-c", "{a: ["], 'in "<unicode string>", line 2'),
        (["-c", "demo", "-c", "odd.yaml"], "option 'model.lr', which is in odd.yaml\n"),
        (["--trainer.max_epo", "7"], "unrecognized arguments: --trainer.max_epo 7"),
    ],
)
def test_errors_name_the_file_and_the_command(more, message, fails):
    """An abbreviated option is an error too, as it is in YAML and for other commands."""
    Path("broken.yaml").write_text("a: [1\n")
    Path("odd.yaml").write_text("model: {lr: 1}")
    error = fails(["fit", *more])
    assert message in error and error.endswith("For all settings: bertx fit --help\n")


@pytest.mark.parametrize("name", NAMES)
def test_begins_with_its_command(name):
    lines = (shipped_folder() / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# bertx fit --config {name}.yaml"
    assert len(lines) <= 30


@pytest.mark.parametrize("name", NAMES)
def test_parses(name, capsys):
    config = printed(capsys, "fit", "--config", name, "--print_config")
    assert config["seed_everything"] == 42
    assert config["data"]["dataset"] == name
    assert config["faithfulness"]["methods"] is config["heatmaps"]["methods"] is None
    assert config["checkpoint"]["monitor"] == "val/accuracy"


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_local_files(name, tmp_path):
    labels = list(DATASETS[name].labels)
    model = save_model(tmp_path / "model", len(labels))
    data = save_data(tmp_path / "data", labels)
    main(
        [
            "fit", "-c", name, f"--model.name={model}", f"--data.path={data}", *FAST, *CSV_ONLY,
            "--data.max_length=32", "--trainer.max_epochs=1", "--trainer.val_check_interval=1.0",
            "--faithfulness.max_examples=4", "--heatmaps.max_examples=2",
        ]
    )  # fmt: skip
    run = Path("lightning_logs/version_0")
    assert 0 <= last_value(run, "val/macro_f1") <= 1
    assert 0 <= last_value(run, "val/deletion_auc/lrp") <= 1
    assert (run / "hf/config.json").is_file() and (run / "bertx/val/heatmaps.html").is_file()


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_documentation_shows_parses(block, capsys, tmp_path):
    """The module of one's own is found in the current folder."""
    method = next(code for code in CODE if "class InputNorm" in code)
    (tmp_path / "my_module.py").write_text(method)
    if block.startswith("methods:"):
        block = "faithfulness:\n" + indent(block, "  ")
    (tmp_path / "shown.yaml").write_text(block)
    config = printed(capsys, "fit", "-c", "demo", "-c", "shown.yaml", "--print_config")
    for section, settings in yaml.safe_load(block).items():
        assert config[section].keys() >= {key.rstrip("+") for key in settings}
    monitor = config["checkpoint"]["monitor"]
    known = yaml.safe_load(block).get("faithfulness", {}).get("metrics")
    assert monitor == "val/accuracy" or monitor.split("/")[1] in known


@pytest.mark.parametrize("kind", ["distilbert", "modernbert"])
def test_any_architecture_runs_with_the_shipped_settings(kind, tmp_path):
    """LRP, one of the default methods, is not defined for these."""
    model, data = save_model(tmp_path / "model", kind=kind), save_data(tmp_path / "data")
    main(
        [
            "fit", "-c", "sst2", f"--model.name={model}", f"--data.path={data}", *FAST, *CSV_ONLY,
            "--data.max_length=32", "--trainer.max_epochs=1",
            "--faithfulness.max_examples=4", "--heatmaps.max_examples=2",
        ]
    )  # fmt: skip
    keys = set().union(*logged("lightning_logs/version_0"))
    assert {"val/deletion_auc/attnlrp", "val/deletion_auc/gs"} <= keys
    assert "val/deletion_auc/lrp" not in keys


def test_version_and_completion(capsys):
    from bertx import __version__

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"bertx {__version__}"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--print_completion" in capsys.readouterr().out
