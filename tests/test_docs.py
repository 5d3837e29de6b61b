"""What the documentation says of methods is what they do."""

import re
from inspect import isabstract
from pathlib import Path

import pytest

import bertx.attribution
import bertx.metrics
from bertx.attribution import Attribution, ModifiedGradient
from bertx.metrics import FaithfulnessMetric, FullyPerturbed, measure_all
from bertx.models.anatomy import ENCODERS, UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace.rules import Rules
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model, tiny_tokenizer

DOCS = Path(__file__).parents[1] / "docs"


def rows(file, heading):
    """The cells of the first table of a section, without its header."""
    section = (DOCS / file).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


METHODS = [row[0].strip("`") for row in rows("methods.md", "What each method computes")]
METRICS = {row[0].strip("`"): row[1:] for row in rows("metrics.md", "All metrics")}
MOST, LRP = (
    [kind.strip("`") for kind in row[1].split(", ")]
    for row in rows("methods.md", "Supported models")
)


def test_the_table_has_every_method():
    names = {n for n in bertx.attribution.__all__ if n != Attribution.__name__}
    assert len(METHODS) == len(names) and set(METHODS) == names


def test_the_listed_models_are_those_that_bertx_knows():
    """The kin that are not among the tiny models are in tests/attribution/test_kin.py."""
    assert sorted(ENCODERS) == MOST


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_method_supports_the_listed_models_and_refuses_others(kind):
    model = tiny_model(kind)
    for name in METHODS:
        cls = getattr(bertx.attribution, name)
        method = cls(Rules()) if cls is ModifiedGradient else cls()
        if kind in (LRP if name == "LRP" else MOST):
            method.check(model)
        else:
            with pytest.raises(
                UnsupportedArchitecture, match=f"{name} does not support .*{kind!r}"
            ):
                method.check(model)


def test_the_table_has_every_metric_and_which_way_is_better():
    made = {
        name: FullyPerturbed(["a"]) if name == "FullyPerturbed" else cls()
        for name, cls in vars(bertx.metrics).items()
        if isinstance(cls, type) and issubclass(cls, FaithfulnessMetric) and not isabstract(cls)
    }
    assert METRICS.keys() == made.keys()
    words = {True: "higher", False: "lower", None: ""}
    for name, metric in made.items():
        assert METRICS[name][1] == words[metric.higher_is_better], name


def test_the_code_of_the_metrics_page_runs(capsys):
    """The blocks one after another, in one namespace."""
    tokenizer, model = tiny_tokenizer(), tiny_model()
    inputs = Inputs.from_batch(tiny_batch(tokenizer, ["a great film", "dull"]), "word", tokenizer)
    known = {"model": model, "tokenizer": tokenizer, "inputs": inputs}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "metrics.md").read_text(), re.DOTALL):
        exec(block, known)
    assert capsys.readouterr().out.startswith("deletion_auc tensor(")
    fall = measure_all(known["engine"], known["trace"], known["scores"], {"": known["TopUnit"]()})
    assert fall[""].shape == (2, 2, 1)
