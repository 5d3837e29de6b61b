"""The last layer for one token: the same logits and gradients; whole where others may look."""

import pytest
import torch
from torch import nn

from bertx.models.inputs import Inputs
from bertx.models.last_layer import first_token_alone
from bertx.perturb import Perturber
from tests.tiny import ARCHITECTURES, tiny_batch, tiny_model

TEXTS = ["the film was great", "a dull bad plot , but never a really bad film"]


@pytest.fixture
def inputs(tokenizer):
    return Inputs.from_batch(tiny_batch(tokenizer, TEXTS))


def tokens_in_maps(model, inputs):
    """The tokens that each linear map sees in a forward, and the gradients of the logits."""
    seen = []

    def linear(*args):
        seen.append(args[0].shape[1] if args[0].dim() == 3 else 1)
        return plain(*args)

    plain = nn.functional.linear
    words = model.get_input_embeddings()(inputs.input_ids).detach().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", linear)
        logits = model(inputs_embeds=words, attention_mask=inputs.attention_mask).logits
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), words)
    return seen, logits.detach(), gradient


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_and_gradients_are_the_same_from_fewer_tokens(kind, inputs):
    model = tiny_model(kind)
    seen, *expected = tokens_in_maps(model, inputs)
    with first_token_alone(model):
        fewer, *found = tokens_in_maps(model, inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    assert len(fewer) == len(seen)
    less = [a for a, b in zip(seen, fewer, strict=True) if a != b]
    assert len(less) == (0 if kind == "albert" else 3)  # out of attention, up, down
    assert tokens_in_maps(model, inputs)[0] == seen


def spied(model):
    model.bert.encoder.layer[-1].register_forward_hook(lambda *_: None)


def custom_code(model):
    class Own(type(model.bert.pooler)):
        pass

    model.bert.pooler.__class__ = Own


def wrapped(model):
    model.bert.encoder.layer[-1].output.dense = nn.Sequential(
        model.bert.encoder.layer[-1].output.dense
    )


@pytest.mark.parametrize("change", [spied, custom_code, wrapped])
def test_models_that_may_read_other_tokens_run_whole(change, inputs):
    model = tiny_model()
    change(model)
    seen, *_ = tokens_in_maps(model, inputs)
    with first_token_alone(model):
        assert tokens_in_maps(model, inputs)[0] == seen


def test_a_head_that_reads_the_mean_gets_all_tokens(inputs):
    model = tiny_model("modernbert", classifier_pooling="mean")
    seen, *_ = tokens_in_maps(model, inputs)
    with first_token_alone(model):
        assert tokens_in_maps(model, inputs)[0] == seen


def test_the_engine_asks_with_it(inputs):
    model, tokens = tiny_model(), []
    plain = nn.functional.linear
    kept = torch.ones(2, 1, int(inputs.unit_counts.max()), dtype=torch.bool)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", lambda x, *w: tokens.append(x.shape) or plain(x, *w))
        Perturber(model, mask_token_id=4, pad_token_id=0)(inputs, kept)
    assert sum(shape[1] == 1 for shape in tokens if len(shape) == 3) == 3
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_model_keeps_all_tokens(compiled):
    model = tiny_model()
    if compiled:
        model.bert.encoder.compile(backend="eager")
    with first_token_alone(model):
        hooks = [module for module in model.modules() if module._forward_pre_hooks]
    assert len(hooks) == (0 if compiled else 2)
