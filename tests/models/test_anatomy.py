"""Parts are named right for every architecture and setting, and what is not known is refused.

That they are right is tested by computing the model from them: `DecompX` adds up to the logit, and
compares its own forward with the model's.
"""

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertForTokenClassification,
    BertLMHeadModel,
    RobertaForTokenClassification,
)

from bertx.attribution import (
    AttnLRP,
    DeepLift,
    GradientXInput,
    IntegratedGradients,
    Occlusion,
    SmoothGrad,
)
from bertx.attribution.decomposition import DecompX
from bertx.attribution.zeroing import ValueZeroing
from bertx.models.anatomy import UnsupportedArchitecture, anatomy, embedding_block, readout
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import _SHAPE, ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull"]
VARIANTS = [
    ("electra", {"embedding_size": 16}),
    ("electra", {"hidden_act": "relu"}),
    ("albert", {"num_hidden_groups": 3}),
    ("albert", {"num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2}),
    ("albert", {"hidden_act": "gelu"}),
    ("deberta-v2", {"share_att_key": False}),
    ("deberta-v2", {"relative_attention": False, "position_biased_input": True}),
    ("deberta-v2", {"pooler_hidden_act": "tanh"}),
    ("deberta-v2", {"embedding_size": 8}),
    ("deberta-v2", {"type_vocab_size": 2}),
    ("distilbert", {"activation": "relu"}),
    ("distilbert", {"sinusoidal_pos_embds": True}),
    ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    ("modernbert", {"classifier_pooling": "mean", "classifier_bias": True}),
    ("modernbert", {"hidden_activation": "silu", "classifier_activation": "tanh"}),
    ("bert", {"hidden_act": "gelu_new", "layer_norm_eps": 0.1}),
    ("roberta", {"num_attention_heads": 4, "intermediate_size": 8}),
    ("mpnet", {"hidden_act": "gelu_new", "num_attention_heads": 4}),
]


def variant(kind, config):
    """A tiny model in which settings of the tiny shape may be replaced too."""
    model = tiny_model(kind)
    known = model.config.to_dict() | config
    torch.manual_seed(0)
    changed = type(model)(type(model.config).from_dict(known))
    for parameter in changed.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return changed.double().eval()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_part_is_in_the_model_and_runs_once_a_layer(kind, tokenizer):
    model = tiny_model(kind)
    parts, inside = anatomy(model, "Test"), set(model.modules())
    assert len(parts.layers) == 3
    assert all(part in inside for part in parts.modules())
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    trace = Trace(model, inputs, None, Needs.ACTIVATIONS)
    shared = 3 if kind == "albert" else 1
    for layer in parts.layers:
        assert len(trace.record[layer.down]) == len(trace.record[layer.mix]) == shared
    _, logits = trace.record[parts.head[-1].linear][0]
    assert torch.equal(logits, trace.logits)


@pytest.mark.parametrize(
    "kind", [k for k in ARCHITECTURES if k not in ("modernbert", "deberta-v2")]
)
def test_queries_are_not_taken_for_keys(kind, tokenizer):
    """A bias of the keys moves all scores of a query alike: attention does not see it."""
    model = tiny_model(kind)
    inputs = Inputs.from_batch(tiny_batch(tokenizer, TEXTS))
    before = Trace(model, inputs, None, Needs.NOTHING).logits
    for layer in anatomy(model, "Test").layers:
        layer.key.bias.data.add_(torch.randn(16))
    torch.testing.assert_close(Trace(model, inputs, None, Needs.NOTHING).logits, before)
    for layer in anatomy(model, "Test").layers:
        layer.query.bias.data.add_(torch.randn(16))
    after = Trace(model, inputs, None, Needs.NOTHING).logits
    assert (after - before).abs().max() > 1e-3


def test_queries_and_keys_of_deberta_have_their_names():
    model = tiny_model("deberta-v2")
    for layer, block in zip(
        anatomy(model, "Test").layers, model.base_model.encoder.layer, strict=True
    ):
        core = block.attention.self
        assert (layer.query, layer.key) == (core.query_proj, core.key_proj)


@pytest.mark.parametrize(("kind", "config"), VARIANTS, ids=str)
def test_settings_of_the_architectures_are_followed(kind, config, tokenizer):
    model = variant(kind, config)
    trace = Trace(model, Inputs.from_batch(tiny_batch(tokenizer, TEXTS)), None, Needs.ATTENTION)
    DecompX().check(model)
    every = DecompX().every_class(trace)
    assert (every.sum(-1) - trace.logits).abs().max() < 1e-11 * trace.logits.abs().max()
    torch.testing.assert_close(ValueZeroing()(trace).sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_embedding_block_is_the_first_hidden_state(kind, tokenizer):
    model = tiny_model(kind)
    block, found = embedding_block(model, "Test"), []
    handle = block.register_forward_hook(lambda _module, _args, output: found.append(output))
    batch = tiny_batch(tokenizer, TEXTS)
    named = {name: batch[name] for name in ("input_ids", "attention_mask")}
    hidden = model(**named, output_hidden_states=True).hidden_states
    handle.remove()
    projection = anatomy(model, "Test").projection
    first = found[0] if projection is None else projection(found[0])
    torch.testing.assert_close(hidden[0], first)


def test_calls_of_shared_layers_are_numbered():
    model = variant("albert", {"num_hidden_layers": 5, "num_hidden_groups": 2})
    assert [layer.call for layer in anatomy(model, "Test").layers] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("kind", "config", "named"),
    [
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("roberta", {"is_decoder": True, "add_cross_attention": True}, "is_decoder"),
        ("electra", {"chunk_size_feed_forward": 4}, "chunk_size_feed_forward"),
        ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size"),
    ],
)
def test_a_setting_that_is_not_followed_is_refused(kind, config, named):
    model = tiny_model(kind, **config)
    for method in (DecompX(), ValueZeroing()):
        with pytest.raises(UnsupportedArchitecture, match=f"{type(method).__name__} .*{named}"):
            method.check(model)


@pytest.mark.parametrize(
    "kind",
    [
        BertForMultipleChoice,
        BertForTokenClassification,
        BertLMHeadModel,
        RobertaForTokenClassification,
    ],
)
def test_a_model_that_classifies_no_texts_is_refused(kind):
    model = kind(kind.config_class(**_SHAPE, is_decoder=kind is BertLMHeadModel))
    with pytest.raises(UnsupportedArchitecture, match=r"Test .*sequence classifiers"):
        readout(model, "Test")


def test_a_part_that_was_wrapped_or_quantized_is_refused():
    class Adapter(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.weight, self.bias = inner, inner.weight, inner.bias

        def forward(self, x):
            return self.inner(x) * 2

    model = tiny_model()
    block = model.base_model.encoder.layer[1]
    whole = block.output.dense
    block.output.dense = Adapter(whole)
    with pytest.raises(UnsupportedArchitecture, match="not wrapped"):
        anatomy(model, "Test")
    block.output.dense = whole
    anatomy(model, "Test")
    whole.weight = nn.Parameter(whole.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedArchitecture, match="not wrapped"):
        anatomy(model, "Test")


@pytest.mark.parametrize(
    "method", [GradientXInput, AttnLRP, IntegratedGradients, SmoothGrad, DeepLift, Occlusion]
)
def test_models_without_gradients_are_refused_by_what_needs_them(method):
    whole = tiny_model(dtype=torch.float32)
    quantized = torch.ao.quantization.quantize_dynamic(whole, {nn.Linear})
    with torch.inference_mode():
        unfit = tiny_model()
    for model in (quantized, unfit):
        if method is Occlusion:
            method().check(model)
        else:
            with pytest.raises(UnsupportedArchitecture, match="models with gradients"):
                method().check(model)


def test_a_linear_map_with_a_forward_of_its_own_is_refused():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = tiny_model()
    model.base_model.encoder.layer[1].output.dense.__class__ = Doubled
    with pytest.raises(UnsupportedArchitecture, match="not wrapped"):
        anatomy(model, "Test")


def test_a_part_that_is_not_there_is_refused():
    model = tiny_model()
    model.base_model.pooler = None
    with pytest.raises(UnsupportedArchitecture, match=r"Test does not support .*'bert'"):
        anatomy(model, "Test")


def test_a_subclass_of_a_classifier_is_known():
    model = tiny_model()
    mine = type("Mine", (type(model),), {})(BertConfig(**_SHAPE))
    assert readout(mine, "Test") == "first" and len(anatomy(mine, "Test").layers) == 3
