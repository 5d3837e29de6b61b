"""``bertx study word-deletion`` and ``randomization`` through main."""

import json

import pytest
import yaml

from bertx.cli import main
from bertx.studies.store import read_table
from tests.cli.test_judge import save_named
from tests.tiny import tiny_model

FEW = (
    "--methods",
    "GradientXInput",
    "--max_examples",
    "9",
    "--resamples",
    "100",
    "--device",
    "cpu",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_named(tmp_path_factory.mktemp("named"))


@pytest.fixture
def study(model, data, tmp_path, capsys):
    """Run a study on a model folder, and return what it printed and its folder."""

    def call(name, *more, out="out"):
        folder = tmp_path / out
        options = ("--path", data, "--out", folder, *FEW, *more)
        main(["study", name, model, *map(str, options)])
        return capsys.readouterr(), folder

    return call


def test_word_deletion(study):
    shown, folder = study("word-deletion", "--words", "3", "--ceiling_texts", "4")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["study"] == "word-deletion"
    assert summary["runs"][0]["texts"] == 6  # three of nine are short
    assert summary["settings"]["words"] == 3 and summary["settings"]["operators"] == [
        "mask", "remove",
    ]  # fmt: skip
    assert all(finding["text"] in shown.out for finding in summary["findings"])
    for own in summary["figures"]:
        assert own["alt"] and (folder / "figures" / f"{own['name']}.svg").is_file()
    rows = read_table(folder / "values.parquet").to_pylist()
    assert {row["method"] for row in rows} == {"GradientXInput", "random", "ceiling"}
    assert {row["at"] for row in rows if row["by"] == "count"} == {0, 1, 2, 3}
    with pytest.raises(SystemExit):
        study("word-deletion", "--words", "4", "--ceiling_texts", "4")
    with pytest.raises(SystemExit):
        study("word-deletion", "--words", "0", out="other")


def test_the_authors_word_deletion(study):
    _, folder = study("word-deletion", "--preset", "authors", "--shortest", "3", "--words", "2")
    settings = json.loads((folder / "summary.json").read_text())["settings"]
    chosen = {name: settings[name] for name in ("unit", "target", "operators", "max_length")}
    assert chosen == {"unit": "token", "target": "last", "operators": ["pad"], "max_length": 128}
    rows = read_table(folder / "values.parquet").to_pylist()
    assert {row["target"] for row in rows} == {1}


def test_randomization_with_shuffled_labels(study, tmp_path, data, capsys):
    run = tmp_path / "run"
    save_named(run / "hf")
    other = tiny_model(labels=2, seed=7).float()
    other.config.id2label = {0: "negative", 1: "positive"}
    other.save_pretrained(run / "hf")
    config = {"data": {"path": str(data), "shuffle_labels": False}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit):
        study("randomization", "--draws", "2", "--shuffled", run)
    assert "data.shuffle_labels: true" in capsys.readouterr().err
    config["data"]["shuffle_labels"] = True
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    _, folder = study("randomization", "--draws", "2", "--shuffled", run)
    rows = read_table(folder / "values.parquet").to_pylist()
    assert {row["scheme"] for row in rows} == {"cascading", "independent", "shuffled labels"}
    assert {row["draw"] for row in rows} == {0, 1}
    made = json.loads((folder / "study.json").read_text())
    assert list(made["options"]["shuffled"]) == ["run"] and made["options"]["draws"] == 2
    assert list((folder / "figures").glob("cascade-*.png"))
