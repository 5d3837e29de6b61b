import pytest

from bertx.data.columns import (
    find_label_column,
    find_text_column,
    require_label_column,
    texts,
)
from bertx.data.labels import class_numbers, label_names
from bertx.data.table import Table
from bertx.errors import InputError
from bertx.inputs import UNKNOWN


def table(**columns):
    count = len(next(iter(columns.values())))
    return Table("train.tsv", columns, range(2, count + 2))


def refuses(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_columns_are_guessed():
    assert find_text_column(table(index=[0], sentence=["a"])) == "sentence"
    assert find_text_column(table(Text=["a"], label=[0])) == "Text"
    assert find_label_column(table(text=["a"], label_text=["good"])) is None
    assert find_label_column(table(text=["a"], label_text=["good"], label=[1])) == "label"


def test_named_column_is_strict_and_the_usual_one_is_not():
    data = table(text=["a"], review=["b"], label=[0], stars=[3])
    assert find_text_column(data, named="review") == "review"
    assert find_text_column(data, usual="sentence") == "text"
    assert find_text_column(data, usual="review") == "review"
    assert find_label_column(data, named="stars") == "stars"
    refuses(
        lambda: find_text_column(data, named="body"), "'body'", "'review'", "--data.text_column"
    )


def test_missing_columns_list_what_is_there():
    data = table(a=["x"], b=[0])
    refuses(lambda: find_text_column(data), "train.tsv", "'a', 'b'", "--data.text_column")
    refuses(lambda: require_label_column(data), "train.tsv", "'a', 'b'", "--data.label_column")


@pytest.mark.parametrize("bad", [None, 3, "half \ud83d"])
def test_what_is_no_text(bad):
    refuses(lambda: texts(table(text=["a", bad]), "text"), "train.tsv, line 3", repr(bad))


NAMES = ["negative", "neutral", "positive"]


@pytest.mark.parametrize(
    "values, numbers",
    [
        (["0", "2", "1"], [0, 2, 1]),
        ([0, 2, -1], [0, 2, UNKNOWN]),
        (["-1", " 1 "], [UNKNOWN, 1]),
        ([0.0, 2.0], [0, 2]),
        ([True, False], [1, 0]),
        (["positive", "negative"], [2, 0]),
        (["positive", "1"], [2, 1]),
    ],
)
def test_labels_become_numbers(values, numbers):
    assert class_numbers(table(label=values), "label", NAMES) == numbers


def test_names_that_are_integers_are_read_as_names():
    stars = ["1", "2", "3"]
    assert class_numbers(table(label=[1, 3, 2, -1]), "label", stars) == [0, 2, 1, UNKNOWN]
    refuses(
        lambda: class_numbers(table(label=["1", "0"]), "label", stars), "line 3", "unknown label"
    )


@pytest.mark.parametrize(
    "bad, parts",
    [
        ("3", ["label 3", "outside the 3 classes 0..2", "'neutral'", "-1 marks"]),
        (-2, ["label -2", "outside"]),
        ("postive", ["unknown label 'postive'", "'negative', 'neutral', 'positive'"]),
        (0.5, ["unknown label 0.5"]),
        ("", ["expected a label", "-1"]),
        (None, ["expected a label", "-1"]),
        (float("nan"), ["expected a label"]),
    ],
)
def test_bad_label_names_line_and_value(bad, parts):
    data = table(label=["0", "1", bad])
    refuses(lambda: class_numbers(data, "label", NAMES), "train.tsv, line 4", *parts)


@pytest.mark.parametrize(
    "values, names",
    [
        (["1", "0", "-1", "10", "2"], ["0", "1", "2", "10"]),
        ([2, 1, 2], ["1", "2"]),
        (["good", "bad", "good"], ["bad", "good"]),
        ([False, True], ["0", "1"]),
    ],
)
def test_names_found_in_the_rows(values, names):
    data = table(label=values)
    assert label_names(data, "label") == names
    numbers = class_numbers(data, "label", names)
    assert [names[n] for n in numbers if n >= 0] == [
        str(int(v)) if isinstance(v, bool) else str(v) for v in values if v != "-1"
    ]


def test_names_cannot_be_found():
    refuses(lambda: label_names(table(label=[1, 1]), "label"), "two different labels", "'1'")
    refuses(lambda: label_names(table(label=["-1"]), "label"), "found none")
    refuses(lambda: label_names(table(label=["a", "", "b"]), "label"), "line 3", "expected a label")
