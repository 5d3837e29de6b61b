"""Reading foreign batches and choosing the sample."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bertx.callbacks.batches import collate, read_batch, spell
from bertx.callbacks.sample import Sample
from bertx.errors import InputError
from bertx.inputs import UNKNOWN
from bertx.packing import Budget
from tests.tiny import tiny_batch

TEXTS = ["the film was unbelievable !", "zzz dull"]


def test_a_batch_of_ids_alone_is_completed(tokenizer):
    full = tiny_batch(tokenizer, TEXTS)
    read = read_batch({"input_ids": full["input_ids"]}, tokenizer)
    for name in ("attention_mask", "word_ids"):
        assert torch.equal(read[name], full[name])
    assert torch.equal(read["special_tokens_mask"], full["special_tokens_mask"].bool())
    assert read["labels"].tolist() == [UNKNOWN] * 2
    assert read["text"] == ["the film was unbelievable !", "[UNK] dull"]
    start, end = read["offsets"][0, 4].tolist(), read["offsets"][0, 6].tolist()
    assert read["text"][0][start[0] : end[1]] == "unbelievable"


def test_what_a_batch_holds_is_kept(tokenizer):
    full = tiny_batch(tokenizer, TEXTS, [1, 2])
    read = read_batch(full, tokenizer)
    assert all(read[name] is full[name] or torch.equal(read[name], full[name]) for name in full)


@pytest.mark.parametrize("batch", [(1, 2), {"ids": torch.ones(1, 1)}, {"input_ids": [[1, 2]]}])
def test_other_batches_are_refused(batch, tokenizer):
    with pytest.raises(InputError, match=r"Override read\(batch\)"):
        read_batch(batch, tokenizer)


def test_byte_level_pieces_are_spelt_to_words():
    vocabulary = {"<s>": 0, "</s>": 1, "film": 2, "Ġgood": 3, "ness": 4, "!": 5, "<pad>": 6}
    raw = Tokenizer(models.BPE(vocabulary, [], unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    read = read_batch({"input_ids": torch.tensor([[0, 2, 3, 4, 5, 1, 6]])}, tokenizer)
    assert read["text"] == ["film goodness!"]
    assert read["word_ids"].tolist() == [[-1, 0, 1, 1, 1, -1, -1]]


def test_a_special_token_in_the_middle_ends_a_word():
    pieces = [("a", False), ("[SEP]", True), ("##b", False)]
    assert spell(pieces) == ("a b", [0, -1, 1], [(0, 1), (0, 0), (2, 3)])


def add(sample, *parts, index=None):
    for n, part in enumerate(parts):
        ids = torch.tensor([[2, i + 5, 3] for i in part])
        batch = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "special_tokens_mask": ids < 5,
            "word_ids": ids,
            "offsets": torch.zeros(len(ids), 3, 2).long(),
            "labels": torch.zeros(len(ids)).long(),
            "text": [str(i) for i in part],
        }
        if index is not None:
            batch["index"] = torch.tensor(index[n])
        sample.add(batch)
    return [e.index for e in sample.examples]


def test_rows_are_numbered_as_they_come():
    assert add(Sample(None, None), [0, 1, 2], [3, 4]) == [0, 1, 2, 3, 4]
    assert add(Sample(2, None), [0, 1, 2], [3, 4]) == [0, 1]


def test_ranks_number_their_shares_and_drop_the_rows_that_fill_up():
    assert add(Sample(None, 5, stride=2, offset=0), [0, 2, 4]) == [0, 2, 4]
    assert add(Sample(None, 5, stride=2, offset=1), [1, 3, 0]) == [1, 3]


def test_an_index_is_followed_and_fillers_are_left():
    assert add(Sample(None, 9), [0, 1, 2], index=[[8, -1, 3]]) == [8, 3]


def test_the_choice_depends_on_the_size_of_the_data_alone():
    whole = add(Sample(4, 100), range(100))
    parts = add(Sample(4, 100), range(50), range(50, 100))
    ranks = [*add(Sample(4, 100, 2, 0), range(50)), *add(Sample(4, 100, 2, 1), range(50))]
    assert len(whole) == 4 and whole == parts == sorted(ranks)
    assert whole != [0, 1, 2, 3]


def test_chunks_hold_similar_lengths_under_the_budget():
    sample = Sample(None, None)
    for length in (9, 3, 7, 3, 20, 4):
        ids = torch.full((1, length), 6)
        sample.add(
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": torch.zeros(1).long(),
                "text": ["x"],
            }
        )
    chunks = [[e.index for e in chunk] for chunk in sample.chunks(Budget(tokens=12, call=4))]
    assert chunks == [[4], [0], [2], [5, 1, 3]]


def test_left_padding_is_taken_off_and_rows_are_padded_on_the_right():
    sample = Sample(None, None)
    ids, mask = (
        torch.tensor([[0, 0, 2, 3], [2, 8, 9, 3]]),
        torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
    )
    special = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 1]])
    batch = {
        "input_ids": ids,
        "attention_mask": mask,
        "special_tokens_mask": special,
        "word_ids": torch.where(special == 1, -1, 0),
        "labels": torch.zeros(2),
        "text": ["", "b"],
    }
    sample.add(batch)
    batch = collate([e.tokens for e in sample.examples], pad_token_id=7)
    assert batch["input_ids"].tolist() == [[2, 3, 7, 7], [2, 8, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["special_tokens_mask"][0].tolist() == [1, 1, 1, 1]
    assert batch["word_ids"][0].tolist() == [-1, -1, -1, -1]
