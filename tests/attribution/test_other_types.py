"""Model types of which bertx knows nothing: what can be followed is, and the rest is refused."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

import bertx
import bertx.attribution
from bertx.attribution import (
    CPLRP,
    AttentionRollout,
    AttnLRP,
    DecompX,
    GenericAttention,
    GradientXInput,
    LayerwiseAttentionTracing,
    Occlusion,
)
from bertx.models.anatomy import UnsupportedArchitecture, embedding_block
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.oracles.detached import relevance
from tests.tiny import VOCABULARY, tiny_batch

SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "num_labels": 3,
    "hidden_act": "gelu",
    **{"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "mask_token_id": 4},
}
KINDS = {
    "convbert": {"embedding_size": 16, "head_ratio": 2, "num_groups": 1},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "eurobert": {"num_key_value_heads": 2, "hidden_act": "silu"},
    "llama": {"num_key_value_heads": 2, "hidden_act": "silu"},
    "megatron-bert": {},
    "mobilebert": {
        "embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16,
        "num_feedforward_networks": 1,
    },
    "nomic_bert": {},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta-prelayernorm": {},
    "roformer": {},
    "xmod": {"languages": ["en"], "default_language": "en"},
}  # fmt: skip
TEXTS = ["the film was not very good", "dull"]
ROUNDED = {"deberta", "eurobert", "llama"}
"""Their norms are computed in float32, whatever the model's precision."""


def tiny(kind, **settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SHAPE | KINDS.get(kind, {}) | settings)
    model = AutoModelForSequenceClassification.from_config(config).double().eval()
    for name, weight in model.named_parameters():
        scale = 0.2 if weight.dim() == 1 else 0.3
        weight.data = torch.randn_like(weight) * scale + ("norm" in name.lower() and scale == 0.2)
    return model


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return tiny(request.param)


@pytest.fixture(scope="module")
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS), "word", tokenizer)


@pytest.mark.parametrize("method", [AttnLRP(), CPLRP()], ids=["attnlrp", "cplrp"])
def test_relevance_is_that_of_rules_written_into_the_forward(model, inputs, method):
    method.check(model)
    scores = method(Trace(model, inputs, None, method.needs))
    arguments = inputs.arguments(model) | {"attention_mask": inputs.attention_mask}
    model.set_attn_implementation("eager")
    model.requires_grad_(False)
    expected = relevance(model, embedding_block(model, ""), arguments, isinstance(method, CPLRP))
    expected = expected.masked_fill(inputs.attention_mask == 0, 0)
    least = 1e-5 if model.config.model_type in ROUNDED else 1e-10
    assert scores.abs().amax() > 1e-3
    torch.testing.assert_close(scores, expected, rtol=0, atol=least * float(expected.abs().max()))


def test_methods_that_need_no_parts_by_name_explain_it(model, inputs):
    refused = set()
    for name in bertx.attribution.__all__:
        if name in ("Attribution", "ModifiedGradient"):
            continue
        settings = {"steps": 2} if name == "IntegratedGradients" else {}
        settings |= {"samples": 20} if name in ("KernelShap", "Lime", "SmoothGrad") else {}
        method = getattr(bertx.attribution, name)(**settings)
        try:
            method.check(model)
        except UnsupportedArchitecture:
            refused.add(name)
            continue
        scores = method(Trace(model, inputs, None, method.needs))
        assert scores.isfinite().all() and scores.abs().max() > 0, name
    from_start = {"AttentionRollout", "GenericAttention", "LayerwiseAttentionTracing"}
    reads_other = model.config.model_type in ("llama", "eurobert")  # the last, or every logit
    refused -= from_start if reads_other else set()
    by_maps = {"TextbookLRP"} if model.config.model_type == "convbert" else set()  # convolutions
    assert refused == {"DecompX", "ValueZeroing", "LRP"} | by_maps


def test_methods_that_see_attention_weights_take_those_of_the_model(inputs):
    for kind in ("deberta", "roformer", "nomic_bert"):
        model = tiny(kind)
        for method in (AttentionRollout(), GenericAttention(), LayerwiseAttentionTracing()):
            method.check(model)
        trace = Trace(model, inputs, None, Needs.ATTENTION)
        model.set_attn_implementation("eager")
        expected = model(**inputs.arguments(model), output_attentions=True).attentions
        assert len(trace.attention) == 2
        for weights, told in zip(trace.attention, expected, strict=True):
            torch.testing.assert_close(weights, told)


@pytest.mark.parametrize("kind", ["eurobert", "llama"])
def test_texts_are_explained_and_judged_without_an_embedding_block(kind, tokenizer):
    methods = {"gi": GradientXInput(), "attnlrp": AttnLRP(), "occlusion": Occlusion()}
    model = tiny(kind)
    found = bertx.explain(model, tokenizer, TEXTS, methods)
    assert [one.error for one in found] == [None, None]
    encoded = tokenizer(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
    states = model.get_input_embeddings()(encoded["input_ids"]).detach().requires_grad_()
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: states)
    (slope,) = torch.autograd.grad(model(**encoded).logits.max(), states)
    handle.remove()
    expected = (states * slope).sum(-1)[0, 1:-1]
    torch.testing.assert_close(found[0].scores["gi"], expected.tolist(), rtol=1e-4, atol=1e-9)
    assert bertx.judge(model, tokenizer, TEXTS, methods, progress=False).markdown()


@pytest.mark.parametrize(
    ("kind", "method", "reason"),
    [
        ("fnet", AttentionRollout(), "attention is a softmax over all tokens"),
        ("gemma2", AttnLRP(), "its logits change when attention weights are computed"),
        ("llama", LayerwiseAttentionTracing(), "this one reads tokens"),
        ("big_bird", CPLRP(), "operations without a relevance rule: Pow"),
        ("ibert", GradientXInput(), r"expected embeddings \(B, T, D\), got tuple"),
        ("bart", GradientXInput(), "only an encoder or decoder"),
        ("xlnet", Occlusion(), r"into one tensor \(B, T, D\)"),
        ("nomic_bert", DecompX(), "sequence classifiers of the types bert, roberta"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_runs(kind, method, reason):
    settings = {
        "bart": {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2},
        "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "attn_implementation": "eager"},
        "big_bird": {"attention_type": "original_full", "hidden_act": "gelu_new"},
        "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    }.get(kind, {})
    if kind == "xlnet":
        from transformers import XLNetConfig, XLNetForSequenceClassification

        model = XLNetForSequenceClassification(XLNetConfig(vocab_size=60, **settings)).eval()
    else:
        model = tiny(kind, **settings)
    with pytest.raises(UnsupportedArchitecture, match=reason) as refusal:
        method.check(model)
    named = f"{type(method).__name__} does not support {type(model).__name__}"
    assert str(refusal.value).startswith(named)
