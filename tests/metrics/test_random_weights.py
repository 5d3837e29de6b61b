"""Weights of each part, the distribution of their draws, and that all are restored afterwards."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from bertx.metrics import parts, randomized, redrawn
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
BELOW = ("embedding", "relative_attention_bias", "encoder.LayerNorm")
"""In the names of weights that layers read: the last is DeBERTa's, of its relative positions."""


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS))


def answer(model, inputs):
    """Hidden states (L + 1) and logits, without padding."""
    kept = inputs.attention_mask.bool()
    with torch.no_grad():
        output = model(**inputs.arguments(model), output_hidden_states=True)
    return [state[kept] for state in output.hidden_states], output.logits


def names_of(model, part):
    own = {id(parameter) for parameter in part.parameters}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}


def bits(model):
    """A copy of the state dict."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_weight_is_in_one_part(kind):
    model = tiny_model(kind)
    result = parts(model)
    layers = ["layers 1, 2, 3"] if kind == "albert" else ["layer 3", "layer 2", "layer 1"]
    assert [part.name for part in result] == ["classifier", *layers, "embeddings"]
    together = [id(own) for part in result for own in part.parameters]
    assert sorted(together) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_parts_are_what_their_names_say(kind):
    model = tiny_model(kind)
    head, *layers, embeddings = (names_of(model, part) for part in parts(model))
    places = ["_groups.0."] if kind == "albert" else [".2.", ".1.", ".0."]
    for place, layer in zip(places, layers, strict=True):
        assert layer and all(
            f"layer{place}" in n or f"layers{place}" in n or place in n for n in layer
        )
    assert embeddings and all(any(word in name for word in BELOW) for name in embeddings)
    assert any(name.startswith("classifier") for name in head)
    assert not any(any(word in name for word in BELOW) for name in head)


def test_layers_that_share_weights_are_one_part():
    model = tiny_model("albert", num_hidden_groups=2, inner_group_num=2)  # A B A B C D
    names = [part.name for part in parts(model)]
    assert names == ["classifier", "layer 6", "layer 5", "layers 2, 4", "layers 1, 3", "embeddings"]


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_part_changes_the_states_above_it_and_none_below(kind, inputs):
    model = tiny_model(kind)
    weights, (states, logits) = redrawn(model), answer(model, inputs)
    lowest = {"classifier": 4, "embeddings": 0, "layers 1, 2, 3": 1}
    for part in parts(model):
        with randomized(model, [part], weights):
            others, moved = answer(model, inputs)
        first = lowest.get(part.name) if part.name in lowest else int(part.name[-1])
        if kind == "modernbert" and part.name == "classifier":
            first = 3  # the norm after the last layer belongs to the head
        equal = [torch.equal(a, b) for a, b in zip(states, others, strict=True)]
        assert equal == [depth < first for depth in range(4)]
        assert (logits - moved).abs().max() > 1e-3


@pytest.mark.parametrize("loaded", [False, True], ids=["built", "loaded"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_weights_are_drawn_as_the_model_draws_them_before_training(kind, loaded, tmp_path):
    """Also for loaded weights, which transformers does not initialize."""
    model = tiny_model(kind, labels=200)
    if loaded:
        model.save_pretrained(tmp_path)
        model = type(model).from_pretrained(tmp_path, dtype=torch.float64)
    weights, fresh = redrawn(model), type(model)(model.config).double()
    assert set(weights) == set(model.parameters())
    for (name, own), new in zip(model.named_parameters(), fresh.parameters(), strict=True):
        drawn, new = weights[own], new.detach()
        assert drawn.shape == own.shape and drawn.dtype == own.dtype and not drawn.requires_grad
        assert not torch.equal(drawn, own)
        if new.dim() == 1:
            assert torch.equal(drawn, new), name  # norms at 1, biases at 0
        else:
            assert not torch.equal(drawn, new)
            assert torch.equal(drawn.any(1), new.any(1)), name  # the row of [PAD]
            tolerance = 6 / (2 * new.numel()) ** 0.5
            assert float(drawn.std() / new.std()) == pytest.approx(1, abs=tolerance), name


def test_all_parts_replaced_equal_a_model_with_these_weights(inputs):
    for kind in ARCHITECTURES:
        model = tiny_model(kind)
        weights = redrawn(model, seed=3)
        other = tiny_model(kind)
        for (_, own), mine in zip(model.named_parameters(), other.parameters(), strict=True):
            mine.data.copy_(weights[own])
        with randomized(model, parts(model), weights):
            assert torch.equal(answer(model, inputs)[1], answer(other, inputs)[1])


def test_the_seed_alone_decides():
    model, again, other = tiny_model(), tiny_model(), tiny_model()
    torch.rand(7)
    drawn = [redrawn(own, seed) for own, seed in ((model, 0), (again, 0), (other, 1))]
    names = [name for name, own in model.named_parameters() if own.dim() > 1]
    for name in names:
        first, same_seed, another = (
            weights[own.get_parameter(name)]
            for weights, own in zip(drawn, (model, again, other), strict=True)
        )
        assert torch.equal(first, same_seed) and not torch.equal(first, another)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_everything_is_restored_also_if_the_body_raises(kind, mode):
    model = tiny_model(kind).train()
    model.get_input_embeddings().weight.requires_grad_(False)
    before, objects = bits(model), [*map(id, model.parameters()), *map(id, model.buffers())]
    needed = [own.requires_grad for own in model.parameters()]
    buffers = [own.clone() for own in model.buffers()]
    streams = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with mode():
        weights = redrawn(model)
        with pytest.raises(KeyError), randomized(model, parts(model), weights):
            assert not any(
                torch.equal(a, b)
                for a, b in zip(before.values(), bits(model).values(), strict=True)
            )
            assert [own.requires_grad for own in model.parameters()] == needed
            assert not any(own.is_inference() for own in model.parameters())
            raise KeyError
    assert same(bits(model), before)
    assert [*map(id, model.parameters()), *map(id, model.buffers())] == objects
    assert [own.requires_grad for own in model.parameters()] == needed
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == streams[1:]
    assert model.training


def test_each_module_is_initialized_once_by_the_innermost_model_that_it_is_of():
    model, seen = tiny_model(), []

    def noting(owner, own):
        def initialize(module):
            seen.append((owner, module))
            own(module)

        return initialize

    for owner in (model, model.bert):
        owner._init_weights = noting(owner, owner._init_weights)
    redrawn(model)
    inner = [module for owner, module in seen if owner is model.bert]
    assert sorted(map(id, inner)) == sorted(map(id, model.bert.modules()))
    outer = [module for owner, module in seen if owner is model]
    assert outer == [model.dropout, model.classifier, model]  # from the inside out


def test_a_draw_that_raises_leaves_the_model_as_it_was():
    model = tiny_model()
    before, objects = bits(model), [*map(id, model.parameters())]

    def broken(_module):
        raise KeyError

    model._init_weights = broken
    with pytest.raises(KeyError):
        redrawn(model)
    assert same(bits(model), before) and [*map(id, model.parameters())] == objects


def test_a_training_step_is_bit_identical_with_and_without(inputs):
    trained = []
    for randomize in (False, True):
        model = tiny_model(dtype=torch.float32).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(5)
        for _ in range(2):
            if randomize:
                with randomized(model, parts(model), redrawn(model)):
                    trace = Trace(model, inputs, None, Needs.GRADIENT)
                    assert trace.gradient.isfinite().all()
            loss = model(**inputs.arguments(model), labels=torch.tensor([0, 1, 2])).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        trained.append(bits(model))
    assert same(*trained)


def test_parts_in_parts_are_undone_in_turn(inputs):
    model = tiny_model()
    weights, result = redrawn(model), parts(model)
    logits = answer(model, inputs)[1]
    with randomized(model, result[:1], weights):
        one = answer(model, inputs)[1]
        with randomized(model, result[1:2], weights):
            both = answer(model, inputs)[1]
        assert torch.equal(answer(model, inputs)[1], one)
    assert torch.equal(answer(model, inputs)[1], logits)
    with randomized(model, result[:2], weights):
        assert torch.equal(answer(model, inputs)[1], both)
    assert not torch.equal(one, both) and not torch.equal(one, logits)


def test_a_weight_in_two_places_stays_one(inputs):
    model = tiny_model()
    layers = model.bert.encoder.layer
    layers[2].output.dense.weight = layers[2].attention.output.dense.weight = nn.Parameter(
        torch.randn(16, 16).double()
    )
    layers[2].intermediate.dense = nn.Linear(16, 16).double()
    with randomized(model, parts(model), redrawn(model)):
        assert layers[2].output.dense.weight is layers[2].attention.output.dense.weight


def test_weights_that_cannot_be_drawn_are_named():
    model = tiny_model()
    model.classifier.temperature = nn.Parameter(torch.ones(2).double())
    with pytest.raises(UnsupportedArchitecture, match=r"leaves out classifier\.temperature"):
        redrawn(model)
    model.config.model_type = "unheard-of"
    with pytest.raises(UnsupportedArchitecture, match="Model randomization does not support"):
        parts(model)
