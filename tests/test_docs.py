"""What the documentation says of methods is what they do."""

import re
from inspect import isabstract
from pathlib import Path

import pytest

import bertx.attribution
import bertx.metrics
from bertx.attribution import Attribution, ModifiedGradient
from bertx.metrics import FaithfulnessMetric, FullyPerturbed, measure_all
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace.rules import Rules
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model, tiny_tokenizer

DOCS = Path(__file__).parents[1] / "docs"


def rows(file):
    """The cells of the table that is the third paragraph of a page."""
    lines = (DOCS / file).read_text().split("\n\n")[2].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS = rows("methods.md")
METRICS = {row[0].strip("`"): row[1:] for row in rows("metrics.md")[2:]}
KINDS, TABLE = ROWS[0][1:], {row[0].strip("`"): row[1:] for row in ROWS[2:]}


def test_the_table_has_every_method_and_architecture():
    names = {n for n in bertx.attribution.__all__ if n != Attribution.__name__}
    assert set(TABLE) == names and set(KINDS) == set(ARCHITECTURES)


@pytest.mark.parametrize("kind", KINDS)
def test_yes_is_supported_and_no_is_an_error(kind):
    model = tiny_model(kind)
    for name, cells in TABLE.items():
        cls = getattr(bertx.attribution, name)
        method = cls(Rules()) if cls is ModifiedGradient else cls()
        if cells[KINDS.index(kind)] == "yes":
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
