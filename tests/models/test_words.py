"""Words of the original text, for tokenizers of every kind."""

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bertx.models.encode import special_ids
from bertx.models.inputs import Inputs
from bertx.models.words import disjoint, number_words, spans_of
from tests.tiny import tiny_batch, tiny_tokenizer
from tests.tokenizer_kinds import KINDS

TEXT = "the unbelievable film 😀😀 never\u200b dull\n שלום 👨‍👩‍👧"


@pytest.fixture(scope="module", params=KINDS)
def of_kind(request):
    return KINDS[request.param]()


def read(tokenizer, text):
    encoding = tokenizer([text], verbose=False).encodings[0]
    special = special_ids(tokenizer)
    ranked = [i not in special for i in encoding.ids]
    numbers = number_words(text, encoding.offsets, encoding.word_ids, ranked)
    return encoding, ranked, numbers, spans_of(text, numbers, encoding.offsets)


def test_words_are_whole_in_every_kind(of_kind):
    _, _, _, spans = read(of_kind, TEXT)
    words = [TEXT[start:end] for start, end in spans]
    assert [word for word in words if word.isalpha()][:3] == ["the", "unbelievable", "film"]
    assert {"😀😀", "never", "dull", "שלום"} <= {word.strip("\u200b\n") for word in words}
    assert [c for c in "".join(words) if c.isalnum()] == [c for c in TEXT if c.isalnum()]


def test_leading_spaces_are_left_to_the_gaps(of_kind):
    _, _, _, spans = read(of_kind, "the film was bad")
    assert spans == ((0, 3), (4, 8), (9, 12), (13, 16))


ODD = st.text(
    st.one_of(
        st.sampled_from(" \t\n\x00\u200b\u200d\u0301\ufe0f\u3000▁Ġ😀👩é#[]<>/aשל電影,.'"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ODD)
@example("")
@example("[SEP]a<s>b")
@example("e\u0301\u0323e\u0323\u0301")
@example(" ▁ ▁a")
def test_every_ranked_token_has_one_word_and_spans_are_disjoint(of_kind, text):
    encoding, ranked, numbers, spans = read(of_kind, text)
    assert [number >= 0 for number in numbers] == ranked
    own = [number for number in numbers if number >= 0]
    assert own == sorted(own) and set(own) == set(range(len(spans)))
    cursor = 0
    for start, end in spans:
        assert cursor <= start <= end <= len(text)
        cursor = end
        word = text[start:end]
        assert word == word.strip() or not word.strip()
    for (start, end), number in zip(encoding.offsets, numbers, strict=True):
        shown = text[start:end].strip()
        if number >= 0 and shown:
            assert shown in text[slice(*spans[number])]


def test_no_two_tokens_of_one_character_are_parted():
    offsets = [(0, 1), (0, 1), (1, 2), (1, 3), (3, 4)]
    numbers = number_words("😀aab", offsets, [0, 1, 2, 3, 4], [True] * 5)
    assert numbers == [0, 0, 1, 1, 2]
    assert spans_of("😀aab", numbers, offsets) == ((0, 1), (1, 3), (3, 4))


def test_a_special_token_in_the_text_ends_a_word():
    offsets = [(0, 1), (1, 2), (2, 3)]
    numbers = number_words("aXb", offsets, [0, 0, 0], [True, False, True])
    assert numbers == [0, -1, 1] and spans_of("aXb", numbers, offsets) == ((0, 1), (2, 3))


def test_tokens_that_end_with_a_space_end_a_word():
    offsets = [(0, 2), (2, 4), (4, 5)]
    numbers = number_words("a b c", offsets, [0, 0, 0], [True] * 3)
    assert numbers == [0, 1, 2]
    assert spans_of("a b c", numbers, offsets) == ((0, 1), (2, 3), (4, 5))


def test_offsets_that_go_back_or_out_still_give_sound_spans():
    assert disjoint("abc", [(2, 3), (0, 1), (5, 9)]) == [(2, 3), (3, 3), (3, 3)]


def test_accents_that_a_tokenizer_drops_stay_with_their_letter():
    text = "e\u0301te\u0301\u0323 a\u0300"
    _, _, _, spans = read(tiny_tokenizer(), text)
    assert [text[start:end] for start, end in spans] == text.split()


def test_words_are_those_of_inputs_from_batch():
    texts = ["the unbelievable film , never dull !", "xyz [SEP] a-b don't 😀😀", ""]
    batch = tiny_batch(tiny_tokenizer(), texts)
    special = special_ids(tiny_tokenizer())
    batch["special_tokens_mask"] = torch.isin(batch["input_ids"], torch.tensor(special))
    units = Inputs.from_batch(batch).units
    for row, text in enumerate(texts):
        numbers = read(tiny_tokenizer(), text)[2]
        assert units[row, : len(numbers)].tolist() == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cafe\u0301 noir", ["cafe\u0301", "noir"]),
        ("cafe\u0301!", ["cafe\u0301", "!"]),
        ("हिन्दी फिल्म", ["हिन्दी", "फिल्म"]),
        ("كِتَاب جَيِّد", ["كِتَاب", "جَيِّد"]),
        ("fi\u200blm good", ["fi\u200blm", "good"]),
        ("\u200ffilm", ["\u200ffilm"]),
        ("film\u200f, good", ["film\u200f", ",", "good"]),
        ("\u2764\ufe0fgood", ["\u2764\ufe0f", "good"]),
    ],
)
@pytest.mark.parametrize("kind", ["byte-level", "byte-level, leading spaces"])
def test_letters_keep_their_accents_and_words_their_invisible_characters(kind, text, words):
    tokenizer = KINDS[kind]()
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    ranked = [not special for special in encoded["special_tokens_mask"]]
    numbers = number_words(text, encoded["offset_mapping"], encoded.word_ids(), ranked)
    spans = spans_of(text, numbers, encoded["offset_mapping"])
    assert [text[start:end] for start, end in spans] == words
