"""Reading foreign batches and choosing the sample."""

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader, DistributedSampler, SubsetRandomSampler
from transformers import PreTrainedTokenizerFast

from bertx.callbacks.batches import read_batch, spell
from bertx.callbacks.sample import Sample, rows_dealt
from bertx.errors import InputError
from bertx.evaluation import Recorder
from bertx.models.encode import inputs_of
from bertx.models.inputs import UNKNOWN
from bertx.perturb.packing import Budget
from tests import tokenizer_kinds
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

TEXTS = ["the film was unbelievable !", "zzz dull"]


def pieces(reading):
    """The characters of each token."""
    return [reading.text[start:end] for start, end in reading.offsets]


def words(reading):
    return [reading.text[start:end] for start, end in reading.spans]


def test_a_batch_of_ids_alone_is_completed(tokenizer):
    full = tiny_batch(tokenizer, TEXTS)
    read = read_batch({"input_ids": full["input_ids"]}, tokenizer)
    for row, reading in enumerate(read):
        mask = full["attention_mask"][row].bool()
        assert reading.input_ids == full["input_ids"][row, mask].tolist()
        assert list(reading.units) == full["word_ids"][row, mask].tolist()
        assert reading.label == UNKNOWN and reading.rationale is reading.error is None
    assert [reading.text for reading in read] == ["the film was unbelievable !", "[UNK] dull"]
    assert words(read[0]) == ["the", "film", "was", "unbelievable", "!"]


def test_what_a_batch_holds_is_kept(tokenizer):
    full = tiny_batch(tokenizer, TEXTS, [1, 2])
    full["rationale"] = full["word_ids"] == 1
    full["error"] = [None, "why"]
    full["token_type_ids"] = full["word_ids"].clamp(0, 1)
    for row, reading in enumerate(read_batch(full, tokenizer)):
        mask = full["attention_mask"][row].bool()
        for name, values in [
            ("input_ids", reading.ids), ("word_ids", reading.units),
            ("token_type_ids", reading.segments), ("rationale", reading.rationale),
        ]:  # fmt: skip
            assert list(values) == full[name][row, mask].tolist()
        assert [*map(list, reading.offsets)] == full["offsets"][row, mask].tolist()
        assert (reading.text, reading.label) == (TEXTS[row], row + 1)
        assert reading.error == full["error"][row]


