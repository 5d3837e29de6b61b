"""How runs on the command line are found and named."""

from pathlib import Path

import pytest
import yaml

from bertx.cli.runs import find_runs
from bertx.errors import InputError


def save(folder, checkpoints=(), data=None):
    """A run's folder without anything that would have to be loaded."""
    (Path(folder) / "checkpoints").mkdir(parents=True)
    config = {"data": {"dataset": "sst5", "max_length": 64} if data is None else data}
    Path(folder, "config.yaml").write_text(yaml.safe_dump(config))
    for name in checkpoints:
        Path(folder, "checkpoints", name).touch()
    return folder


def test_a_run_has_its_only_checkpoint_and_its_data(workplace):
    save("logs/version_3", ["epoch=0-step=5.ckpt"])
    (run,) = find_runs(["logs/version_3"])
    assert (run.name, run.data["dataset"], run.data["max_length"]) == ("version_3", "sst5", 64)
    assert run.model == "logs/version_3/checkpoints/epoch=0-step=5.ckpt"


def test_a_checkpoint_and_an_export_have_the_data_of_their_run(workplace):
    save("run", ["epoch=0-step=5.ckpt", "epoch=1-step=9.ckpt"])
    Path("run/hf").mkdir()
    Path("run/hf/config.json").touch()
    for given in ("run/checkpoints/epoch=1-step=9.ckpt", "run/hf"):
        (run,) = find_runs([given])
        assert (run.name, run.model, run.data["dataset"]) == ("run", given, "sst5")


def test_names_may_be_given_and_are_told_apart(workplace):
    for place in ("one", "other"):
        save(f"{place}/version_0", ["a=1.ckpt"])
    both = ["one/version_0", "other/version_0"]
    assert [run.name for run in find_runs(both)] == ["one-version_0-1", "other-version_0-2"]
    named = [f"sst5={both[0]}", f"imdb={both[1]}"]
    assert [run.name for run in find_runs(named)] == ["sst5", "imdb"]
    with pytest.raises(InputError, match="expected different names"):
        find_runs([f"x={both[0]}", f"x={both[1]}"])


def test_a_hub_id_is_what_it_is():
    (run,) = find_runs(["textattack/bert-base-uncased-SST-2"])
    assert run.model == "textattack/bert-base-uncased-SST-2" and not run.data


def test_what_is_no_run_is_refused(workplace):
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"run empty: expected the folder of a run of bertx fit"):
        find_runs(["empty"])
    save("two", ["a.ckpt", "b.ckpt"])
    with pytest.raises(InputError, match="but there are 2"):
        find_runs(["two"])
    save("none")
    with pytest.raises(InputError, match="there is none"):
        find_runs(["none"])
    Path(save("broken", ["a.ckpt"]), "config.yaml").write_text("data: [")
    with pytest.raises(InputError, match=r"broken/config\.yaml: .* cannot be read"):
        find_runs(["broken"])
