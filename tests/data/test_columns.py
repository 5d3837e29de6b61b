import pytest

from bertx.data.columns import (
    find_label_column,
    find_text_column,
    require_label_column,
    text_values,
)
from bertx.data.table import Table
from bertx.errors import InputError


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
    refuses(lambda: find_text_column(data, named="body"), "'body'", "'review'", "`text_column`")
    near = "Did you mean 'review'? Set it with `text_column`."
    refuses(lambda: find_text_column(data, named="reveiw"), near)
    refuses(lambda: find_text_column(data, named="body"), "Choose one of them.")
    refuses(lambda: require_label_column(data, named="star"), "Did you mean 'stars'?")


def test_missing_columns_list_what_is_there():
    data = table(a=["x"], b=[0])
    refuses(lambda: find_text_column(data), "train.tsv", "'a', 'b'", "`text_column`")
    refuses(lambda: require_label_column(data), "train.tsv", "'a', 'b'", "`label_column`")


@pytest.mark.parametrize("bad", [3, ["a"], "half \ud83d"])
def test_what_is_no_text(bad):
    refuses(lambda: text_values(table(text=["a", bad]), "text"), "train.tsv, line 3", repr(bad))


def test_a_gap_is_an_empty_text():
    assert text_values(table(text=["a", None, float("nan"), ""]), "text") == ["a", "", "", ""]


def test_bytes_that_are_not_utf8_are_named():
    odd = b"caf\xe9".decode(errors="surrogateescape")
    refuses(
        lambda: text_values(table(text=["a", odd]), "text"), "train.tsv, line 3", "UTF-8", "0xe9"
    )


def test_one_column_of_several_names_that_look_alike():
    assert find_text_column(table(Text=["a"], text=["b"])) == "text"
    assert find_text_column(table(text=["b"], **{" Text": ["a"]})) == "text"


def test_a_name_of_several_columns_is_refused_where_it_is_used():
    data = Table("t.csv", {"text": ["a"], "label": ["1"], "note": [""]}, [2], repeated={"note"})
    assert find_text_column(data) == "text" and find_label_column(data) == "label"
    for option, find in (("text", find_text_column), ("label", find_label_column)):
        refuses(lambda find=find: find(data, "note"), "'note'", "several", f"`{option}_column`")


def test_columns_of_several_labels_are_named_where_there_is_no_label_column():
    data = table(text=["a", "b"], toxic=["0", "1"], threat=[1, 0], angry=[True, False], n=[2, 3])
    refuses(lambda: require_label_column(data), "multi-label", "'toxic', 'threat', 'angry' hold")
    single = table(text=["a", "b"], toxic=["0", "1"])
    with pytest.raises(InputError) as caught:
        require_label_column(single)
    assert "multi-label" not in str(caught.value)
