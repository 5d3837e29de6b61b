"""Model types that are made of the layers of another one are explained as that one."""

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    CamembertConfig,
    Data2VecTextConfig,
    ErnieConfig,
)

import bertx.attribution
from bertx.attribution import Attribution, ModifiedGradient
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from bertx.trace.rules import ATTN_LRP
from tests.tiny import tiny_batch, tiny_model

KIN = {
    "camembert": ("roberta", CamembertConfig),
    "data2vec-text": ("roberta", Data2VecTextConfig),
    "ernie": ("bert", ErnieConfig),
}
NAMES = [name for name in bertx.attribution.__all__ if name != Attribution.__name__]


@pytest.fixture(scope="module", params=KIN)
def traces(request, tokenizer):
    """The same texts in both, with the same weights."""
    parent, config = KIN[request.param]
    known = tiny_model(parent)
    shape = known.config.to_dict()
    kin = AutoModelForSequenceClassification.from_config(
        config(**{key: value for key, value in shape.items() if key != "model_type"})
    )
    prefixes = known.base_model_prefix, kin.base_model_prefix
    kin.load_state_dict(
        {name.replace(*prefixes, 1): value for name, value in known.state_dict().items()}
    )
    kin = kin.double().eval()
    batch = tiny_batch(tokenizer, ["the film was not very good", "dull"])
    inputs = Inputs.from_batch(batch, "word", tokenizer)
    methods = {n: getattr(bertx.attribution, n) for n in NAMES}
    made = {n: m(ATTN_LRP) if m is ModifiedGradient else m() for n, m in methods.items()}
    needs = Needs.of(*made.values())
    return made, *(Trace(model, inputs, None, needs) for model in (known, kin))


@pytest.mark.parametrize("name", NAMES)
def test_a_kin_is_explained_as_its_parent(traces, name):
    methods, known, kin = traces
    methods[name].check(kin.model)
    torch.testing.assert_close(methods[name](kin), methods[name](known), rtol=0, atol=0)