@pytest.mark.parametrize("batch", [(1, 2), {"ids": torch.ones(1, 1)}, {"input_ids": [[1, 2]]}])
def test_other_batches_are_refused(batch, tokenizer):
    with pytest.raises(InputError, match=r"Override read\(batch\)"):
        read_batch(batch, tokenizer)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_without_offsets_is_read_again(side):
    texts = ["The   FILM was unbelievable!", "zzz", "a dull film , never good </s> !"]
    tokenizer = tokenizer_kinds.byte_level()
    tokenizer.truncation_side = side
    made = tokenizer(
        texts, padding=True, truncation=True, max_length=12, return_tensors="pt",
        return_offsets_mapping=True,
    )  # fmt: skip
    batch = {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"]}
    read = read_batch(batch | {"text": texts}, tokenizer)
    assert [reading.text for reading in read] == texts
    for row, reading in enumerate(read):
        offsets = made["offset_mapping"][row, made["attention_mask"][row].bool()]
        assert [*map(list, reading.offsets)] == offsets.tolist()
    found = [word for reading in read for word in words(reading)]
    assert "zzz" in found and ("!" in found) == ("unbelievable" in found) and "</s>" not in found


def test_another_text_is_spelt_anew(tokenizer):
    full = tiny_batch(tokenizer, ["The   FILM was unbelievable!"])
    other = {"input_ids": full["input_ids"], "text": ["the film was good!"]}
    [read] = read_batch(other, tokenizer)
    assert read.text == "the film was unbelievable !"
    assert pieces(read) == ["", "the", "film", "was", "un", "believ", "able", "!", ""]


def test_offsets_without_their_text_are_spelt_anew(tokenizer):
    full = tiny_batch(tokenizer, ["The   FILM was"])
    for name in ("offsets", "offset_mapping"):
        batch = {"input_ids": full["input_ids"], name: full["offsets"]}
        [read] = read_batch(batch, tokenizer)
        assert read.text == "the film was"
        assert read.offsets == ((0, 0), (0, 3), (4, 8), (9, 12), (0, 0))


def test_a_text_is_kept_with_its_offsets_by_any_name(tokenizer):
    texts = ["The   FILM was unbelievable!", "zzz  dull"]
    full = tiny_batch(tokenizer, texts)
    written = [text.replace("FILM", "PLOT") for text in texts]  # whose tokens are others
    for name in ("offsets", "offset_mapping"):
        batch = {"input_ids": full["input_ids"], "text": written, name: full["offsets"]}
        for row, reading in enumerate(read_batch(batch, tokenizer)):
            mask = full["attention_mask"][row].bool()
            assert reading.text == written[row]
            assert [*map(list, reading.offsets)] == full["offsets"][row, mask].tolist()
            assert list(reading.units) == full["word_ids"][row, mask].tolist()


def test_the_words_of_a_batch_are_kept(tokenizer):
    full = tiny_batch(tokenizer, TEXTS)
    given = full["word_ids"] // 2
    for extra in ({}, {"text": full["text"]}, {"text": full["text"], "offsets": full["offsets"]}):
        batch = {"input_ids": full["input_ids"], "word_ids": given, **extra}
        for row, reading in enumerate(read_batch(batch, tokenizer)):
            mask = full["attention_mask"][row].bool()
            assert list(reading.units) == given[row, mask].tolist()


def byte_level():
    names = ["<s>", "</s>", "film", "Ġgood", "ness", "!", "<pad>", "Ċ"]
    raw = Tokenizer(models.BPE({n: i for i, n in enumerate(names)}, [], unk_token="<pad>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def test_byte_level_pieces_are_spelt_to_words():
    [read] = read_batch({"input_ids": torch.tensor([[0, 2, 3, 4, 5, 1, 6]])}, byte_level())
    assert read.text == "film goodness!"
    assert read.units == (-1, 0, 1, 1, 1, -1)


@pytest.mark.parametrize("kind", [tokenizer_kinds.byte_level, tokenizer_kinds.sentence_piece])
def test_a_text_of_one_word_is_one_word_whatever_marks_words(kind):
    tokenizer = kind()
    ids = torch.tensor([tokenizer("badunfilm")["input_ids"]])
    assert ids.shape[1] > 3
    [read] = read_batch({"input_ids": ids}, tokenizer)
    assert read.text == "badunfilm" and set(read.units) == {-1, 0}


def test_white_space_of_the_text_parts_words_that_pieces_do_not():
    batch = {
        "input_ids": torch.tensor([[0, 3, 7, 2, 4, 1]]),
        "text": ["good\nfilmness"],
        "offset_mapping": torch.tensor([[[0, 0], [0, 4], [4, 5], [5, 9], [9, 13], [0, 0]]]),
    }
    [read] = read_batch(batch, byte_level())
    assert read.units == (-1, 0, 1, 1, 1, -1)


def test_a_special_token_in_the_middle_ends_a_word():
    pieces = [("a", False), ("[SEP]", True), ("##b", False)]
    assert spell(pieces) == ("a b", [0, -1, 1], [(0, 1), (0, 0), (2, 3)])


def read(batch):
    return read_batch(batch, tiny_tokenizer())


def add(sample, *parts, index=None):
    for n, part in enumerate(parts):
        ids = torch.tensor([[2, i % 9 + 5, 3] for i in part])
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
        sample.add(batch, read)
    return [e.index for e in sample.examples]


def test_rows_are_numbered_as_they_come():
    assert add(Sample(None, None), [0, 1, 2], [3, 4]) == [0, 1, 2, 3, 4]
    assert add(Sample(2, None), [0, 1, 2], [3, 4]) == [0, 1]


def test_ranks_number_their_shares_and_drop_the_rows_that_fill_up():
    assert add(Sample(None, 5, ranks=2, rank=0), [0, 2, 4]) == [0, 2, 4]
    assert add(Sample(None, 5, ranks=2, rank=1), [1, 3, 0]) == [1, 3]


def test_an_index_is_followed_and_fillers_are_left():
    assert add(Sample(None, 9), [0, 1, 2], index=[[8, -1, 3]]) == [8, 3]


def test_a_row_that_comes_again_counts_once():
    assert add(Sample(None, 9, once=True), [0, 1, 2], [3], index=[[8, 3, 8], [3]]) == [8, 3]


ROWS = range(7)


@pytest.mark.parametrize(
    ("deal", "rows"),
    [
        (lambda r: DistributedSampler(ROWS, 4, r, shuffle=False), set(ROWS)),
        (lambda r: DistributedSampler(ROWS, 4, r, shuffle=True), set(ROWS)),
        (lambda r: DistributedSamplerWrapper(
            SubsetRandomSampler([5, 2, 6, 0, 3], torch.Generator().manual_seed(1)),
            num_replicas=4, rank=r,
        ), {5, 2, 6, 0, 3}),
    ],
)  # fmt: skip
def test_rows_that_fill_a_rank_up_are_left_where_batches_have_an_index_too(deal, rows):
    found = []
    for rank in range(4):
        loader = DataLoader(ROWS, batch_size=2, sampler=deal(rank))
        parts = [batch.tolist() for batch in loader]
        assert rows_dealt(loader, 4) == len(rows)
        found += add(Sample(None, 7, 4, rank, rows_dealt(loader, 4), True), *parts, index=parts)
    assert sorted(found) == sorted(rows)


class Blocks(DistributedSampler):
    """Shares the rows out in another way."""


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(ROWS),
        DataLoader(ROWS, sampler=Blocks(ROWS, 2, 0)),
        DataLoader(ROWS, batch_size=None, sampler=DistributedSampler(ROWS, 2, 0)),
        DataLoader(ROWS, sampler=DistributedSampler(ROWS, 3, 0)),
        [],
    ],
)
def test_nothing_is_known_of_other_ways_to_share_rows_out(loader):
    assert rows_dealt(loader, 2) is None


def test_only_the_chosen_rows_are_completed(tokenizer):
    asked = []

    def read(part):
        asked.append(part)
        return read_batch(part, tokenizer)

    sample = Sample(None, 9)
    ids = torch.tensor([[2, 7, 3], [2, 8, 3], [2, 9, 3]])
    batch = {
        "input_ids": ids, "index": torch.tensor([-1, 4, 5]), "text": ("a", "b", "c"),
        "labels": np.array([3, 4, 5]), "attention_mask": torch.ones(3, 3).long(),
        "special_tokens_mask": ids < 5, "word_ids": ids, "offsets": torch.zeros(3, 3, 2).long(),
        "other": "abc", "more": torch.tensor(1),
    }  # fmt: skip
    sample.add(batch, read)
    sample.add(batch | {"index": torch.tensor([-1, -1, -1])}, read)
    [part] = asked
    assert part["input_ids"].tolist() == ids[1:].tolist() and part["other"] == "abc"
    assert [(e.index, e.label, e.text) for e in sample.examples] == [(4, 4, "b"), (5, 5, "c")]
    assert sample.examples[1].input_ids == [2, 9, 3]


def test_the_choice_depends_on_the_size_of_the_data_alone():
    whole = add(Sample(4, 100), range(100))
    parts = add(Sample(4, 100), range(50), range(50, 100))
    ranks = [*add(Sample(4, 100, 2, 0), range(50)), *add(Sample(4, 100, 2, 1), range(50))]
    assert len(whole) == 4 and whole == parts == sorted(ranks)
    assert whole != [0, 1, 2, 3]


def test_the_first_that_are_drawn_are_a_smaller_choice():
    every, unknown = Sample(None, 100), Sample(None, None)
    add(every, range(100))
    order = [example.index for example in every.shuffled()]
    assert sorted(order) == list(range(100))
    for limit in (1, 4, 50):
        assert sorted(order[:limit]) == sorted(add(Sample(limit, 100), range(100)))
    add(unknown, [0, 1, 2], index=[[5, 1, 3]])
    assert [example.index for example in unknown.shuffled()] == [1, 3, 5]


def test_chunks_hold_similar_lengths_under_the_budget():
    sample = Sample(None, None)
    for length in (9, 3, 7, 3, 20, 4):
        ids = torch.full((1, length), 6)
        batch = {
            "input_ids": ids, "attention_mask": torch.ones_like(ids), "word_ids": ids,
            "special_tokens_mask": ids < 5, "offsets": torch.zeros(1, length, 2).long(),
            "labels": torch.zeros(1).long(), "text": ["x"],
        }  # fmt: skip
        sample.add(batch, read)
    recorder = Recorder(tiny_model(), tiny_tokenizer(), "predicted", Budget(tokens=12, call=4))
    chunks = [[e.index for e in chunk] for chunk in recorder.chunks(sample.examples)]
    assert chunks == [[4], [0], [2], [5, 1, 3]]


def test_left_padding_is_taken_off_and_rows_are_padded_on_the_right(tokenizer):
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
        "offsets": torch.zeros(2, 4, 2).long(),
        "labels": torch.zeros(2),
        "text": ["", "b"],
    }
    sample.add(batch, read)
    inputs = inputs_of(sample.examples, tokenizer)
    assert inputs.input_ids.tolist() == [[2, 3, 0, 0], [2, 8, 9, 3]]
    assert inputs.attention_mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert inputs.units.tolist() == [[-1, -1, -1, -1], [-1, 0, 0, -1]]
    assert inputs.token_type_ids is None
