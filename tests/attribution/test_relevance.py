"""Relevance methods against relevances that are handed down step by step, without any gradient."""

from fnmatch import fnmatchcase
from functools import partial

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.modernbert import modeling_modernbert

from bertx.attribution import CPLRP, AttnLRP, TextbookLRP
from bertx.models.inputs import Inputs
from bertx.trace import Trace
from bertx.trace.rules import ATTN_LRP, CP_LRP, AlphaBeta, Epsilon
from tests.oracles.architectures import handed_down, logits, pushed_up
from tests.oracles.relevance import Node, Steps, alpha_beta, epsilon
from tests.tiny import ARCHITECTURES, VOCABULARY, tiny_batch, tiny_model, tiny_tokenizer

METHODS = {"AttnLRP": (AttnLRP, False), "CPLRP": (CPLRP, True)}
VARIANTS = (
    ("bert", {"hidden_act": "relu"}),
    ("bert", {"hidden_act": "gelu_new", "num_attention_heads": 4}),
    ("xlm-roberta", {"hidden_act": "silu"}),
    ("distilbert", {"activation": "relu"}),
    ("electra", {"hidden_act": "tanh", "type_vocab_size": 1}),
    ("albert", {"num_hidden_groups": 3}),
    ("albert", {"inner_group_num": 2, "hidden_act": "gelu"}),
    ("mpnet", {"hidden_act": "relu"}),
    ("deberta-v2", {"share_att_key": False}),
    ("deberta-v2", {"position_biased_input": True, "norm_rel_ebd": "none", "position_buckets": -1}),
    ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    ("deberta-v2", {"pooler_hidden_act": "tanh"}),
    ("modernbert", {"classifier_pooling": "mean"}),
    ("modernbert", {"norm_bias": True, "attention_bias": True, "mlp_bias": True}),
    ("modernbert", {"classifier_bias": True, "classifier_activation": "tanh"}),
    ("modernbert", {"hidden_activation": "silu", "local_attention": 4}),
)
KINDS = [*((kind, {}) for kind in ARCHITECTURES), *VARIANTS]


def name_of(case):
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


TEXTS = [
    pytest.param(case, length, id=f"{name_of(case)}-{length}")
    for case in KINDS
    for length in ((13,) if case[1] else (1, 3, 40))
]
architectures = pytest.mark.parametrize("case", KINDS, ids=name_of)


@pytest.fixture
def exact_rotation(monkeypatch):
    """ModernBERT rounds queries, keys and their gradients to float32, also in float64."""
    half = modeling_modernbert.rotate_half

    def rotate(q, k, cos, sin, unsqueeze_dim=1):
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return q * cos + half(q) * sin, k * cos + half(k) * sin

    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate)


exactly = pytest.mark.usefixtures("exact_rotation")


def model_of(case, seed=0):
    """`tiny_model`, or one with other settings whose parameters are all random."""
    kind, settings = case
    model = tiny_model(kind, seed=seed)
    if not settings:
        return model
    config = type(model.config)(**model.config.to_dict() | settings)
    other = AutoModelForSequenceClassification.from_config(config).double().eval()
    for name, parameter in other.named_parameters():
        weight_of_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data.normal_(std=0.3 if parameter.dim() > 1 else 0.2).add_(weight_of_norm)
    return other


def one_text(length, seed=0):
    """[CLS] and random words, with [SEP] where there is room."""
    generator = torch.Generator().manual_seed(seed * 100 + length)
    ids = torch.randint(5, len(VOCABULARY), (1, length), generator=generator)
    ids[0, -1], ids[0, 0] = 3, 2
    return Inputs(ids, torch.ones_like(ids), torch.full_like(ids, -1), torch.zeros_like(ids))


def embedded(model, inputs):
    """Output of the embedding block (T, D) and logits (C,) of the model itself, one text."""
    outputs = []
    block = model.base_model.embeddings
    handle = block.register_forward_hook(lambda _module, _args, output: outputs.append(output[0]))
    with torch.no_grad():
        output = model(**inputs.arguments(model)).logits
    handle.remove()
    return outputs[0].clone(), output[0]


