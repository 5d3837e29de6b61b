"""Faults of custom methods and metrics: named with their class, and errors of no text."""

import pytest
import torch

import bertx
from bertx.attribution import Attribution, GradientXInput
from bertx.errors import FaultyClass
from bertx.metrics import FaithfulnessMetric
from bertx.models.inputs import Inputs
from bertx.trace import MissingNeed, Needs, Trace
from tests.tiny import tiny_batch, tiny_model, tiny_tokenizer

TEXTS = ["the film was great", "awful"]


class Faulty(Attribution):
    def __init__(self, scores):
        self.compute = scores

    def scores(self, trace):
        return self.compute(trace)


class Attending(Faulty):
    needs = Needs.ATTENTION


class Ensemble(Attribution):
    def scores(self, trace):
        return GradientXInput()(trace)


class Level(FaithfulnessMetric):
    def __init__(self, values):
        super().__init__(["level"])
        self.compute = values

    def values(self, ranking, probabilities):
        return self.compute(ranking)


EXPECTED = r"expected a tensor of shape \(B, T\) = \(\d, \d\), got"
FAULTS = [
    (Faulty(lambda t: t.embeddings.norm(dim=-1).numpy()), f"Faulty.* {EXPECTED} numpy.ndarray$"),
    (Faulty(lambda t: t.embeddings), rf"Faulty.scores: {EXPECTED} \(\d, \d, \d+\)$"),
    (Faulty(lambda _: None), f"Faulty.scores: {EXPECTED} NoneType$"),
    (Faulty(lambda t: t.gradient), "^Faulty.* the trace has no graph. Set needs = Needs.GRADIENT "),
    (Attending(lambda t: t.gradient), r"Set needs = Needs.GRADIENT \| Needs.ATTENTION in the"),
    (Ensemble(), "^Ensemble.scores: the trace has no graph"),
]


@pytest.mark.parametrize(("method", "message"), FAULTS)
@pytest.mark.parametrize("target", ["predicted", "all"])
def test_a_faulty_method_is_named_and_ends_the_call(method, message, target):
    with pytest.raises(FaultyClass, match=message):
        bertx.explain(tiny_model(), tiny_tokenizer(), TEXTS, method, target)


def test_a_trace_without_what_a_method_declares_is_no_fault_of_the_method():
    inputs = Inputs.from_batch(tiny_batch(tiny_tokenizer(), TEXTS))
    with pytest.raises(MissingNeed, match=r"make it with needs=Needs\.GRADIENT"):
        GradientXInput()(Trace(tiny_model(), inputs, needs=Needs.NOTHING))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (lambda _: 0.5, "float"),
        (lambda ranking: ranking.unit_scores.sum(1), r"\(2,\)"),
        (lambda ranking: torch.zeros(2, 2), r"\(2, 2\)"),
    ],
)
def test_a_faulty_metric_is_named(values, got):
    message = rf"^Level.values: expected a tensor of shape \(B, J\) = \(2, 1\), got {got}$"
    with pytest.raises(FaultyClass, match=message):
        bertx.judge(
            tiny_model(), tiny_tokenizer(), TEXTS, GradientXInput(), {"level": Level(values)},
            ceiling_examples=0,
        )  # fmt: skip
