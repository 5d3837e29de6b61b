import json
import subprocess
import sys
from pathlib import Path

import bertx.report

HEAVY = ("wandb", "tensorboard", "matplotlib", "jinja2", "lightning", "torch", "rich", "PIL")


def loaded_by(statement):
    loaded = f"[name for name in {HEAVY!r} if name in sys.modules]"
    code = f"import sys, json\n{statement}\nprint(json.dumps({loaded}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_package_loads_nothing_heavy():
    assert loaded_by("import bertx.report") == set()


def test_the_check_can_fail():
    assert loaded_by("import jinja2") == {"jinja2"}


def test_the_loggers_load_no_more_than_lightning_does():
    assert loaded_by("import bertx.report.loggers").isdisjoint({"wandb", "tensorboard"})


def test_nothing_of_bertx_is_needed_but_errors():
    for path in Path(bertx.report.__file__).parent.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip().startswith(("from bertx", "import bertx")):
                assert line.split()[1].startswith(("bertx.report", "bertx.errors")), path


def test_the_template_lies_beside_the_code():
    assert (Path(bertx.report.__file__).parent / "templates" / "page.html.jinja").is_file()
