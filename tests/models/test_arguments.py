"""What people give for a model, its tokenizer and texts is taken, or refused with a way out."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn
from transformers import BertForSequenceClassification, pipeline

import bertx
from bertx.attribution import GradientXInput
from bertx.errors import InputError
from tests.tiny import tiny_model, tiny_tokenizer

TEXTS = ["the film was not very good", "dull"]
MODEL, TOKENIZER = tiny_model(), tiny_tokenizer()
PIPELINE = pipeline("text-classification", MODEL, tokenizer=TOKENIZER)


def explained(model=MODEL, tokenizer=TOKENIZER, texts=TEXTS):
    return bertx.explain(model, tokenizer, texts, GradientXInput())


def judged(model=MODEL, tokenizer=TOKENIZER, texts=TEXTS):
    return bertx.judge(model, tokenizer, texts, GradientXInput())


class Held(nn.Module):
    """As people keep a model in a module, or behind a shell."""

    def __init__(self):
        super().__init__()
        self.inner = nn.DataParallel(MODEL)


@pytest.mark.parametrize(
    ("model", "got", "way_out"),
    [
        (PIPELINE, "TextClassificationPipeline", "Give its .model and its tokenizer"),
        ("runs/hf", "the name 'runs/hf'", "from_pretrained('runs/hf')"),
        (Path("best.ckpt"), "the name 'best.ckpt'", "load_from_checkpoint('best.ckpt')"),
        (None, "None", "from_pretrained(NAME)"),
        (MODEL.state_dict(), "OrderedDict", "from_pretrained(NAME)"),
        (BertForSequenceClassification, "the class BertForSeq", "Give an instance"),
        (TOKENIZER, "the tokenizer BertTokenizer", "Give its model first"),
    ],
)
def test_what_is_no_model(model, got, way_out):
    for ask in explained, judged:
        with pytest.raises(InputError, match=f"but got {re.escape(got)}.*{re.escape(way_out)}"):
            ask(model)


@pytest.mark.parametrize(
    ("tokenizer", "got", "way_out"),
    [
        (None, "None", "AutoTokenizer.from_pretrained(NAME)"),
        (PIPELINE, "TextClassificationPipeline", "Give its .tokenizer"),
        (TOKENIZER.backend_tokenizer, "Tokenizer", "PreTrainedTokenizerFast(tokenizer_object=...)"),
    ],
)
def test_what_is_no_tokenizer(tokenizer, got, way_out):
    for ask in explained, judged:
        with pytest.raises(InputError, match=f"but got {re.escape(got)}.*{re.escape(way_out)}"):
            ask(tokenizer=tokenizer)


def test_model_and_tokenizer_that_are_swapped():
    for ask in explained, judged:
        with pytest.raises(InputError, match="They are swapped: give the model first"):
            ask(TOKENIZER, MODEL)


def test_a_tokenizer_by_its_name_and_a_model_behind_shells(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    assert explained(Held(), str(tmp_path)) == explained()
    found, expected = judged(Held(), tmp_path), judged()
    assert [value.value for value in found.values] == [value.value for value in expected.values]


@pytest.mark.parametrize("texts", [tuple, iter, np.array, pd.Series, pd.Index])
def test_texts_in_any_form(texts):
    assert explained(texts=texts(TEXTS)) == explained()
    assert judged(texts=texts(TEXTS)).skipped == {}


@pytest.mark.parametrize("texts", [None, 3, {"text": TEXTS}, pd.DataFrame({"text": TEXTS})])
def test_what_is_no_text(texts):
    for ask in explained, judged:
        with pytest.raises(InputError, match=f"one or more texts, got .*{type(texts).__name__}"):
            ask(texts=texts)
