import pickle

import pytest
import torch

from bertx.data import Collator, TextDataset
from bertx.data.examples import usable_rows
from bertx.errors import InputError
from bertx.models.encode import special_tokens
from bertx.models.inputs import Inputs
from bertx.models.words import number_words
from tests.tiny import tiny_batch
from tests.tokenizer_kinds import KINDS


def collate(tokenizer, texts, max_length=64, rationales=None):
    data = TextDataset(texts, list(range(len(texts))), rationales)
    return Collator(tokenizer, max_length)([data[i] for i in range(len(texts))])


ODD = [
    "the unbelievable film", "  the  film \n\n bad!\n", "e\u0301te\u0301 film",
    "fi\u200blm x\u0301", "😀👩\u200d👧 film", "go\x00od\tfilm", "", " ",
    "the <s> film [SEP]bad", "a-b don't", "½ film ",
]  # fmt: skip
TEXTS = ["the film is not unbelievable .", "good", "a bad zzz plot"]


def test_fields_shapes_and_types(tokenizer):
    batch = collate(tokenizer, TEXTS)
    shape = batch["input_ids"].shape
    assert shape[0] == 3
    for field in ("input_ids", "attention_mask", "token_type_ids", "word_ids"):
        assert batch[field].shape == shape and batch[field].dtype == torch.long
    assert batch["special_tokens_mask"].shape == shape
    assert batch["special_tokens_mask"].dtype == torch.bool
    assert batch["offsets"].shape == (*shape, 2)
    assert batch["labels"].tolist() == batch["index"].tolist() == [0, 1, 2]
    assert batch["labels"].dtype == batch["index"].dtype == torch.long
    assert batch["text"] == TEXTS
    assert "rationale" not in batch


def test_agrees_with_a_batch_written_out(tokenizer):
    ours, reference = collate(tokenizer, TEXTS, 64), tiny_batch(tokenizer, TEXTS, [0, 1, 2])
    assert ours.keys() == reference.keys()
    for field in ours.keys() - {"text", "special_tokens_mask"}:
        assert torch.equal(ours[field], reference[field]), field
    unknown = ours["input_ids"] == tokenizer.unk_token_id
    assert unknown.any()
    assert torch.equal(ours["special_tokens_mask"], reference["special_tokens_mask"].bool())


def test_unknown_word_is_ordinary_and_a_spelt_special_token_is_not(tokenizer):
    batch = collate(tokenizer, ["good zzz [SEP] bad [MASK] [UNK]"])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    special = dict(zip(tokens, batch["special_tokens_mask"][0].tolist(), strict=True))
    assert special == {
        "[CLS]": True, "good": False, "[UNK]": False, "[SEP]": True, "bad": False, "[MASK]": True,
    }  # fmt: skip
    assert Inputs.from_batch(batch).unit_counts.tolist() == [4]


def test_padding_is_on_the_right_and_dynamic(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "padding_side", "left")
    batch = collate(tokenizer, ["good", "the film is good"])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch["special_tokens_mask"][0].tolist() == [True, False, True, True, True, True]
    assert batch["word_ids"][0].tolist() == [-1, 0, -1, -1, -1, -1]
    assert collate(tokenizer, ["good"])["input_ids"].shape == (1, 3)


def test_long_text_is_cut_and_closed(tokenizer):
    batch = collate(tokenizer, ["good " * 50, "bad"], max_length=8)
    assert batch["input_ids"].shape == (2, 8)
    assert batch["input_ids"][0, -1] == tokenizer.sep_token_id


def test_pieces_of_a_word_share_its_number_and_offsets_cut_the_text(tokenizer):
    text = "the unbelievable film"
    batch = collate(tokenizer, [text])
    assert batch["word_ids"][0].tolist() == [-1, 0, 1, 1, 1, 2, -1]
    pieces = [text[start:end] for start, end in batch["offsets"][0, 1:-1].tolist()]
    assert pieces == ["the", "un", "believ", "able", "film"]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_number_words_in_every_kind(kind):
    """Also where the tokenizer takes a text for one word, or parts an accent from its letter."""
    tokenizer, texts = KINDS[kind](), list(ODD)
    for rows in (texts, *([text] for text in texts)):
        batch = collate(tokenizer, rows)
        units = Inputs.from_batch(batch).units
        encoded = tokenizer(rows, padding=True, return_offsets_mapping=True)
        for i, text in enumerate(rows):
            ranked = ~batch["special_tokens_mask"][i]
            own = encoded["offset_mapping"][i], encoded.word_ids(i), ranked.tolist()
            assert units[i].tolist() == number_words(text, *own), text


