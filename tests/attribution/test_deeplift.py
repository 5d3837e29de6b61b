"""DeepLIFT: captum called directly, the rescale rule written out, and what must add up."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import BertConfig, PreTrainedModel
from transformers.activations import NewGELUActivation, QuickGELUActivation

from bertx.attribution.deeplift import DeepLift
from bertx.errors import InputError
from bertx.models.inputs import Inputs
from bertx.trace import Needs, Trace
from tests.tiny import ARCHITECTURES, VOCABULARY, tiny_batch, tiny_model

captum = pytest.importorskip("captum.attr")

TEXTS = ["the film was not very good", "dull", "a superb movie , unbelievable acting !"]
MASK = 4


class Bag(PreTrainedModel):
    """Mean of the word embeddings, then activations alternating with linear maps."""

    config_class = BertConfig

    def __init__(self, *activations, size=6):
        super().__init__(BertConfig(vocab_size=len(VOCABULARY), hidden_size=size, num_labels=3))
        self.embeddings = nn.Embedding(len(VOCABULARY), size)
        self.maps = nn.ModuleList(nn.Linear(size, size) for _ in activations)
        self.activations = activations
        self.listed = nn.ModuleList(a for a in activations if isinstance(a, nn.Module))
        self.top = nn.Linear(size, 3)
        self.double().eval()

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids, attention_mask):
        mask = attention_mask[..., None]
        x = (self.embeddings(input_ids) * mask).sum(1) / mask.sum(1)
        for linear, activation in zip(self.maps, self.activations, strict=True):
            x = activation(3 * linear(x))
        return SimpleNamespace(logits=self.top(x))


def trace_of(model, tokenizer, texts=TEXTS, target=None):
    inputs = Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)
    return Trace(model, inputs, target, Needs.NOTHING)


NETWORKS = {
    "modules": lambda: Bag(nn.Tanh(), nn.GELU(), nn.SiLU()),
    "functions": lambda: Bag(torch.tanh, nn.functional.gelu, torch.relu),
    "modules of several functions": lambda: Bag(NewGELUActivation(), QuickGELUActivation()),
    "one module twice": lambda: (lambda act: Bag(act, act))(nn.GELU()),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("baseline", ["mask", "pad", "zero"])
def test_scores_add_up_where_they_must(name, baseline, tokenizer):
    model = NETWORKS[name]()
    trace = trace_of(model, tokenizer)
    scores = DeepLift(baseline)(trace)
    ids, units = trace.inputs.input_ids, trace.inputs.units
    words = model.embeddings(ids)
    away = {"mask": model.embeddings.weight[MASK], "pad": model.embeddings.weight[0], "zero": 0.0}
    start = torch.where((units >= 0)[..., None], away[baseline], words)
    handle = model.embeddings.register_forward_hook(lambda *_: start)
    low = model(ids, trace.inputs.attention_mask).logits
    handle.remove()
    rise = (trace.logits - low).gather(1, trace.target[:, None])[:, 0]
    torch.testing.assert_close(scores.sum(1), rise.detach(), rtol=0, atol=1e-7)
    assert (rise.abs() > 1e-3).all()


def test_it_equals_the_rescale_rule_written_out(tokenizer):
    model = Bag(torch.tanh, nn.GELU())
    trace = trace_of(model, tokenizer, target=torch.tensor([2, 0, 1]))
    scores = DeepLift()(trace)
    for i in range(len(TEXTS)):
        units = trace.inputs.units[i][trace.inputs.attention_mask[i].bool()]
        words = model.embeddings(trace.inputs.input_ids[i, : len(units)])
        start = torch.where((units >= 0)[:, None], model.embeddings.weight[MASK], words)
        x, x0, slopes = words.mean(0), start.mean(0), []
        for linear, activation in zip(model.maps, model.activations, strict=True):
            z, z0 = 3 * linear(x), 3 * linear(x0)
            x, x0 = activation(z), activation(z0)
            slopes.append((x - x0) / (z - z0))
        multiplier = model.top.weight[trace.target[i]]
        for linear, slope in zip(reversed(model.maps), reversed(slopes), strict=True):
            multiplier = (multiplier * slope) @ (3 * linear.weight)
        expected = (words - start) @ multiplier / len(words)
        torch.testing.assert_close(scores[i, : len(units)], expected.detach(), rtol=0, atol=1e-7)


class Direct(nn.Module):
    """A classifier whose input is its word embeddings, as captum wants it, and nothing more."""

    def __init__(self, model, row):
        super().__init__()
        self.model, self.row = model, row

    def forward(self, words):
        rows = {k: v.repeat(len(words), 1) for k, v in self.row.items()}
        handle = self.model.get_input_embeddings().register_forward_hook(lambda *_: words)
        try:
            return self.model(**rows).logits
        finally:
            handle.remove()


@pytest.mark.parametrize("kind", ["bert", "electra", "modernbert"])
def test_it_equals_captum_called_directly(kind, tokenizer, monkeypatch):
    """Where all activations are modules that are used once, and captum's table knows GELU."""
    from captum.attr._core import deep_lift
    from transformers.activations import GELUActivation

    monkeypatch.setitem(deep_lift.SUPPORTED_NON_LINEAR, GELUActivation, deep_lift.nonlinear)
    model = tiny_model(kind)
    trace = trace_of(model, tokenizer, target=torch.tensor([2, 0, 1]))
    scores = DeepLift()(trace)
    for i in range(len(TEXTS)):
        part = trace.inputs.rows(slice(i, i + 1))
        words = model.get_input_embeddings()(part.input_ids).detach()
        start = torch.where(
            (part.units >= 0)[..., None], model.get_input_embeddings().weight[MASK], words
        ).detach()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            direct = captum.DeepLift(Direct(model, part.arguments(model)), eps=1.5e-8)
            found = direct.attribute(words, start, int(trace.target[i]))[0].sum(-1)
        torch.testing.assert_close(scores[i, : len(found)], found.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_is_not_the_gradient_and_leaves_nothing(kind, tokenizer):
    from captum.attr._core import deep_lift

    model, table = tiny_model(kind), dict(deep_lift.SUPPORTED_NON_LINEAR)
    DeepLift().check(model)
    trace = trace_of(model, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = DeepLift()(trace)
    part = trace.inputs
    words = model.get_input_embeddings()(part.input_ids).detach().requires_grad_()
    handle = model.get_input_embeddings().register_forward_hook(lambda *_: words)
    logits = model(**part.arguments(model)).logits
    handle.remove()
    (slope,) = torch.autograd.grad(logits.gather(1, trace.target[:, None]).sum(), words)
    start = torch.where(
        (part.units >= 0)[..., None], model.get_input_embeddings().weight[MASK], words
    )
    plain = ((words - start) * slope).sum(-1).detach()
    assert ((scores - plain)[part.units >= 0].abs() > 1e-6).any()
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
        assert not module._backward_hooks and not {"input", "output", "forward"} & set(vars(module))
    assert deep_lift.SUPPORTED_NON_LINEAR == table
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "distilbert", "deberta-v2"])
def test_a_function_in_the_head_is_rescaled_as_a_module_is(kind, tokenizer, monkeypatch):
    """Without the functions the scores are others: the head has one that is no module."""
    from bertx.models import activations

    model = tiny_model(kind)
    trace = trace_of(model, tokenizer)
    scores = DeepLift()(trace)
    monkeypatch.setattr(activations, "_FUNCTIONS", set())
    assert not torch.allclose(DeepLift()(trace), scores, atol=1e-6)


