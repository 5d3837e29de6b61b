"""The Python of the README and of the pages behind it runs, and what they name exists."""

import re
from pathlib import Path
from pkgutil import resolve_name

import lightning
import torch

import bertx.attribution
from bertx.attribution import GradientXInput
from bertx.callbacks import FaithfulnessMonitor
from bertx.models.inputs import Inputs
from bertx.trace import Trace
from tests.callbacks.test_heads import Headed
from tests.callbacks.toy import ForeignModule, loader
from tests.tiny import tiny_batch, tiny_model

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted((README.parent / "docs").glob("*.md"))]
LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"""(?:\]\(|src=")(?!http|#)([^")#]+)""", page.read_text())
]
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


def test_the_foreign_project_runs_and_is_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(block for block in BLOCKS if "my_module" in block)
    assert len(code.splitlines()) <= 12
    names = {
        "my_module": ForeignModule(),
        "my_train_loader": loader(),
        "my_validation_loader": loader(),
    }
    exec(code, names)
    assert [result.method for result in names["monitor"].results] == ["gs", "lat", "random"]
    assert names["heatmaps"].page.is_file()


def test_a_batch_is_explained_without_lightning(tokenizer):
    code = next(block for block in BLOCKS if "Inputs.from_batch" in block)
    names = {"model": tiny_model(), "tokenizer": tokenizer, "texts": ["the film was dull", "dull"]}
    exec(code, names)
    assert names["scores"].shape == (2, 6)


def test_methods_share_a_trace(tokenizer):
    code = next(block for block in BLOCKS if "every_class" in block)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the film was dull"]))
    names = {"model": tiny_model(), "inputs": inputs}
    exec(code, names)
    assert names["every"].shape == (1, 3, 6)
    assert {scores.shape for scores in names["scores"].values()} == {(1, 6)}


def test_texts_are_explained_in_one_call(tokenizer, capsys):
    code = next(block for block in BLOCKS if "bertx.explain(" in block)
    exec(code, {"model": tiny_model(), "tokenizer": tokenizer})
    assert "'superb': " in capsys.readouterr().out


def test_methods_are_judged_in_one_call(tokenizer, capsys):
    code = next(block for block in BLOCKS if "bertx.judge(" in block)
    exec(code, {"model": tiny_model(), "tokenizer": tokenizer, "texts": ["a superb film", "dull"]})
    assert "attnlrp" in capsys.readouterr().out


def test_the_method_of_your_own_is_one(tokenizer):
    names = {}
    exec(next(block for block in BLOCKS if "class InputNorm" in block), names)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["the film was dull"]))
    scores = names["InputNorm"]()(Trace(tiny_model(), inputs))
    assert scores.shape == (1, 6) and (scores > 0).all() and scores.dtype == torch.float64


def test_a_head_of_ones_own_is_told(tokenizer):
    code = next(block for block in BLOCKS if "logits_of" in block)
    names = {
        **{"bertx": bertx, "L": lightning, "FaithfulnessMonitor": FaithfulnessMonitor},
        **{"methods": {"gi": GradientXInput()}, "headed": Headed()},
        **{"tokenizer": tokenizer, "texts": ["a superb film", "dull"]},
    }
    exec(code, names)
    assert names["monitor"].logits == "logits_of"
    assert [len(found.words) for found in names["explanations"]] == [3, 1]


def test_every_method_is_in_the_table():
    table = (README.parent / "docs" / "methods.md").read_text()
    for name in set(bertx.attribution.__all__) - {"Attribution"}:
        assert f"| `{name}` |" in table


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 120


def test_pictures_and_links_exist():
    assert not [
        f"{page.name}: {link}" for page, link in LINKS if not (page.parent / link).is_file()
    ]


def test_names_and_files_in_the_pages_exist():
    root = README.parent
    text = "\n".join(page.read_text() for page in [*PAGES, root / "CONTRIBUTING.md"])
    names = set(re.findall(r"`(bertx(?:\.\w+)+)", text))
    files = set(re.findall(r"`((?:bertx|benchmarks|configs|docs|tests)/[\w/.-]*)`", text))
    placed = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    assert len(names) > 5 and len(files) > 10 and len(placed) > 4
    assert [name for name in sorted(names) if not importable(name)] == []
    assert [file for file in sorted(files) if not (root / file).exists()] == []
    assert [pair for pair in placed if pair[0] not in (root / pair[1]).read_text()] == []


def importable(name):
    try:
        resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True
