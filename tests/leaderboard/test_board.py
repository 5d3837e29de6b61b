"""Leaderboards of several runs must have the same examples."""

from dataclasses import replace

import pytest

from bertx.errors import InputError
from bertx.leaderboard.board import leaderboards
from bertx.leaderboard.example_values import ExampleValue


def rows(texts):
    """Two methods on examples 0, 1, ... with these checksums."""
    return [
        ExampleValue(n, 0, method, True, "method", "mask", "auc", False, n / 9, text=text)
        for n, text in enumerate(texts)
        for method in ("a", "b")
    ]


def test_examples_of_one_number_must_be_the_same_text():
    runs = {"first": rows([11, 12, 13]), "second": rows([11, 12]), "third": rows([11, 99, 13])}
    with pytest.raises(InputError) as error:
        leaderboards(runs)
    words = ["first and third: example 1", "same data", "max_examples", "tokenizer"]
    assert all(word in str(error.value) for word in words), error.value


def test_examples_that_not_all_runs_have_must_be_the_same_too():
    with pytest.raises(InputError, match="b and c: example 2"):
        leaderboards({"a": rows([11]), "b": rows([11, 12, 13]), "c": rows([11, 12, 14])})


def test_texts_that_are_not_known_are_no_contradiction():
    known, unknown = rows([11, 12, 13]), rows([0, 0, 0])
    [found] = leaderboards({"a": unknown, "b": known, "c": [replace(known[0], text=0), *known[1:]]})
    assert found.seeds == 3 and found.signed.standings[0].count == 3


@pytest.mark.parametrize(("operator", "expected"), [("mask", True), ("", False)])
def test_what_no_operator_made_is_judged_by_none(operator, expected):
    made = [replace(row, operator=operator, made_with=operator) for row in rows([11, 12, 13])]
    [found] = leaderboards({"a": made})
    assert {standing.same_operator for standing in found.signed.standings} == {expected}
