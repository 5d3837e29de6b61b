"""Long texts are cut between two words."""

import csv
import pickle
from functools import lru_cache

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from bertx.data import Collator, TextDataset
from bertx.models.encode import kept_range, special_ids
from bertx.models.inputs import Inputs
from bertx.models.words import number_words
from tests.tokenizer_kinds import KINDS

SIDES = ("right", "left")


@pytest.fixture(scope="module", params=[*KINDS, "RoBERTa"])
def of_kind(request):
    made = KINDS[request.param]() if request.param in KINDS else request.getfixturevalue("roberta")
    return pickle.loads(pickle.dumps(made))


def collate(tokenizer, texts, max_length, rationales=None):
    data = TextDataset(texts, [0] * len(texts), rationales)
    return Collator(tokenizer, max_length)([data[i] for i in range(len(texts))])


@lru_cache(maxsize=256)
def read(tokenizer, text):
    """The tokens of a whole text, each with the number of its word, and which are its own."""
    every = tokenizer([text], verbose=False, truncation=False, padding=False).encodings[0]
    ranked = [i not in special_ids(tokenizer) for i in every.ids]
    own = [i for i, added in enumerate(every.special_tokens_mask) if not added]
    numbers = number_words(text, every.offsets, every.word_ids, ranked)
    return list(zip(every.ids, every.offsets, numbers, strict=True)), own


def expected(tokenizer, text, max_length):
    """Ids, spans and words of the tokens that are kept: the whole text is numbered, then cut."""
    tokens, own = read(tokenizer, text)
    room = max_length - (len(tokens) - len(own))
    kept = own[:room] if tokenizer.truncation_side == "right" else own[-room:]
    number = [n for _, _, n in tokens]
    broken = {number[i] for i in kept} & {number[i] for i in {*own} - {*kept}} - {-1}
    whole = [i for i in kept if number[i] not in broken]
    if all(number[i] < 0 for i in whole):
        whole = kept
    left = [tokens[i] for i in sorted({*range(len(tokens))} - {*own} | {*whole})]
    rank = {-1: -1} | {n: i for i, n in enumerate(sorted({n for *_, n in left} - {-1}))}
    return [i for i, *_ in left], [span for _, span, _ in left], [rank[n] for *_, n in left]


def trimmed(text, span):
    """A byte-level tokenizer gives the space before a word to it if it is the first one."""
    start, end = span
    piece = text[start:end].lstrip()
    return (end - len(piece), end) if piece else None


def check(tokenizer, texts, max_length):
    """All rows of a batch against `expected`; returns how many tokens more than those fitted."""
    batch = collate(tokenizer, texts, max_length)
    units, lengths = Inputs.from_batch(batch).units, batch["attention_mask"].sum(1).tolist()
    assert batch["input_ids"].shape[1] == max(lengths) <= max_length
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        ids, offsets, words = expected(tokenizer, text, max_length)
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (max(lengths) - length)
        assert batch["input_ids"][row, :length].tolist() == ids, text
        found = batch["offsets"][row, :length].tolist()
        assert [trimmed(text, s) for s in found] == [trimmed(text, s) for s in offsets]
        assert units[row, :length].tolist() == words
        special = [i in special_ids(tokenizer) for i in ids]
        assert batch["special_tokens_mask"][row, :length].tolist() == special
        padding = {"input_ids": tokenizer.pad_token_id, "word_ids": -1, "special_tokens_mask": 1}
        for name in {"offsets", "token_type_ids", *padding} & batch.keys():
            assert (batch[name][row, length:] == padding.get(name, 0)).all(), name
    uncut = tokenizer(texts, verbose=False)["input_ids"]
    return sum(min(len(ids), max_length) for ids in uncut) - sum(lengths)


# Against the oracle

ODD = [
    "the unbelievable film was unbelievable", "  the  film \n\n bad!\n", "unbelievable" * 3, "good",
    "e\u0301te\u0301 film e\u0301te\u0301", "fi\u200blm fi\u200blm", "😀👩\u200d👧 film 😀😀😀",
    "unbelievable [SEP]</s> unbelievable", "[SEP] unbelievable", "</s>unbelievable", "", " ",
    "हिन्दी फिल्म हिन्दी फिल्म", "日本の映画はとても良い", "go\x00od\tfilm a-b don't",
    "un \u0301believable", "good !\u0301\u0301b.",
]  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_every_length_of_odd_texts(of_kind, side):
    of_kind.truncation_side = side
    longest = max(map(len, of_kind(ODD)["input_ids"]))
    dropped = sum(check(of_kind, ODD, max_length) for max_length in range(3, min(longest, 40) + 2))
    assert dropped > 5


