"""Units: words and tokens, never special tokens or padding."""

import pytest
import torch

from bertx.errors import InputError
from bertx.models.inputs import Inputs, merge_by_unit, number_units
from tests.tiny import tiny_batch

TEXTS = ["the film was unbelievable !", "dull"]


def test_words_hold_all_their_pieces(tokenizer):
    units = Inputs.from_batch(tiny_batch(tokenizer, TEXTS)).units
    assert units.tolist() == [[-1, 0, 1, 2, 3, 3, 3, 4, -1], [-1, 0, *[-1] * 7]]


def test_tokens_are_counted_without_special_ones(tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS), "token")
    assert inputs.units.tolist() == [[-1, *range(7), -1], [-1, 0, *[-1] * 7]]
    assert inputs.unit_counts.tolist() == [7, 1]


def test_padding_is_no_unit_whatever_a_foreign_batch_calls_it(tokenizer):
    batch = tiny_batch(tokenizer, TEXTS)
    batch["special_tokens_mask"] &= batch["attention_mask"]
    assert Inputs.from_batch(batch, "token").units.tolist()[1] == [-1, 0, *[-1] * 7]


def test_a_model_is_given_what_it_takes(tokenizer):
    class Narrow(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return input_ids, attention_mask

    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    assert inputs.token_type_ids is not None
    assert list(inputs.arguments(Narrow())) == ["input_ids", "attention_mask"]


def test_a_special_token_inside_a_word_starts_a_new_unit():
    words = torch.tensor([[0, 0, 0, 1]])
    ranked = torch.tensor([[True, False, True, True]])
    assert number_units(words, ranked).tolist() == [[0, -1, 1, 2]]


def test_a_text_of_special_tokens_has_no_units(tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, [""]))
    assert inputs.unit_counts.tolist() == [0]
    assert merge_by_unit(torch.ones(1, 2), inputs.units).tolist() == [[0.0]]


def test_rows_are_cut_to_their_longest(tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    short = inputs.rows(torch.tensor([False, True]))
    assert len(short) == 1 and short.input_ids.shape == (1, 3)
    assert short.token_type_ids.shape == short.units.shape == (1, 3)


def test_unit_scores_add_up(tokenizer):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    scores = torch.arange(18.0).view(2, 9)
    total = merge_by_unit(scores, inputs.units)
    assert total.tolist() == [[1, 2, 3, 4 + 5 + 6, 7], [10, 0, 0, 0, 0]]


def test_a_field_that_is_missing_is_named_with_what_gives_it(tokenizer):
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with pytest.raises(
        InputError, match=r"special_tokens_mask missing.*return_special_tokens_mask"
    ):
        Inputs.from_batch(batch, "token")
    with pytest.raises(InputError, match="word_ids, special_tokens_mask missing"):
        Inputs.from_batch(batch)
    with pytest.raises(InputError, match="text, offsets, special_tokens_mask missing"):
        Inputs.from_batch(batch, "whitespace")
