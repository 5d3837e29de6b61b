"""DecompX against its definition token by token, against CP-LRP, and its sum against the logit."""

import pytest
import torch

import bertx.attribution.decomposition as decomposition
from bertx.attribution import CPLRP
from bertx.attribution.decomposition import DecompX
from bertx.attribution.layers import PADDING, groups
from bertx.errors import InputError
from bertx.models.anatomy import UnsupportedArchitecture
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.attribution.test_attention import READERS, TEXTS, close, ids_of, model_of
from tests.oracles import decomposition as oracle
from tests.tiny import tiny_batch, tiny_model

BIASES = ("dot", "norm", "none")
ALL = Needs.ATTENTION | Needs.RELEVANCE


def trace_of(model, tokenizer, texts=TEXTS, target=None, needs=ALL):
    return Trace(model, Inputs.from_batch(tiny_batch(tokenizer, texts)), target, needs)


@pytest.mark.parametrize(("kind", "pooling"), READERS)
def test_it_equals_the_definition_token_by_token(kind, pooling, tokenizer):
    model = model_of(kind, pooling, seed=2)
    target = torch.tensor([2, 0, 1])
    trace = trace_of(model, tokenizer, target=target)
    for bias in BIASES:
        scores, every = DecompX(bias)(trace), DecompX(bias).every_class(trace)
        for row, text in enumerate(TEXTS[:2]):
            parts, _ = oracle.decompx(model, ids_of(tokenizer, text), bias)
            close(scores[row], parts[:, target[row]])
            close(every[row].T, parts)


@pytest.mark.parametrize(("kind", "pooling"), READERS)
@pytest.mark.parametrize("seed", range(2))
def test_scores_add_up_to_the_logit(kind, pooling, seed, tokenizer):
    model = model_of(kind, pooling, seed=seed)
    trace = trace_of(model, tokenizer)
    for bias in ("dot", "norm"):
        every = DecompX(bias).every_class(trace)
        assert (every.sum(-1) - trace.logits).abs().max() < 1e-12
    dropped = DecompX("none").every_class(trace)
    assert ((dropped.sum(-1) - trace.logits).abs() > 1e-3).any()


def test_the_biases_of_fused_queries_keys_and_values_are_told_apart(tokenizer):
    trace = trace_of(tiny_model("modernbert", attention_bias=True), tokenizer)
    total = DecompX().every_class(trace).sum(-1)
    torch.testing.assert_close(total, trace.logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "pooling"), READERS)
def test_without_biases_it_is_cp_lrp(kind, pooling, tokenizer):
    model = model_of(kind, pooling, seed=3)
    target = torch.tensor([1, 2, 0])
    trace = trace_of(model, tokenizer, target=target)
    scores = DecompX("none")(trace)
    torch.testing.assert_close(scores, CPLRP()(trace), rtol=0, atol=1e-9)
    for row, text in enumerate(TEXTS):
        close(scores[row], oracle.cp_lrp(model, ids_of(tokenizer, text), int(target[row])))


@pytest.mark.parametrize("kind", ["bert", "albert", "modernbert"])  # each kind of layer
@pytest.mark.parametrize("bias", BIASES)
def test_scores_do_not_depend_on_chunks_padding_or_order(kind, bias, tokenizer, monkeypatch):
    model = tiny_model(kind)
    texts = [*TEXTS, "zzz in it", "the film was not very bad"]
    alone = [DecompX(bias)(trace_of(model, tokenizer, [text]))[0] for text in texts]
    for budget, size in ((1, 1), (150, 20)):
        monkeypatch.setattr(decomposition, "SLICE", size)
        together = DecompX(bias, budget)(trace_of(model, tokenizer, texts))
        backwards = DecompX(bias, budget)(trace_of(model, tokenizer, texts[::-1])).flip(0)
        for row, scores in enumerate(alone):
            for batch in (together, backwards):
                torch.testing.assert_close(batch[row, : len(scores)], scores, rtol=0, atol=1e-12)


