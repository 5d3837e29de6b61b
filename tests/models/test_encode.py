"""All that reads a text gives it the same units."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from bertx.callbacks.batches import read_batch
from bertx.callbacks.readings import readings
from bertx.callbacks.sample import Sample
from bertx.data.collate import Collator
from bertx.data.dataset import TextDataset
from bertx.data.examples import usable_rows
from bertx.explanation.reading import Reader
from bertx.models.encode import special_ids, special_tokens
from bertx.models.inputs import Inputs
from tests.tokenizer_kinds import EVERY_KIND

TEXTS = [
    "the film was unbelievable, never dull",
    "the </s> film [SEP] was <s>[USER]bad<unk> xyzzy",
    "a cafe\u0301 😀😀 don't\u200b  state-of-the-art\n",
]


@pytest.fixture(scope="module", params=EVERY_KIND)
def tokenizer(request):
    return EVERY_KIND[request.param]()


def model_of(tokenizer):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def encoded(tokenizer, text):
    found = tokenizer([text], return_tensors="pt", return_offsets_mapping=True)
    return {**found, "text": [text]}


@pytest.mark.parametrize("unit", ["word", "whitespace", "token"])
def test_every_reader_sees_the_same_units(tokenizer, unit):
    """`explain`, the collator, a foreign batch, and the callbacks on either."""
    reader = Reader(tokenizer, model_of(tokenizer), unit, None)
    data = TextDataset(TEXTS, [0] * len(TEXTS))
    batch = Collator(tokenizer, 512)([data[row] for row in range(len(TEXTS))])
    collated = Inputs.from_batch(batch, unit).units
    sample = Sample(None, len(TEXTS))
    sample.add(read_batch(batch, tokenizer, unit))
    written = readings(sample.examples, tokenizer, unit)
    special = special_ids(tokenizer)
    for row, text in enumerate(TEXTS):
        explained = reader.read(row, text)
        around = len(explained.before), len(explained.after)
        expected = [-1] * around[0] + list(explained.units) + [-1] * around[1]
        assert collated[row, : len(expected)].tolist() == expected
        assert set(collated[row, len(expected) :].tolist()) <= {-1}
        foreign = read_batch(encoded(tokenizer, text), tokenizer, unit)
        assert Inputs.from_batch(foreign, unit).units[0].tolist() == expected
        assert list(written[row].units) == expected
        assert written[row].spans == explained.spans and written[row].left_out == 0
        ids = [*explained.before, *explained.ids, *explained.after]
        assert [unit < 0 for unit in expected] == [i in special for i in ids]
        assert max(expected) >= 0


def test_a_text_of_special_tokens_has_no_unit(tokenizer):
    spelt = "".join(special_tokens(tokenizer))
    assert usable_rows(["film", spelt], tokenizer) == [0]
    batch = Collator(tokenizer)([TextDataset([spelt], [0])[0]])
    own = batch["attention_mask"][0].bool() & ~batch["special_tokens_mask"][0]
    blank = [tokenizer.decode(i).strip() for i in batch["input_ids"][0, own]]
    assert not any(blank), blank
    assert torch.equal(Inputs.from_batch(batch).units[0] >= 0, own)
