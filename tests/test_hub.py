"""The command line against a hub: the shipped configurations, and repositories that misbehave.

All runs are made once, in a process of their own, as the address of the hub is read on import.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest
import torch

from bertx.models.pretrained import load_with_missing
from tests.hub import MARKER, pretraining, repositories, serving
from tests.runs import CSV_ONLY, FAST, UNEXPLAINED, logged

CONFIGS = {"sst2": 2, "sst5": 5, "semeval": 3, "imdb": 2, "yelp5": 5}
QUICK = [*FAST, *CSV_ONLY, *UNEXPLAINED, "--data.batch_size=4", "--trainer.log_every_n_steps=1"]
LAST = "lightning_logs/version_0/checkpoints/last.ckpt"
PIPED = "y\nThe first text.\n"


def cases():
    """Arguments of the command line by the name of the case, in the order in which they are run."""
    for name in CONFIGS:
        yield name, ["fit", f"--config={name}.yaml", *QUICK, "--trainer.max_steps=2"]
    for name in ("validate", "test", "predict"):
        data = [] if name == "validate" else ["--data.dataset=imdb"]
        yield name, [name, "--config=sst2.yaml", *QUICK, *data, f"--ckpt_path={LAST}"]
    yield "explain", ["explain", f"--model={LAST}", "--text=a great film", "--json"]
    judged = [
        "--dataset=sst2",
        "--max_examples=2",
        "--methods=GradientXInput",
        "--ceiling_examples=0",
    ]
    yield "judge", ["judge", f"--model={LAST}", *judged, "--device=cpu"]
    for name in ("remote-code", "evil", "gated", "damaged", "nowhere"):
        yield name, ["explain", f"--model=tests/{name}"]
    fit = ["fit", *QUICK, "--trainer.max_steps=1"]
    yield "pickled", [*fit, "--model.name=tests/pickled", "--data.dataset=sst2"]
    yield "no-config", [*fit, "--data.dataset=cardiffnlp/tweet_eval"]
    for name in ("gated-data", "script", "no-data", "damaged-data"):
        yield name, [*fit, f"--data.dataset=tests/{name}"]


def main(folder):
    """Run all cases in a folder; what each printed and how it ended is printed as JSON."""
    os.chdir(folder)
    found = {name: printed(args, name) for name, args in cases()}
    print(json.dumps({"stdin": sys.stdin.read(), **found}))


def printed(args, name):
    from bertx.cli import main

    if name == "validate":  # from here on there is no pretrained model
        shutil.rmtree(Path(os.environ["HF_HOME"], "hub/models--google-bert--bert-base-uncased"))
    urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/api/models/tests/pickled/revision/{name}")
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile("w+") as said:
        sys.stdout.flush()
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            code = main(args)
        except SystemExit as left:
            code = left.code
        finally:
            sys.stdout.flush()
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
        said.seek(0)
        return code, said.read()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What came of all cases, where they ran, and what each asked the hub for."""
    folder = tmp_path_factory.mktemp("hub")
    work = folder / "work"
    work.mkdir()
    with serving(repositories(tmp_path_factory.mktemp("files"))) as (address, asked):
        known = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
        settings = {
            "HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(Path(__file__).parents[1]),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "tests.test_hub", str(work)],
            input=PIPED, env=known | settings, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), work, list(asked)


@pytest.mark.parametrize("number, name", [*enumerate(CONFIGS)])
def test_every_shipped_configuration_trains(number, name, hub):
    found, work, _ = hub
    code, said = found[name]
    assert code is None, said
    run = work / f"lightning_logs/version_{number}"
    assert max(row["step"] for row in logged(run) if "train/loss" in row) == 1
    exported = json.loads((run / "hf/config.json").read_text())
    assert len(exported["id2label"]) == CONFIGS[name]


def test_the_encoder_of_a_pretraining_checkpoint_is_taken(hub):
    """Its norms have the names of 2018; two steps of fine-tuning change little."""
    exported = load_with_missing(str(hub[1] / "lightning_logs/version_0/hf"), None, None)[0]
    trained = exported.state_dict()
    encoder = {name: weight for name, weight in pretraining().items() if name.startswith("bert.")}
    assert "bert.embeddings.LayerNorm.gamma" in encoder
    for name, weight in encoder.items():
        today = name.replace("gamma", "weight").replace("beta", "bias")
        assert torch.allclose(trained[today], weight, rtol=0, atol=1e-3), name


@pytest.mark.parametrize("name", ["validate", "test", "predict", "explain", "judge"])
def test_a_checkpoint_is_whole_without_its_pretrained_model(name, hub):
    found, work, asked = hub
    code, said = found[name]
    assert code is None, said
    assert "initialized" not in said and "MISSING" not in said
    assert not [path for path in since(asked, "validate") if "google-bert" in path]
    saved = (work / "lightning_logs/version_5/config.yaml").read_text()  # that of validate
    assert "name: google-bert/bert-base-uncased" in saved


def since(asked, name):
    marks = [i for i, path in enumerate(asked) if path.endswith(f"revision/{name}")]
    return asked[marks[0] :]


@pytest.mark.parametrize(
    "name, parts",
    [
        ("remote-code", ["tests/remote-code", "custom Python code, which is never run"]),
        ("script", ["tests/script", "custom Python code, which is never run"]),
        ("evil", ["tests/evil", "more than weights (io.open)", "safetensors"]),
        ("gated", ["it is gated", "/tests/gated,", "hf auth login"]),
        ("gated-data", ["it is gated", "/datasets/tests/gated-data,", "hf auth login"]),
        ("nowhere", ["no such model", "http://127.0.0.1", "Check the name"]),
        ("no-data", ["no such data set", "http://127.0.0.1", "Check the name"]),
        ("no-config", ["(emotion, sentiment)", "cardiffnlp/tweet_eval:emotion"]),
        ("damaged", ["header", "rm -r ", "home/hub/models--tests--damaged"]),
        ("damaged-data", ["Parquet", "rm -r ", "home/hub/datasets--tests--damaged-data"]),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_way_out(name, parts, hub):
    code, said = hub[0][name]
    [line] = [line for line in said.splitlines() if line.startswith("bertx: error:")]
    assert code == 2 and "Traceback" not in said
    for part in parts:
        assert part in line


def test_nothing_of_a_repository_runs_or_reads_what_is_piped(hub):
    found, work, _ = hub
    assert found["stdin"] == PIPED
    assert not list(work.rglob(MARKER))


def test_a_pickle_of_weights_alone_is_taken(hub):
    code, said = hub[0]["pickled"]
    assert code is None, said


if __name__ == "__main__":
    main(sys.argv[1])
