import pytest

from bertx.data import reports
from bertx.data.dataset import TextDataset, hold_out, sample_rows
from bertx.data.examples import usable_rows
from bertx.data.reports import count_overlong


def test_items_and_fillers():
    data = TextDataset(["a", "b"], [1, -100], [((0, 1),), ()])
    assert data[0] == {"text": "a", "label": 1, "index": 0, "rationale": ((0, 1),)}
    assert data[~1] == {"text": "b", "label": -100, "index": -1, "rationale": ()}
    assert data[-1]["text"] == "a" and data[-1]["index"] == -1
    assert len(data) == 2 and data.labelled() == [0]


def test_selected_rows_keep_what_belongs_to_them():
    data = TextDataset(list("abcd"), [0, 1, 2, 3], [((i, i + 1),) for i in range(4)])
    chosen = data.select([3, 1])
    assert [chosen[i] for i in range(2)] == [
        {"text": "d", "label": 3, "index": 0, "rationale": ((3, 4),)},
        {"text": "b", "label": 1, "index": 1, "rationale": ((1, 2),)},
    ]


def test_columns_of_different_lengths():
    with pytest.raises(ValueError, match="2 texts"):
        TextDataset(["a", "b"], [0])
    with pytest.raises(ValueError, match="2 texts"):
        TextDataset(["a", "b"], [0, 1], [()])


USELESS = ["", " \t\n", "[CLS] [SEP]", "\u200b\u200d", "[MASK]", "\ufeff ", " [PAD]\u200b"]
USEFUL = ["good", "?", "[CLS] good", "😀", "日本", "[UNK]", "zzz", "\u200bgood"]


def test_usable_rows(tokenizer):
    texts = [text for pair in zip(USELESS, USEFUL, strict=False) for text in pair] + USEFUL[7:]
    rows = usable_rows(texts, tokenizer)
    assert [texts[row] for row in rows] == USEFUL
    assert usable_rows(USELESS, tokenizer) == []


def test_usable_rows_of_byte_level_pieces(roberta):
    assert usable_rows(["", "<s> </s>", "<s></s><pad>", "the film", "\u200b"], roberta) == [1, 3, 4]


def test_usable_rows_agree_with_tokenizing_everything(minilm):
    texts = [*USELESS, *USEFUL, "…", "\u0301", "\x00", "--", "\xad", "½", "_"]
    special = set(minilm.all_special_ids) - {minilm.unk_token_id}
    ids = minilm(texts, add_special_tokens=False)["input_ids"]
    expected = [row for row, tokens in enumerate(ids) if set(tokens) - special]
    assert usable_rows(texts, minilm) == expected


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


def test_hold_out_keeps_the_proportions():
    labels = [0] * 100 + [1] * 50 + [2] * 10
    stay, held = hold_out(labels, 0.1, 0)
    assert sorted(stay + held) == list(range(160)) and stay == sorted(stay) and held == sorted(held)
    assert [sum(labels[row] == label for row in held) for label in range(3)] == [10, 5, 1]
    assert (stay, held) == hold_out(labels, 0.1, 0)
    assert held != hold_out(labels, 0.1, 1)[1]


def test_hold_out_leaves_a_row_of_every_class():
    assert hold_out([0, 1, 1], 0.9, 0)[0][0] == 0
    stay, held = hold_out([0, 1, 1], 0.9, 0)
    assert len(held) == 1 and len(stay) == 2
    assert hold_out([0, 0], 0.01, 0)[1] != []


def test_sampled_rows():
    assert sample_rows(5, None, 0) == sample_rows(5, 9, 0) == [0, 1, 2, 3, 4]
    chosen = sample_rows(100, 10, 3)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen) == sample_rows(100, 10, 3)
    assert chosen != sample_rows(100, 10, 4)
