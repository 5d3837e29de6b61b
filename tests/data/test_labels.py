"""Labels mean what people mean by them."""

import pytest

from bertx.data.labels import checked_labels, class_numbers, label_names, spelt_alike
from bertx.data.table import Table
from bertx.errors import InputError
from bertx.models.inputs import UNKNOWN


def table(values):
    return Table("train.tsv", {"label": values}, range(2, len(values) + 2))


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


NAMES = ["negative", "neutral", "positive"]


@pytest.mark.parametrize(
    "values, numbers",
    [
        (["0", "2", "1"], [0, 2, 1]),
        (["", " 1 ", None, float("nan"), "nan"], [UNKNOWN, 1, UNKNOWN, UNKNOWN, UNKNOWN]),
        (["1.0", "2", "0."], [1, 2, 0]),
        ([0.0, 2.0], [0, 2]),
        ([True, False, "TRUE", "false"], [1, 0, 1, 0]),
        (["positive", "negative"], [2, 0]),
        (["positive", "1"], [2, 1]),
    ],
)
def test_labels_become_numbers(values, numbers):
    assert class_numbers(table(values), "label", NAMES) == numbers


def test_names_that_are_integers_are_read_as_names():
    stars = ["1", "2", "3"]
    assert class_numbers(table([1, 3.0, "2.0", None]), "label", stars) == [0, 2, 1, UNKNOWN]
    refuses(lambda: class_numbers(table(["1", "0"]), "label", stars), "line 3", "unknown label")


@pytest.mark.parametrize(
    "bad, parts",
    [
        ("3", ["label 3", "outside the 3 classes 0..2", "'neutral'", "leave unknown labels empty"]),
        (-2, ["label -2", "outside"]),
        ("postive", ["unknown label 'postive'", "'negative', 'neutral', 'positive'"]),
        ("Positive", ["unknown label 'Positive'", "'positive' is spelt differently"]),
        (-1, ["label -1", "not one of the classes", "Leave unknown labels empty"]),
        (0.5, ["real number 0.5", "regression"]),
        ([0, 2], ["[0, 2]", "multi-label"]),
    ],
)
def test_bad_label_names_line_and_value(bad, parts):
    data = table(["0", "1", bad])
    refuses(lambda: class_numbers(data, "label", NAMES), "train.tsv, line 4", *parts)


@pytest.mark.parametrize(
    "values, names",
    [
        (["1", "0", "-1", "10", "2"], ["-1", "0", "1", "2", "10"]),
        ([2, 1, 2], ["1", "2"]),
        (["good", "bad", "good"], ["bad", "good"]),
        (["1.0", "2", "3.0"], ["1", "2", "3"]),
        ([2.0, 1.0, 1], ["1", "2"]),
        ([False, True], ["False", "True"]),
        (["FALSE", "TRUE"], ["FALSE", "TRUE"]),
        (["no", "", None, "yes"], ["no", "yes"]),
        (["business, other", "[sport]", "rock|pop"], ["[sport]", "business, other", "rock|pop"]),
    ],
)
def test_names_found_in_the_rows(values, names):
    data = table(values)
    assert label_names(data, "label") == names
    numbers = class_numbers(data, "label", names)
    assert [n == UNKNOWN for n in numbers] == [v in ("", None) for v in values]
    assert {*numbers} - {UNKNOWN} == {*range(len(names))}


def test_names_cannot_be_found():
    refuses(lambda: label_names(table([1, 1]), "label"), "two different labels", "'1'")
    refuses(lambda: label_names(table(["", None]), "label"), "found none")


def test_minus_one_is_a_class_of_its_own_or_unknown_where_that_is_declared():
    values = ["-1", 0, 1.0]
    assert class_numbers(table(values), "label", ["-1", "0", "1"], unknown=True) == [0, 1, 2]
    assert class_numbers(table(values), "label", ["a", "b"], unknown=True) == [UNKNOWN, 0, 1]


def test_true_and_false_are_one_and_zero_where_these_are_the_names():
    assert class_numbers(table([True, "FALSE"]), "label", ["0", "1"]) == [1, 0]


SEVERAL = [
    [0], [0, 2], [], {"joy": 1}, "[0, 2]", "[0]", "[1 0 0]", "['joy']", "[]", "(0, 1)", "0,2",
    "0;2", "0|2", "1 0 1", "1.0, 2.0",
]  # fmt: skip


@pytest.mark.parametrize("value", SEVERAL, ids=str)
def test_several_labels_of_a_text_are_no_class(value):
    named = lambda: label_names(table(["a", "b", value]), "label")  # noqa: E731
    refuses(named, "train.tsv, line 4", str(value), "multi-label", "`label_column`")


@pytest.mark.parametrize(
    "values, bad",
    [
        (["joy", "anger", "joy|anger"], "joy|anger"),
        (["joy, anger", "anger, fear", "fear, joy"], "joy, anger"),
    ],
)
def test_names_that_recur_together_are_several_labels(values, bad):
    refuses(lambda: label_names(table(values), "label"), repr(bad), "multi-label", "`labels`")
    assert class_numbers(table(values), "label", values) == [0, 1, 2]


@pytest.mark.parametrize("value", [0.73, "0.73", "-2.5", "1e-3", ".5"])
def test_real_numbers_are_no_class(value):
    named = lambda: label_names(table(["1", "2", value]), "label")  # noqa: E731
    refuses(named, "train.tsv, line 4", f"real number {value}", "regression", "`labels`")


def test_real_numbers_that_are_named_are_classes():
    assert class_numbers(table([1.5, "2.0", 3]), "label", ["1.5", "2", "3.0"]) == [0, 1, 2]


def test_a_label_for_nearly_every_text_is_none():
    refuses(lambda: label_names(table(list(range(60))), "label"), "60 rows have 60 different")
    assert len(label_names(table([*range(60)] * 3), "label")) == 60


def test_classes_that_look_like_one():
    names = ["positive", "Positive", "caf\u00e9", "cafe\u0301", "so  so", "so so", "bad", "1", "01"]
    assert spelt_alike(names) == [
        ["positive", "Positive"], ["caf\u00e9", "cafe\u0301"], ["so  so", "so so"], ["1", "01"],
    ]  # fmt: skip


@pytest.mark.parametrize("labels", [[False, True], ["a", None]])
def test_what_yaml_makes_of_words_is_to_be_quoted(labels):
    refuses(lambda: checked_labels(labels), repr(labels[-1] if None in labels else False),
            """`labels`='["no", "yes"]'""")  # fmt: skip


def test_numbers_are_names_and_equal_ones_are_not_two():
    assert checked_labels([1, 2]) == ["1", "2"]
    refuses(lambda: checked_labels(["1", "1.0"]), "different names")
