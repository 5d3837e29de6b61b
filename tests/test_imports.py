"""What is loaded when: one fresh interpreter goes from light to heavy, as users do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bertx
from tests.cli.test_leaderboard import save, values

WATCHED = (
    "torch lightning transformers wandb tensorboard matplotlib jinja2 rich PIL datasets pyarrow "
    "captum pandas sklearn"
).split()
STEPS = {
    "bertx": "import bertx; assert 'explain' in dir(bertx)",
    "report": "import bertx.rendering",
    "usage": """from bertx.cli import main
for args in ([], ["--help"], ["--version"], ["fitt"]):
    try: main(args)
    except SystemExit: pass""",
    "leaderboard": "from bertx.cli import main; main(['leaderboard', 'run'])",
    "page": "main(['report', 'run'])",
    "explain": "assert bertx.explain.__name__ == 'explain'",
    "lightning": "import lightning.pytorch, torchmetrics, jsonargparse; before = set(sys.modules)",
    "training": "import bertx.cli.training",
    "loggers": "import bertx.report.loggers",
}
RECORDER = """
import json, sys
out, sys.stdout, before = sys.stdout, sys.stderr, set()
def loaded(step):
    names = set(sys.modules) - before
    print(json.dumps([step, [name for name in %r if name in names]]), file=out)
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The watched packages loaded after each step; from the seventh on, beside Lightning's own."""
    folder = tmp_path_factory.mktemp("imports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save("run", values(0, range(25)))
        steps = (f"{step}\nloaded({name!r})" for name, step in STEPS.items())
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([RECORDER % (WATCHED,), *steps])],
            env={**os.environ, "PYTHONPATH": str(Path(bertx.__file__).parents[1])},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: set(found) for name, found in map(json.loads, done.stdout.splitlines())}


def test_bertx_its_usage_and_what_it_reports_load_nothing_heavy(loaded):
    assert loaded["bertx"] == loaded["report"] == loaded["usage"] == set()


@pytest.mark.parametrize("step", ["leaderboard", "page"])
def test_leaderboards_and_reports_need_no_model(step, loaded):
    assert loaded[step].isdisjoint({"torch", "lightning", "transformers", "matplotlib"})
    assert "pyarrow" in loaded["leaderboard"]  # the recorder sees what is loaded


def test_explaining_needs_no_lightning(loaded):
    assert "torch" in loaded["explain"] and "lightning" not in loaded["explain"]


def test_heavy_packages_come_when_they_are_used(loaded):
    """Beyond what Lightning, torchmetrics and jsonargparse themselves import."""
    assert loaded["training"] == loaded["loggers"] == set()