TEXT = st.text(
    st.one_of(
        st.sampled_from("   \t\nabcfilm\u200b\u0301\u200d\u3000▁Ġ😀👩é#[]<>/שלहि映,.'"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(TEXT, min_size=1, max_size=3), st.sampled_from(SIDES), st.integers(3, 20))
@example(["a[SEP]bcdef", "a </s>"], "left", 3)
def test_any_text(of_kind, texts, side, max_length):
    of_kind.truncation_side = side
    check(of_kind, texts, max_length)


@pytest.fixture(scope="module")
def reviews(data_folder):
    with (data_folder / "imdb/test.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        texts = [row["text"] for row in rows][:240]
    odd = [text for text in texts if not text.isascii()]
    return [*odd[:6], *texts[:8], "good"]


@pytest.mark.parametrize("side", SIDES)
def test_reviews(of_kind, reviews, side):
    of_kind.truncation_side = side
    dropped = sum(check(of_kind, reviews, max_length) for max_length in (12, 61, 256))
    assert dropped > 10 or isinstance(of_kind, BertTokenizer)  # which knows none of their words


@pytest.mark.parametrize("side", SIDES)
def test_reviews_of_a_real_tokenizer(minilm, reviews, side, monkeypatch):
    monkeypatch.setattr(minilm, "truncation_side", side)
    lengths = (*range(10, 40, 3), *range(120, 136, 2), 256)
    assert sum(check(minilm, reviews, max_length) for max_length in lengths) > 10


# By hand


@pytest.mark.parametrize("piece", ["电影很好看", "a", "the film is unbelievable "])
def test_no_more_of_a_long_text_is_numbered_than_fits(of_kind, piece, monkeypatch):
    seen = []

    def counted(text, offsets, *more):
        seen.extend(offsets)
        return number_words(text, offsets, *more)

    monkeypatch.setattr("bertx.models.encode.number_words", counted)
    of_kind.truncation_side = "right"
    collate(of_kind, ["good" + piece * 1000], 64)
    assert 0 < len(seen) <= 64


def words(batch, row=0):
    units = Inputs.from_batch(batch).units[row]
    spans = [batch["offsets"][row][units == n] for n in range(int(units.max()) + 1)]
    return [batch["text"][row][span[:, 0].min() : span[:, 1].max()] for span in spans]


@pytest.mark.parametrize(
    ("side", "max_length", "kept"),
    [
        ("right", 4, ["a", "film"]), ("right", 5, ["a", "film"]), ("right", 6, ["a", "film"]),
        ("right", 7, ["a", "film", "unbelievable"]), ("left", 3, ["bad"]), ("left", 5, ["bad"]),
        ("left", 6, ["unbelievable", "bad"]), ("left", 7, ["film", "unbelievable", "bad"]),
    ],
)  # fmt: skip
def test_a_word_is_there_as_a_whole_or_not_at_all(tokenizer, monkeypatch, side, max_length, kept):
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    batch = collate(tokenizer, ["a film unbelievable bad"], max_length)
    assert words(batch) == kept
    assert batch["input_ids"][0, -1] == tokenizer.sep_token_id


@pytest.mark.parametrize(("side", "kept"), [("right", "unbeliev"), ("left", "believable")])
def test_the_only_word_is_cut(tokenizer, monkeypatch, side, kept):
    monkeypatch.setattr(tokenizer, "truncation_side", side)
    assert words(collate(tokenizer, ["unbelievable"], 4)) == [kept]
    assert words(collate(tokenizer, ["[SEP]unbelievable[SEP]"], 5)) == [kept]


def test_what_fits_is_as_the_tokenizer_has_it(tokenizer):
    texts = ["good bad", "the film is unbelievable", "a film unbelievable .", ""]
    batch = collate(tokenizer, texts, 6)
    for row in (0, 3):
        alone = collate(tokenizer, [texts[row]], 6)
        width = alone["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask", "token_type_ids", "word_ids", "offsets"):
            assert torch.equal(batch[name][row, :width], alone[name][0]), name
    assert batch["attention_mask"].sum(1).tolist() == [4, 5, 4, 2]
    assert batch["input_ids"].shape == (4, 5)


def test_bytes_of_a_wide_space_that_a_letter_shares_begin_no_word():
    spans = [(0, 2), (1, 2), (1, 2), (2, 3), (3, 4), (5, 6)]
    numbers = number_words("a\u3000bc d", spans, [0] * 6, [True] * 6)
    assert kept_range(numbers, 3, left=True) == (3, 6)
    spans = [(0, 1), (1, 2), (2, 3), (3, 4), (5, 6)]
    numbers = number_words("aabc d", spans, [0] * 5, [True] * 5)
    assert kept_range(numbers, 3, left=True) == (4, 5)


def test_rationales_go_with_their_tokens(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "truncation_side", "left")
    text = "unbelievable bad film"
    batch = collate(tokenizer, [text, "good"], 6, [((0, 12), (13, 16)), ((0, 4),)])
    assert batch["rationale"].tolist() == [[False, True, False, False], [False, True, False, False]]
