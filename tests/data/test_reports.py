import pytest

from bertx.data import reports
from bertx.data.reports import count_overlong


def long_texts(count):
    return ["good " * (i % 20 + 1) for i in range(count)]


def test_overlong_texts_are_counted(tokenizer):
    texts = long_texts(200)
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    for limit in (3, 8, 21, 22):
        assert count_overlong(texts, tokenizer, limit) == (sum(n > limit for n in lengths), True)


def test_byte_level_text_of_few_characters_may_be_overlong(roberta):
    text = "😀" * 5
    assert len(roberta(text)["input_ids"]) > 10
    assert count_overlong([text, "a"], roberta, 10) == (1, True)


def test_only_texts_that_can_be_overlong_are_tokenized(tokenizer):
    class Refusing:
        num_special_tokens_to_add = tokenizer.num_special_tokens_to_add

    assert count_overlong(["short", "x" * 6], Refusing(), 8) == (0, True)


def test_many_overlong_texts_are_estimated(tokenizer, monkeypatch):
    texts = [*long_texts(2000), *[""] * 500]
    exact, sure = count_overlong(texts, tokenizer, 8)
    monkeypatch.setattr(reports, "ESTIMATE_FROM", 300)
    about, estimated = count_overlong(texts, tokenizer, 8)
    assert sure and not estimated
    assert about == pytest.approx(exact, rel=0.1)