WORDLESS = ["", " \t\n", "\u200b", "<s></s>", "[SEP] [MASK]", "\ufeff <mask>"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_without_a_word(kind):
    """Alone, among themselves and beside others."""
    tokenizer = KINDS[kind]()
    rows = set(usable_rows(WORDLESS, tokenizer))
    bare = [text for row, text in enumerate(WORDLESS) if row not in rows]
    assert len(bare) >= 2
    ends = tokenizer("")["input_ids"]
    for texts in (bare, ["the film", *bare, "unbelievable"], *([text] for text in bare)):
        batch = collate(tokenizer, texts, 16, [()] * len(texts))
        units = Inputs.from_batch(batch).units
        for i in [i for i, text in enumerate(texts) if text in bare]:
            length = int(batch["attention_mask"][i].sum())
            ids = batch["input_ids"][i, :length].tolist()
            assert ids == tokenizer(texts[i])["input_ids"] and [ids[0], ids[-1]] == ends
            assert batch["special_tokens_mask"][i].all()
            assert (units[i] == -1).all() and not batch["rationale"][i].any()
            assert not batch["offsets"][i, [0, length - 1]].any()
    blank = collate(tokenizer, [""] * 2, 16)
    assert blank["input_ids"].tolist() == [ends] * 2
    assert (blank["word_ids"] == -1).all() and not blank["offsets"].any()


def test_rationale_marks_the_tokens_that_overlap(tokenizer):
    text = "the film is not unbelievable ."
    spans = ((12, 15), (16, 28))
    batch = collate(tokenizer, [text, "good"], rationales=[spans, ()])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    marked = [t for t, m in zip(tokens, batch["rationale"][0].tolist(), strict=True) if m]
    assert marked == ["not", "un", "##believ", "##able"]
    assert not batch["rationale"][1].any()
    assert batch["rationale"].dtype == torch.bool


def test_examples_without_a_rationale_beside_one_that_has_it(tokenizer):
    bare, marked = TextDataset(["good film"], [1])[0], TextDataset(["bad"], [0], [((0, 3),)])[0]
    batch = Collator(tokenizer)([bare, marked, bare])
    assert batch["rationale"].sum(1).tolist() == [0, 1, 0]


def test_rationale_reaches_a_piece_in_part_and_never_a_special_token(tokenizer):
    batch = collate(tokenizer, ["unbelievable [SEP] good"], rationales=[((3, 22),)])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    marked = [t for t, m in zip(tokens, batch["rationale"][0].tolist(), strict=True) if m]
    assert marked == ["##believ", "##able", "good"]


def test_byte_level_pieces(roberta):
    text = "the film is not naïve"
    batch = collate(roberta, [text, "a plot"], rationales=[((16, 21),), ((0, 1),)])
    assert "token_type_ids" not in batch
    ids, special = batch["input_ids"], batch["special_tokens_mask"]
    assert ids[0, 0] == roberta.cls_token_id and special[0, 0] and special[1, -1]
    assert (special == ((ids < 3) | (ids == 4))).all()
    words = batch["word_ids"][0].tolist()
    assert sorted(set(words)) == [-1, 0, 1, 2, 3, 4]
    pieces = roberta.convert_ids_to_tokens(ids[0])
    # The piece that is nothing but the space before the word is not in its span.
    inside = [word == 4 and piece != "Ġ" for word, piece in zip(words, pieces, strict=True)]
    assert batch["rationale"][0].tolist() == inside and sum(inside) == 6
    assert int(batch["rationale"][1].sum()) == 1


def test_special_tokens_of_an_unknown_role(roberta):
    assert special_tokens(roberta) == {"<s>": 0, "</s>": 2, "<pad>": 1, "<mask>": 4}
    one_for_all = pickle.loads(pickle.dumps(roberta))
    one_for_all.unk_token = "</s>"
    assert "</s>" in special_tokens(one_for_all)


def test_added_special_tokens_are_special(tokenizer):
    more = pickle.loads(pickle.dumps(tokenizer))
    more.add_special_tokens({"extra_special_tokens": ["[USER]"]})
    batch = collate(more, ["good [USER] film"])
    assert batch["special_tokens_mask"][0].tolist() == [True, False, True, False, True]


def test_filler_and_unknown_label(tokenizer):
    data = TextDataset(["good", "bad"], [1, -100])
    batch = Collator(tokenizer)([data[1], data[~0]])
    assert batch["index"].tolist() == [1, -1]
    assert batch["labels"].tolist() == [-100, 1]


def test_collator_travels_to_worker_processes(tokenizer):
    collator = pickle.loads(pickle.dumps(Collator(tokenizer, 16)))
    assert collator([TextDataset(["good"], [0])[0]])["input_ids"].shape == (1, 3)


def test_tokenizer_without_padding(roberta):
    unpadded = pickle.loads(pickle.dumps(roberta))
    unpadded.pad_token = None
    with pytest.raises(InputError, match="padding token"):
        Collator(unpadded)


def test_no_room_for_a_word(tokenizer):
    with pytest.raises(InputError, match=r"max_length 2: expected more than the 2 special tokens"):
        Collator(tokenizer, 2)