def assert_close(got, wanted, tolerance=1e-8):
    assert torch.isfinite(wanted).all()
    assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("case", KINDS[: len(ARCHITECTURES)], ids=name_of)
@pytest.mark.parametrize("constant_attention", [False, True])
def test_relevance_is_the_derivative_of_the_network_that_the_rules_stand_for(
    case, constant_attention
):
    model = model_of(case, seed=1)
    e, _ = embedded(model, one_text(11))
    down = handed_down(Steps(constant_attention=constant_attention), model, e, 1).sum(1)
    assert_close(down, pushed_up(Steps(constant_attention=constant_attention), model, e, 1), 1e-10)


@exactly
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("case", "length"), TEXTS)
def test_scores_are_the_relevance(case, method, length):
    make, constant_attention = METHODS[method]
    model, text = model_of(case, seed=length), one_text(length)
    e, output = embedded(model, text)
    assert_close(logits(Steps(), model, Node(e)).value[0], output, 1e-10)  # written out
    trace = Trace(model, text, torch.tensor([length % 3]), make.needs)
    wanted = handed_down(Steps(constant_attention=constant_attention), model, e, length % 3)
    assert_close(make()(trace)[0], wanted.sum(1))


@exactly
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_class_has_its_own_relevance(kind, method):
    make, constant_attention = METHODS[method]
    model, text = tiny_model(kind, labels=5, seed=3), one_text(9, seed=3)
    e, _ = embedded(model, text)
    trace = Trace(model, text, None, make.needs)
    every = make().every_class(trace)
    for target in range(5):
        steps = Steps(constant_attention=constant_attention)
        wanted = handed_down(steps, model, e, target).sum(1)
        assert_close(every[0, target], wanted)
        assert_close(make()(trace.towards(target))[0], wanted)


@exactly
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_texts_of_a_padded_batch_have_the_relevance_that_they_have_alone(kind, method):
    make, constant_attention = METHODS[method]
    model = tiny_model(kind, seed=4)
    texts = ["never bad", "the film was really unbelievable , but the plot of it was awful", ""]
    inputs = Inputs.from_batch(tiny_batch(tiny_tokenizer(), texts))
    target = torch.tensor([0, 1, 2])
    scores = make()(Trace(model, inputs, target, make.needs))
    for row in range(len(texts)):
        e, _ = embedded(model, inputs.rows(slice(row, row + 1)))
        wanted = handed_down(Steps(constant_attention=constant_attention), model, e, row).sum(1)
        assert_close(scores[row, : len(e)], wanted)
        assert not scores[row, len(e) :].any()


@exactly
@architectures
def test_cplrp_conserves_the_logit_without_biases(case):
    model, text = model_of(case, seed=6), one_text(6, seed=7)
    for part in model.modules():
        if isinstance(part, (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Conv1d)):
            if part.bias is not None:
                part.bias.data.zero_()
    trace = Trace(model, text, None, CPLRP.needs)
    assert_close(CPLRP()(trace).sum(1), trace.logits.amax(1), 1e-10)
    e, _ = embedded(model, text)
    steps = Steps(constant_attention=True)
    assert_close(handed_down(steps, model, e, int(trace.target)).sum(), trace.logits.max(), 1e-10)


def test_attention_takes_relevance_away_from_the_values_in_attnlrp():
    model, text = tiny_model(), one_text(9)
    scores = [m()(Trace(model, text, None, m.needs)) for m in (AttnLRP, CPLRP)]
    assert (scores[0] - scores[1]).abs().max() > 1e-3 * scores[1].abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_modernbert_as_it_is_differs_by_its_rounding_only(method):
    make, constant_attention = METHODS[method]
    model, text = tiny_model("modernbert"), one_text(25)
    e, _ = embedded(model, text)
    trace = Trace(model, text, torch.tensor([0]), make.needs)
    wanted = handed_down(Steps(constant_attention=constant_attention), model, e, 0).sum(1)
    assert_close(make()(trace)[0], wanted, 1e-5)