def test_the_budget_is_kept_and_changes_nothing(bert, tokenizer):
    trace = trace_of(bert, tokenizer)
    expected, shapes = DeepLift()(trace), []
    handle = bert.register_forward_pre_hook(
        lambda _m, _a, named: shapes.append(named["input_ids"].shape), with_kwargs=True
    )
    budgets = (1, 2 * trace.inputs.input_ids.shape[1])  # of a pair: a text beside its baseline
    for scores in [DeepLift(token_budget=budget)(trace) for budget in budgets]:
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-11)
    handle.remove()
    assert {rows for rows, _ in shapes} == {1, 2}  # one counts activations, pairs explain


def test_what_cannot_work_is_refused(bert, tokenizer):
    trace = Trace(bert, Inputs.from_batch(tiny_batch(tokenizer, TEXTS)), None, Needs.NOTHING)
    with pytest.raises(InputError, match=r"baseline 'mask'.*'pad' or 'zero'"):
        DeepLift()(trace)
    with pytest.raises(InputError, match="baseline"):
        DeepLift("none")
    with pytest.raises(InputError, match="token_budget"):
        DeepLift(token_budget=0)


def test_a_token_that_the_model_does_not_have_is_refused_before_texts(bert):
    size = bert.config.vocab_size
    with pytest.raises(InputError, match=f"baseline {size}: .* from 0 to {size - 1}"):
        DeepLift(size).check(bert)
    for known in (0, size - 1, "mask", "zero"):
        DeepLift(known).check(bert)
