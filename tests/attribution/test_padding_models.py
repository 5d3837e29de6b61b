"""Models that pad their texts themselves, to whole windows or blocks."""

import pytest
import torch
from torch.nn.functional import pad
from transformers import AutoModelForSequenceClassification, BigBirdConfig, LongformerConfig

import bertx
from bertx.attribution import (
    GradientSensitivity,
    GradientXInput,
    IntegratedGradients,
    Occlusion,
    SmoothGrad,
)
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import VOCABULARY, tiny_batch

SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "num_labels": 3,
    "initializer_range": 0.5,
}
BLOCKS = {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1}
CONFIGS = {
    "longformer": lambda: LongformerConfig(**SHAPE, attention_window=16),
    "big_bird": lambda: BigBirdConfig(**SHAPE, **BLOCKS),
}
PADDED = {"longformer": 16, "big_bird": 4}  # to a multiple of it
_FILL = {"special_tokens_mask": 1, "word_ids": -1}
WORDS = "the film was not very good and the plot was dull "
METHODS = {
    "gi": GradientXInput(),
    "gs": GradientSensitivity(),
    "ig": IntegratedGradients(steps=3),
    "smooth": SmoothGrad(samples=2),
    "occlusion": Occlusion(),
}


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(CONFIGS[request.param]()).double().eval()


def test_scores_are_those_of_texts_that_need_no_padding(model, tokenizer):
    batch = tiny_batch(tokenizer, [WORDS * 5, WORDS * 4])
    assert batch["input_ids"].shape[1] % 4 != 0
    filled = {k: v for k, v in batch.items() if isinstance(v, torch.Tensor) and v.dim() == 2}
    missing = -batch["input_ids"].shape[1] % PADDED[model.config.model_type]
    filled = {k: pad(v, (0, missing), value=_FILL.get(k, 0)) for k, v in filled.items()}
    own, whole = (Inputs.from_batch(b, "word", tokenizer) for b in (batch, filled))
    for name, method in METHODS.items():
        scores, expected = (method(Trace(model, i, None, Needs.GRADIENT)) for i in (own, whole))
        assert scores.shape == own.input_ids.shape and scores.abs().max() > 0, name
        torch.testing.assert_close(scores, expected[:, : scores.shape[1]], rtol=1e-9, atol=1e-12)


def test_explained_in_one_call(model, tokenizer):
    found = bertx.explain(model, tokenizer, [WORDS * 5, "dull"], METHODS)
    assert [one.error for one in found] == [None, None]
    assert len(found[0].scores["ig"]) == 11 * 5 and len(found[1].scores["gi"]) == 1
