from bertx.data.examples import usable_rows

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