def test_groups_keep_the_budget_and_little_padding(tokenizer):
    trace = trace_of(tiny_model(), tokenizer, ["the film was good " * n for n in range(1, 8)] * 2)
    for budget in (1, 1000, 10**6):
        found = list(groups(trace, budget, "first"))
        assert sorted(torch.cat([group.rows for group in found]).tolist()) == list(range(14))
        for group in found:
            work = len(group.rows) * group.mask.shape[1] ** 2
            assert len(group.rows) == 1 or work <= budget
            assert work <= PADDING * group.mask.sum(1).square().sum()
    with pytest.raises(InputError, match="does not compute what its parts do"):
        group.check_logits(trace.logits[group.rows] + torch.tensor([[1.0], [0.0]]))


def test_a_token_that_is_hidden_within_a_text_is_no_end_of_it(tokenizer):
    batch = tiny_batch(tokenizer, TEXTS)
    batch["attention_mask"][:, 1] = 0
    trace = Trace(tiny_model(), Inputs.from_batch(batch), None, ALL)
    total = DecompX().every_class(trace).sum(-1)
    torch.testing.assert_close(total, trace.logits, rtol=0, atol=1e-12)


def test_the_last_bias_goes_evenly_to_tokens_of_which_nothing_is_left(tokenizer):
    """A dead ReLU: no token has a part of the logits, and padding still has none."""
    model = tiny_model("distilbert")
    model.pre_classifier.weight.data.zero_()
    model.pre_classifier.bias.data.fill_(-1.0)
    trace = trace_of(model, tokenizer, ["the film was good", "a dull film"])  # one group
    lengths = trace.inputs.attention_mask.sum(1, keepdim=True)
    expected = trace.inputs.attention_mask * trace.logits.amax(1, keepdim=True) / lengths
    torch.testing.assert_close(DecompX()(trace), expected)


def test_a_pre_activation_of_exactly_zero_has_the_slope_there(tokenizer):
    model = tiny_model()
    model.base_model.pooler.dense.bias.data.zero_()
    model.base_model.pooler.dense.weight.data[0].zero_()
    trace = trace_of(model, tokenizer)
    scores = DecompX()(trace)
    assert scores.isfinite().all()
    torch.testing.assert_close(scores.sum(1), trace.logits.amax(1))


def test_an_activation_that_is_not_zero_at_zero_is_refused():
    with pytest.raises(UnsupportedArchitecture, match=r"DecompX does not support .*0 at 0"):
        DecompX().check(tiny_model(hidden_act="sigmoid"))
    DecompX().check(tiny_model(hidden_act="silu"))


def test_a_model_that_does_not_compute_what_its_parts_do_is_named(tokenizer):
    model = tiny_model()
    model.base_model.encoder.layer[1].register_forward_hook(lambda _m, _a, output: output * 2 + 1)
    with pytest.raises(InputError, match="does not compute what its parts do"):
        DecompX()(trace_of(model, tokenizer))


def test_weights_that_are_no_numbers_give_scores_that_are_none(tokenizer):
    model = tiny_model()
    word = tokenizer.convert_tokens_to_ids("superb")
    model.get_input_embeddings().weight.data[word] = float("nan")
    for bias in BIASES:
        finite = DecompX(bias)(trace_of(model, tokenizer)).isfinite().all(1)
        assert finite.tolist() == [True, True, False]


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_half_precision_is_near_the_exact_scores(kind, tokenizer):
    exact = DecompX()(trace_of(tiny_model(kind), tokenizer))
    half = DecompX()(trace_of(tiny_model(kind, dtype=torch.bfloat16), tokenizer))
    both = torch.stack([half.flatten().double(), exact.flatten()])
    assert half.dtype == torch.float32 and torch.corrcoef(both)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("settings", "named"), [({"bias": "cosine"}, "'cosine'"), ({"budget": 0}, "got 0")]
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(InputError, match=f"DecompX: .*{named}"):
        DecompX(**settings)
