"""Value zeroing against the model's own layers, run again with one value vector zeroed."""

import pytest
import torch

from bertx.attribution.zeroing import ValueZeroing
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.attribution.test_attention import READERS, TEXTS, close, ids_of, model_of
from tests.oracles import attention as oracle
from tests.tiny import tiny_batch, tiny_model


def trace_of(model, tokenizer, texts=TEXTS):
    return Trace(model, Inputs.from_batch(tiny_batch(tokenizer, texts)), None, Needs.ATTENTION)


@pytest.mark.parametrize(("kind", "pooling"), READERS)
def test_it_equals_the_layers_run_again(kind, pooling, tokenizer):
    model = model_of(kind, pooling)
    trace = trace_of(model, tokenizer)
    rollout, last = ValueZeroing()(trace), ValueZeroing("last")(trace)
    for row, text in enumerate(TEXTS):
        maps = oracle.value_zeroing(model, ids_of(tokenizer, text))
        expected = {
            "rollout": oracle.aggregate(maps, pooling),
            "last": oracle.aggregate(maps[-1:], pooling),
        }
        close(rollout[row], expected["rollout"])
        close(last[row], expected["last"])


@pytest.mark.parametrize("kind", ["bert", "albert", "modernbert"])  # each kind of layer
@pytest.mark.parametrize("budget", [1, 40, 10**6])
def test_scores_do_not_depend_on_chunks_padding_or_order(kind, budget, tokenizer):
    model = tiny_model(kind)
    texts = [*TEXTS, "zzz in it", "the film was not very bad"]
    together = ValueZeroing(budget=budget)(trace_of(model, tokenizer, texts))
    backwards = ValueZeroing(budget=budget)(trace_of(model, tokenizer, texts[::-1])).flip(0)
    for row, text in enumerate(texts):
        alone = ValueZeroing()(trace_of(model, tokenizer, [text]))[0]
        for batch in (together, backwards):
            torch.testing.assert_close(batch[row, : len(alone)], alone, rtol=0, atol=1e-12)


def test_a_token_that_nothing_changes_stands_for_itself(tokenizer):
    """All values 0: no value can be taken away, and the explanation is the token read."""
    model = tiny_model()
    for block in model.base_model.encoder.layer:
        block.attention.self.value.weight.data.zero_()
        block.attention.self.value.bias.data.zero_()
    scores = ValueZeroing()(trace_of(model, tokenizer))
    assert (scores[:, 0] == 1).all() and (scores[:, 1:] == 0).all()


def test_small_distances_count_in_single_precision_too(tokenizer):
    scores = []
    for dtype in (torch.float64, torch.float32):
        model = tiny_model(dtype=dtype)
        for block in model.base_model.encoder.layer:
            for parameter in block.attention.self.value.parameters():
                parameter.data.mul_(1e-4)
        scores.append(ValueZeroing("last")(trace_of(model, tokenizer)))
    torch.testing.assert_close(scores[1].double(), scores[0], rtol=0, atol=1e-2)


def test_no_chunk_is_larger_than_the_budget(tokenizer):
    sizes = []
    model = tiny_model()
    trace = trace_of(model, tokenizer, ["the film was good " * 5] * 6)
    for block in model.base_model.encoder.layer:
        block.intermediate.intermediate_act_fn.register_forward_pre_hook(
            lambda _module, args: sizes.append(args[0][..., 0].numel())
        )
    ValueZeroing(budget=100)(trace)
    assert max(sizes) <= 100


@pytest.mark.parametrize(
    ("settings", "named"), [({"aggregate": "mean"}, "'mean'"), ({"budget": 0}, "got 0")]
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(InputError, match=f"ValueZeroing: .*{named}"):
        ValueZeroing(**settings)
