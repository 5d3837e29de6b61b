"""Lengths of texts in tokens, and the padding that they save."""

from itertools import islice

import pytest
import torch

from bertx.data.lengths import token_counts
from bertx.data.sampling import LengthBucketSampler
from tests.tokenizer_kinds import KINDS

TEXTS = ["the film was unbelievable, never dull", "", "a cafe\u0301 😀😀  don't\n", "film " * 60]


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_counted_as_texts_are(kind):
    tokenizer = KINDS[kind]()
    found = token_counts(TEXTS, tokenizer, 40)
    exact = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert found[1] == 2 and found[3] == 40
    for count, real, text in zip(found, exact, TEXTS, strict=True):
        apart = 0 if kind == "WordPiece" else len(text.split())
        assert abs(count - min(real, 40)) <= apart, text


def test_batches_of_sst2_have_little_padding(data_folder, minilm):
    with (data_folder / "sst2" / "train.tsv").open(encoding="utf-8") as file:
        texts = [line.rpartition("\t")[0] for line in islice(file, 1, 5001)]
    exact = torch.tensor([len(ids) for ids in minilm(texts)["input_ids"]])
    counts = token_counts(texts, minilm, 128)
    assert counts == exact.tolist()
    order = torch.tensor([*LengthBucketSampler(counts, 32)])
    padded = sum(len(rows) * int(exact[rows].max()) for rows in order.split(32))
    assert 1 - int(exact.sum()) / padded < 0.08
