"""All that reads a text gives it the same units."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import bertx
from bertx.attribution import GradientXInput
from bertx.callbacks.batches import read_batch
from bertx.data.collate import Collator
from bertx.data.dataset import TextDataset
from bertx.data.examples import usable_rows
from bertx.data.shortcut import Planter, Shortcut
from bertx.explanation.reader import Reader
from bertx.models.encode import inputs_of, special_ids, special_tokens
from bertx.models.inputs import Inputs
from tests.tokenizer_kinds import EVERY_KIND

TEXTS = [
    "the film was unbelievable, never dull",
    "the </s> film [SEP] was <s>[USER]bad<unk> xyzzy",
    "a cafe\u0301 😀😀 don't\u200b  state-of-the-art\n",
]


LONG = [
    "the film was unbelievable and never dull, the unbelievable plot was not bad and not dull",
    "unbelievableunbelievableunbelievable film",
    "[SEP] unbelievableunbelievable",
    "</s>unbelievableunbelievableunbelievable",
]


@pytest.fixture(params=EVERY_KIND)
def tokenizer(request):
    return EVERY_KIND[request.param]()


def model_of(tokenizer, positions=512):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, max_position_embeddings=positions,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def encoded(tokenizer, text, **cut):
    found = tokenizer([text], return_tensors="pt", return_offsets_mapping=True, **cut)
    return {**found, "text": [text]}


def collated(tokenizer, texts, max_length=512):
    data = TextDataset(texts, [0] * len(texts))
    return Collator(tokenizer, max_length)([data[row] for row in range(len(texts))])


def seen(reading):
    """The tokens of a text, the unit of each, and the characters of each unit."""
    return reading.input_ids, reading.around(reading.units, -1), reading.spans


@pytest.mark.parametrize("unit", ["word", "whitespace", "token"])
def test_every_reader_sees_the_same_units(tokenizer, unit):
    """`explain`, the collator, a foreign batch, and the callbacks on either."""
    reader = Reader(tokenizer, model_of(tokenizer), unit, None)
    batch = collated(tokenizer, TEXTS)
    units, written = Inputs.from_batch(batch, unit).units, read_batch(batch, tokenizer, unit)
    special = special_ids(tokenizer)
    for row, text in enumerate(TEXTS):
        explained = reader.read(row, text)
        ids, expected, _ = seen(explained)
        assert units[row, : len(expected)].tolist() == expected
        assert set(units[row, len(expected) :].tolist()) <= {-1}
        [foreign] = read_batch(encoded(tokenizer, text), tokenizer, unit)
        assert seen(foreign) == seen(written[row]) == seen(explained)
        assert [unit < 0 for unit in expected] == [i in special for i in ids]
        assert max(expected) >= 0


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("unit", ["word", "whitespace", "token"])
@pytest.mark.parametrize("longest", [6, 9, 12, 15])
def test_a_long_text_is_cut_alike(tokenizer, unit, longest, side):
    """`explain` cuts between two words, as the collator does, and so what callbacks read."""
    tokenizer.truncation_side = side
    reader = Reader(tokenizer, model_of(tokenizer, longest), unit, None)
    texts = [*TEXTS, *LONG, "not-a-state-of-the-art-film the film not-a-state-of-the-art-film"]
    batch = collated(tokenizer, texts, longest)
    made = inputs_of([reader.read(0, text) for text in texts], tokenizer)
    assert torch.equal(made.input_ids, batch["input_ids"])
    assert torch.equal(made.attention_mask, batch["attention_mask"])
    assert torch.equal(made.units, Inputs.from_batch(batch, unit).units)
    for row, written in enumerate(read_batch(batch, tokenizer, unit)):
        assert seen(written) == seen(reader.read(row, texts[row]))


def test_a_text_that_another_collator_has_cut_keeps_the_units_that_are_left(tokenizer):
    text = "the film was unbelievable, never dull and unbelievable the unbelievable plot"
    for unit in ("word", "token"):
        whole = Reader(tokenizer, model_of(tokenizer), unit, None).read(0, text)
        batch = encoded(tokenizer, text, truncation=True, max_length=8)
        [cut] = read_batch(batch, tokenizer, unit)
        room = 8 - whole.specials
        left = tokenizer.truncation_side == "left"
        kept = whole.cut(len(whole.ids) - room, len(whole.ids)) if left else whole.cut(0, room)
        assert seen(cut) == seen(kept) and cut.text == text
        assert {*kept.units} - {-1} == {*range(len(kept.spans))}


def test_a_pair_has_the_tokens_and_segments_of_its_batch(tokenizer):
    made = tokenizer([("the film", "was not bad")], return_tensors="pt")
    [pair] = read_batch(dict(made), tokenizer)
    inputs = inputs_of([pair], tokenizer)
    assert torch.equal(inputs.input_ids, made["input_ids"])
    if "token_type_ids" in made:
        assert torch.equal(inputs.token_type_ids, made["token_type_ids"])
    assert pair.spans and len(pair.spans) == max(pair.units) + 1


def test_what_is_judged_is_what_is_explained(tokenizer):
    """A text that is cut has the tokens of the one that begins or ends where it was cut."""
    model = model_of(tokenizer, 12)
    [found] = bertx.explain(model, tokenizer, LONG[0], GradientXInput())
    assert found.left_out
    whole, cut = (
        bertx.judge(model, tokenizer, [text], GradientXInput()).values
        for text in (LONG[0], LONG[0][found.spans[0][0] : found.spans[-1][1]])
    )
    assert [(one.text, one.value) for one in whole] == [(one.text, one.value) for one in cut]


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_word_is_never_cut_off(tokenizer, seed):
    planter = Planter(Shortcut("good", 0), ["a", "b"], tokenizer, 16, "train", seed)
    planted = planter.plant(TextDataset(LONG[:1], [0]), [seed])
    batch = Collator(tokenizer, 16)([planted[0]])
    marked = batch["offsets"][batch["rationale"]]
    assert planted.texts[0][marked[:, 0].min() : marked[:, 1].max()].strip() == "good"


def test_a_text_of_special_tokens_has_no_unit(tokenizer):
    spelt = "".join(special_tokens(tokenizer))
    assert usable_rows(["film", spelt], tokenizer) == [0]
    batch = Collator(tokenizer)([TextDataset([spelt], [0])[0]])
    own = batch["attention_mask"][0].bool() & ~batch["special_tokens_mask"][0]
    blank = [tokenizer.decode(i).strip() for i in batch["input_ids"][0, own]]
    assert not any(blank), blank
    assert torch.equal(Inputs.from_batch(batch).units[0] >= 0, own)