LINEAR_RULES = {
    "gradient": (Epsilon(0.0), epsilon),
    "small": (Epsilon(1e-6), partial(epsilon, epsilon=1e-6)),
    "large": (Epsilon(0.5), partial(epsilon, epsilon=0.5)),
    "z-plus": (AlphaBeta(1.0), alpha_beta),
    "two-one": (AlphaBeta(2.0), partial(alpha_beta, alpha=2.0, beta=1.0)),
    "between": (AlphaBeta(1.25), partial(alpha_beta, alpha=1.25, beta=0.25)),
}


@exactly
@pytest.mark.parametrize(
    ("case", "name"),
    [
        pytest.param(case, name, id=f"{name_of(case)}-{name}")
        for case in KINDS
        for name in ("large", "two-one")
    ],
)
def test_textbook_rules_are_their_sums(case, name):
    ours, theirs = LINEAR_RULES[name]
    model, text = model_of(case, seed=5), one_text(7, seed=5)
    e, _ = embedded(model, text)
    trace = Trace(model, text, torch.tensor([2]), TextbookLRP.needs)
    for rules, constant_attention in ((CP_LRP, True), (ATTN_LRP, False)):
        wanted = handed_down(Steps(theirs, constant_attention), model, e, 2)
        assert_close(TextbookLRP(ours, rules=rules)(trace)[0], wanted.sum(1))


@exactly
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_textbook_rules_by_the_names_of_parts(kind):
    model, text = tiny_model(kind, seed=6), one_text(7, seed=6)
    e, _ = embedded(model, text)
    patterns = {"*classifier*": Epsilon(0.1), "*.[123].*": AlphaBeta(2.0), "*.[12].*": Epsilon()}
    others = {}
    for name, part in model.named_modules():
        if fnmatchcase(name, "*.[123].*"):
            others[part] = partial(alpha_beta, alpha=2.0, beta=1.0)
        if fnmatchcase(name, "*classifier*"):
            others[part] = partial(epsilon, epsilon=0.1)
    trace = Trace(model, text, torch.tensor([0]), TextbookLRP.needs)
    wanted = handed_down(Steps(alpha_beta, True, others), model, e, 0)
    assert_close(TextbookLRP(AlphaBeta(1.0), patterns)(trace)[0], wanted.sum(1))


@pytest.mark.parametrize("epsilon_", [0.0, 1e-6, 0.5])
def test_one_linear_map_by_the_epsilon_rule(epsilon_):
    check_one_map(Epsilon(epsilon_), partial(epsilon, epsilon=epsilon_))


@pytest.mark.parametrize("alpha", [1.0, 1.5, 3.0])
def test_one_linear_map_by_the_alpha_beta_rule(alpha):
    check_one_map(AlphaBeta(alpha), partial(alpha_beta, alpha=alpha, beta=alpha - 1))


def check_one_map(ours, theirs):
    """Random maps, with and without a bias, some inputs of one sign only."""
    for seed in range(6):
        torch.manual_seed(seed)
        x, weight = torch.randn(5, 4).double(), torch.randn(3, 4).double()
        bias = torch.randn(3).double() if seed % 2 else None
        x = x.abs() if seed > 3 else x
        weight = weight.abs() if seed == 5 else weight
        y, grad = torch.nn.functional.linear(x, weight, bias), torch.randn(5, 3).double()
        shift = torch.zeros(3).double() if bias is None else bias
        rows = zip(x, y * grad, strict=True)
        wanted = torch.stack([theirs(row, weight.T, shift, relevance) for row, relevance in rows])
        assert_close(ours(x, y, weight, bias, grad) * x, wanted, 1e-10)
