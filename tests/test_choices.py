"""Methods and texts that a user gives in a form that is none."""

from types import SimpleNamespace

import pytest

from bertx.attribution import AttnLRP, GradientXInput, Random
from bertx.choices import named, several
from bertx.errors import InputError
from tests.tiny import tiny_model


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (AttnLRP, r"AttnLRP'>\. Did you mean AttnLRP\(\)\?"),
        ([GradientXInput(), AttnLRP], r"Did you mean AttnLRP\(\)\?"),
        ([AttnLRP, Random], r"Did you mean AttnLRP\(\)\?"),
        ({"mine": AttnLRP}, r"Did you mean AttnLRP\(\)\?"),
        ("AttnLRP", r"'AttnLRP'\. Did you mean AttnLRP\(\)\?"),
        ("anything", r"'anything'\.$"),
        (3, r"3\.$"),
    ],
)
def test_what_is_no_method_is_refused_with_a_hint(methods, words):
    with pytest.raises(InputError, match=f"expected an instance of .*got .*{words}"):
        named(methods, tiny_model())


def test_methods_may_come_one_by_one():
    found = named((method() for method in (Random, GradientXInput)), tiny_model())
    assert list(found) == ["Random", "GradientXInput"]


@pytest.mark.parametrize("kind", ["columns", "column_names"])
def test_a_table_is_no_list_of_texts(kind):
    class DataFrame(SimpleNamespace):
        def __iter__(self):
            return iter(["text", "label"])

    with pytest.raises(InputError, match=r'a DataFrame, a table.*df\["text"\]'):
        several(DataFrame(**{kind: ["text", "label"]}))


def test_a_column_of_a_real_table_is_a_list_of_texts():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["good", "dull"]})
    assert several(frame["text"]) == ["good", "dull"]
    with pytest.raises(InputError, match="table"):
        several(frame)
