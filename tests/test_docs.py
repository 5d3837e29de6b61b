"""What the documentation says of methods is what they do."""

from pathlib import Path

import pytest

import bertx.attribution
from bertx.anatomy import UnsupportedArchitecture
from bertx.attribution import Attribution, ModifiedGradient
from bertx.rules import Rules
from tests.tiny import ARCHITECTURES, tiny_model

DOCS = Path(__file__).parents[1] / "docs"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (DOCS / "methods.md").read_text().split("\n\n")[2].splitlines()
]
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
