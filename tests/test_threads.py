"""Threads: one explains at a time, so that none sees or undoes what another one has set."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest
import torch
from torch import nn

import bertx
import bertx.attribution
from bertx import metrics
from bertx.attribution import AttnLRP, Attribution
from bertx.evaluation import Text
from bertx.metrics import MaxSensitivity, PrecisionAtK
from bertx.metrics.randomization import randomization
from bertx.models import scope
from bertx.models.inputs import Inputs
from bertx.perturb import Perturber
from bertx.trace import Needs, Trace
from bertx.trace.rules import CP_LRP
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer
from tests.trace.test_trace import assert_same, condition, mixed_modes

TEXTS = ["the film was not very good", "a superb movie , unbelievable acting !"]
NAMES = [name for name in bertx.attribution.__all__ if name != Attribution.__name__]
FEW = {
    "BeamOracle": {"beam": 1, "exact": 3},
    "IntegratedGradients": {"steps": 2},
    "KernelShap": {"samples": 6},
    "Lime": {"samples": 6},
    "ModifiedGradient": {"rules": CP_LRP},
    "SmoothGrad": {"samples": 2},
}
METRICS = {
    name: kind()
    for name, kind in vars(metrics).items()
    if isinstance(kind, type) and issubclass(kind, metrics.FaithfulnessMetric)
    if not issubclass(kind, metrics.PlausibilityMetric)
    if name not in ("CurveMetric", "FaithfulnessMetric", "FullyPerturbed", "AccuracyDrop")
}


def made(name):
    return getattr(bertx.attribution, name)(**FEW.get(name, {}))


def inputs_of(texts=TEXTS):
    tokenizer = tiny_tokenizer()
    return Inputs.from_batch(tiny_batch(tokenizer, texts), "word", tokenizer)


@pytest.fixture
def guarded(monkeypatch):
    """A model that is only looked at, run and changed by the thread that is alone."""
    model = tiny_model()

    def alone(*_, **__):
        assert scope._lock._is_owned()

    def guard(owner, name):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kw: (alone(), original(*args, **kw))[1])

    for module in model.modules():
        module.register_forward_pre_hook(alone)
    for name in ("register_forward_hook", "register_forward_pre_hook"):
        guard(nn.Module, name)
    for owner, name in ((torch.autograd, "grad"), (torch.compiler, "set_stance")):
        guard(owner, name)
    guard(torch.random, "fork_rng")
    known = type(model.config)._attn_implementation
    looked = property(lambda config: (alone(), known.fget(config))[1], known.fset)
    monkeypatch.setattr(type(model.config), "_attn_implementation", looked)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_a_method_looks_at_a_model_alone(name, guarded):
    method = made(name)
    method.check(guarded)
    method.every_class(Trace(guarded, inputs_of(), None, method.needs))
    found = bertx.explain(guarded, tiny_tokenizer(), TEXTS, method)
    assert [one.error for one in found] == [None, None]


def test_a_method_of_ones_own_does_too(guarded):
    class Mine(AttnLRP):
        def check(self, model):
            model.get_input_embeddings()(torch.zeros(1, 1, dtype=torch.long))

        def every_class(self, trace):
            self.check(trace.model)
            return super().every_class(trace)

    Mine().check(guarded)
    Mine().every_class(Trace(guarded, inputs_of(), None, Mine.needs))


def test_judges_and_engines_do_too(guarded):
    few = {"gi": made("GradientXInput"), "attention": made("LayerwiseAttentionTracing")}
    texts = [Text(TEXTS[0], 0, [(4, 8)])]
    asked = METRICS | {"precision": PrecisionAtK()}
    found = bertx.judge(guarded, tiny_tokenizer(), texts, few, asked, ("mask", "zero"))
    assert {value.metric for value in found.values} == set(asked)
    inputs = inputs_of()
    kept = torch.ones(2, 1, int(inputs.unit_counts.max()), dtype=torch.bool)
    engine = Perturber(guarded, "zero", mask_token_id=4, pad_token_id=0)
    engine(inputs, kept)
    trace = Trace(guarded, inputs, None, Needs.GRADIENT)
    MaxSensitivity(1).measure(engine, trace, few["gi"](trace), few["gi"])
    randomization(guarded, [inputs], few)


@pytest.fixture
def hasty():
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def together(tasks):
    """What the tasks give in four threads, in their order; an error in place of a result."""

    def outcome(task):
        try:
            return task()
        except Exception as error:
            return error

    mixed = random.Random(0).sample(range(len(tasks)), len(tasks))
    with ThreadPoolExecutor(4) as pool:
        done = dict(zip(mixed, pool.map(outcome, [tasks[i] for i in mixed]), strict=True))
    return [done[i] for i in range(len(tasks))]


def explained(model, name):
    found = bertx.explain(model, tiny_tokenizer(), TEXTS, made(name), target="all")
    assert all(one.error is None for one in found)
    return torch.tensor([score for one in found for score in one.scores[name]])


def differ(found, expected):
    """Whether an outcome is an error, or others than the expected numbers."""
    return isinstance(found, Exception) or not torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_all_methods_at_once_on_models_that_share_an_encoder(hasty):
    model, twin, other = tiny_model(), tiny_model(seed=1), tiny_model("xlm-roberta")
    twin.bert = model.bert
    models = mixed_modes(model), twin, mixed_modes(other)
    tasks = [partial(explained, own, name) for own in models for name in NAMES]
    expected = [task() for task in tasks]
    before = [condition(own) for own in models]
    found = together(tasks)
    wrong = [
        (task.args[1], one)
        for task, one, right in zip(tasks, found, expected, strict=True)
        if differ(one, right)
    ]
    assert not wrong
    for own, known in zip(models, before, strict=True):
        assert_same(known, condition(own))


def judged(model):
    few = {name: made(name) for name in ("AttnLRP", "GradSAM")}
    asked = {name: METRICS[name] for name in ("DeletionCurve", "Infidelity", "MaxSensitivity")}
    found = bertx.judge(model, tiny_tokenizer(), TEXTS, few, asked, ("mask", "zero"))
    return torch.tensor([value.value for value in found.values])


def answered(engine):
    inputs = inputs_of()
    draw = torch.Generator().manual_seed(0)
    kept = torch.rand(2, 9, int(inputs.unit_counts.max()), generator=draw) < 0.5
    return engine(inputs, kept).flatten()


def test_judges_engines_and_explanations_at_once(hasty, monkeypatch):
    """Compiled engines want another stance of torch.compile than gradients: for all threads."""
    stances, grad = set(), torch.autograd.grad

    def spying(*args, **kwargs):
        stances.add(torch._dynamo.eval_frame._stance.stance)
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", spying)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)  # which takes a while
    models = [mixed_modes(tiny_model()), tiny_model("roberta")]
    settings = {"mask_token_id": 4, "pad_token_id": 0, "token_budget": 32, "compiled": True}
    engines = [Perturber(own, "attention", **settings) for own in models]
    tasks = [partial(judged, own) for own in models]
    tasks += [partial(explained, own, "AttnLRP") for own in models for _ in range(4)]
    tasks += [partial(answered, own) for own in engines for _ in range(4)]
    expected, work = [task() for task in tasks], [own.work for own in engines]
    before = [condition(own) for own in models]
    found = together(tasks)
    assert not [one for one, right in zip(found, expected, strict=True) if differ(one, right)]
    assert stances == {"force_eager"} and torch._dynamo.eval_frame._stance.stance == "default"
    assert [own.work.requested for own in engines] == [2 * own.requested for own in work]
    for own, known in zip(models, before, strict=True):
        assert_same(known, condition(own))


def test_random_streams_go_on_as_before_several_threads():
    """Whoever leaves last would otherwise restore what another one has drawn."""
    entered, inside, left = Event(), Event(), Event()
    before = torch.random.get_rng_state()

    def first():
        with scope.isolated_rng():
            torch.rand(())
            entered.set()
            inside.wait(0.1)  # in vain, where it is alone
        left.set()

    def second():
        entered.wait()
        with scope.isolated_rng():
            inside.set()
            left.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_predictions_of_other_threads_are_right_if_they_wait(hasty):
    model, inputs = tiny_model(), inputs_of()
    names = ["AttentionRollout", "IntegratedGradients", "DeepLift", "Occlusion"] * 5

    def predicted():
        with scope.alone(), torch.no_grad():
            return model(**inputs.arguments(model)).logits

    right = predicted()
    found = together([partial(explained, model, name) for name in names] + [predicted] * 40)
    assert not [one for one in found[:20] if isinstance(one, Exception)]
    assert not [one for one in found[20:] if differ(one, right)]
