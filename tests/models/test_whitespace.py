"""Words as white space parts them: the same in explanations, judgements and callbacks."""

import re

import pytest

import bertx
from bertx.attribution import GradientXInput
from bertx.callbacks.batches import read_batch
from bertx.data import Collator
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.models.words import number_pieces, spans_of
from tests import tokenizer_kinds
from tests.tiny import tiny_batch

TEXTS = [
    "the film wasn't a state-of-the-art movie, was it?",
    "  un-believable!!  [SEP]dull ,  good\tfood\n",
    "great",
]


def pieces(text):
    """What is between white space and special tokens, from the definition."""
    return re.findall(r"\S+", text.replace("[SEP]", " "))


@pytest.mark.parametrize("text", TEXTS)
def test_an_explanation_has_a_score_for_each_word(bert, tokenizer, text):
    (words,) = bertx.explain(bert, tokenizer, text, GradientXInput(), unit="whitespace")
    (tokens,) = bertx.explain(bert, tokenizer, text, GradientXInput(), unit="token")
    assert list(words.words) == pieces(text)
    assert [text[start:end] for start, end in words.spans] == list(words.words)
    for (start, end), score in zip(words.spans, words.scores["GradientXInput"], strict=True):
        own = [
            value
            for (first, last), value in zip(
                tokens.spans, tokens.scores["GradientXInput"], strict=True
            )
            if start <= first and last <= end
        ]
        assert len(own) and score == pytest.approx(sum(own))


def test_batches_have_the_words_of_the_texts(tokenizer):
    items = [{"text": text, "label": 0, "index": i} for i, text in enumerate(TEXTS)]
    batch = Collator(tokenizer, 64)(items)
    inputs = Inputs.from_batch(batch, "whitespace", tokenizer)
    assert inputs.unit_counts.tolist() == [len(pieces(text)) for text in TEXTS]
    for reading in read_batch(batch, tokenizer, "whitespace"):
        assert [reading.text[start:end] for start, end in reading.spans] == pieces(reading.text)


def test_words_are_deleted_whole(bert, tokenizer):
    """A curve of as many bins as words takes one word a time."""
    found = bertx.judge(bert, tokenizer, [TEXTS[0]], GradientXInput(), unit="whitespace")
    words = bertx.judge(bert, tokenizer, [TEXTS[0]], GradientXInput())
    assert found.values[0].value != words.values[0].value


@pytest.mark.parametrize("kind", ["byte-level", "byte-level, leading spaces", "SentencePiece"])
def test_tokens_that_mark_words_show_white_space(kind):
    tokenizer = tokenizer_kinds.KINDS[kind]()
    text = "was n't  state-of-the-art"
    full = tokenizer([text], return_tensors="pt", return_offsets_mapping=True)
    for batch in ({"input_ids": full["input_ids"]}, {**full, "text": [text]}):
        [reading] = read_batch(batch, tokenizer, "whitespace")
        assert len(reading.spans) == 3


def test_tokens_that_do_not_are_refused_without_their_text(tokenizer):
    full = tiny_batch(tokenizer, TEXTS[:1])
    with pytest.raises(InputError, match=r"unit 'whitespace': .* Add 'text' and 'offset_mapping'"):
        read_batch({"input_ids": full["input_ids"]}, tokenizer, "whitespace")
    del full["text"]
    with pytest.raises(InputError, match="batch: text missing"):
        Inputs.from_batch(full, "whitespace")


def test_the_tokens_of_a_long_text_are_the_same_for_every_unit(bert, tokenizer):
    """Those of the training, which cuts between two words of the tokenizer."""
    text = "the film " * 29 + "state-of-the-art"
    (found,) = bertx.explain(bert, tokenizer, text, GradientXInput(), unit="whitespace")
    (words,) = bertx.explain(bert, tokenizer, text, GradientXInput())
    assert found.words[-2:] == ("film", "state-of-") and found.probabilities == words.probabilities
    assert found.left_out == 1 and words.left_out == 3


@pytest.mark.parametrize(
    ("text", "offsets", "ranked", "numbers", "spans"),
    [
        ("a\u200b'b c", [(0, 1), (2, 3), (3, 4), (4, 6)], None, [0, 0, 0, 1], [(0, 4), (5, 6)]),
        ("ab cd", [(0, 2), (2, 2), (2, 3), (3, 5)], None, [0, 0, 1, 1], [(0, 2), (3, 5)]),
        ("ab cd ", [(0, 5), (5, 6)], None, [0, 1], [(0, 5), (5, 6)]),
        ("   ", [(0, 1), (1, 3)], None, [0, 0], [(0, 3)]),
        ("a-b", [(0, 1), (1, 2), (2, 3)], [True, False, True], [0, -1, 1], [(0, 1), (2, 3)]),
    ],
)
def test_where_tokens_belong(text, offsets, ranked, numbers, spans):
    assert number_pieces(text, offsets, ranked or [True] * len(offsets)) == numbers
    assert list(spans_of(text, numbers, offsets)) == spans
